"""Files of images for tests: made by Pillow, or by hand where no encoder writes them."""

import base64
import io
import struct
import zlib
from typing import Any

from PIL import Image

SIZE = (37, 21)


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: Any) -> bytes:
    """One picture of a colour, as Pillow writes it."""
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind, **options)
    return file.getvalue()


def animated(kind: str, frames: int = 3, size: tuple[int, int] = SIZE) -> bytes:
    """Pictures that differ, in one file."""
    pictures = [Image.new("RGB", size, (index % 256, index // 256, 255)) for index in range(frames)]
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], lossless=True)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def ihdr(width: int, height: int, bits: int = 8, colour: int = 2, filtering: int = 0) -> bytes:
    """The first chunk of a PNG file."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, filtering, 0))


def png(width: int = 1, height: int = 1, before: bytes = b"", after: bytes = b"", head: bytes | None = None) -> bytes:
    """A PNG file of one row's data, whatever size it claims."""
    picture = chunk(b"IDAT", zlib.compress(b"\0" * 4))
    return b"\x89PNG\r\n\x1a\n" + (ihdr(width, height) if head is None else head) + before + picture + after + chunk(b"IEND", b"")


def segment(marker: int, data: bytes) -> bytes:
    """A segment of a JPEG file."""
    return bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data


def frame(width: int = 8, height: int = 8, marker: int = 0xC0, bits: int = 8, colours: int = 1) -> bytes:
    """The segment of a JPEG file that says its size."""
    return segment(marker, struct.pack(">BHHB", bits, height, width, colours) + b"\1\x11\0" * colours)


SCAN = segment(0xDA, b"\1\1\0\0\x3f\0")


def jpeg(*segments: bytes) -> bytes:
    """A JPEG file of these segments."""
    return b"\xff\xd8" + b"".join(segments)


def gif(screen: tuple[int, int], *blocks: bytes) -> bytes:
    """A GIF file of these blocks, without palettes."""
    return b"GIF89a" + struct.pack("<HHBBB", *screen, 0, 0, 0) + b"".join(blocks) + b";"


def gif_frame(left: int = 0, top: int = 0, width: int = 1, height: int = 1) -> bytes:
    """A frame of a GIF file with one block of data."""
    return b"," + struct.pack("<HHHHB", left, top, width, height, 0) + b"\2\2\x44\1\0"


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file of these chunks."""
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def canvas(width: int, height: int) -> tuple[bytes, bytes]:
    """The first chunk of a WebP file with several frames."""
    return b"VP8X", b"\2\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def data_url(data: bytes, media_type: str = "image/png") -> str:
    """In the one form that engines read."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


#: What clients send, of all formats, by name.
FILES: dict[str, bytes] = {
    "jpeg": saved("JPEG"),
    "progressive jpeg": saved("JPEG", progressive=True),
    "cmyk jpeg": saved("JPEG", "CMYK"),
    "grey jpeg": saved("JPEG", "L"),
    "jpeg with exif": saved("JPEG", exif=b"Exif\0\0" + bytes(60_000)),
    "jpeg of two pictures": animated("MPO"),
    "png": saved("PNG"),
    "png of 16 bits": saved("PNG", "I;16"),
    "png with a palette": saved("PNG", "P"),
    "png of 1 bit": saved("PNG", "1"),
    "grey png with alpha": saved("PNG", "LA"),
    "png with a colour profile": saved("PNG", icc_profile=bytes(1000)),
    "animated png": animated("PNG"),
    "gif": saved("GIF"),
    "animated gif": animated("GIF"),
    "webp": saved("WEBP"),
    "lossless webp": saved("WEBP", lossless=True),
    "webp with alpha": saved("WEBP", "RGBA"),
    "webp with exif": saved("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"),
    "animated webp": animated("WEBP"),
}

#: Formats that Pillow knows and no client may send, by name.
OTHERS: dict[str, bytes] = {
    kind.lower(): saved(kind) for kind in ("BMP", "TIFF", "ICO", "TGA", "PPM", "PCX", "EPS", "SGI", "DDS", "AVIF")
} | {
    "fits": b"SIMPLE  =                    T" + b" " * 2850,
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='1' height='1'/>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n",
    "wave": b"RIFF\x24\0\0\0WAVEfmt " + bytes(28),
    "pdf": b"%PDF-1.7\n",
    "text": b"hello",
}

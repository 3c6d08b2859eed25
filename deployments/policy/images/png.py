"""The head of a PNG file: its first chunk says the size, and all chunks are walked, since Pillow reads those behind the picture too."""

import re
import struct
import zlib
from collections.abc import Iterator

from deployments.policy.images.picture import MOST_FRAMES, Header, Unfit, damaged

#: Encoders cut the picture into chunks of 8 KiB or more.
_MOST_CHUNKS = 1 << 14
#: Chunks that are unpacked, each to 1 MiB at most.
_PACKED = frozenset({b"iCCP", b"zTXt", b"iTXt"})
_MOST_PACKED = 64
#: The signature and the first chunk.
_FIRST_END = 33
_HEAD = struct.Struct(">I4s")
_IHDR = struct.Struct(">IIBBBBB")
_NAME = re.compile(rb"[A-Za-z0-9_]{4}")
#: Bits of a sample and kind of colour, as the standard allows them together.
_COLOURS = frozenset(
    {(bits, 0) for bits in (1, 2, 4, 8, 16)}
    | {(bits, 3) for bits in (1, 2, 4, 8)}
    | {(bits, kind) for bits in (8, 16) for kind in (2, 4, 6)}
)


def header(data: bytes) -> Header:
    """Reads the chunks of a PNG file.

    Raises:
        Unfit: the file is damaged before its picture begins, or has more chunks, packed chunks or frames than are walked through.
    """
    width, height = _size(data)
    packed, frames, picture = 0, 1, False
    for at, length, name in _chunks(data):
        picture = picture or name in (b"IDAT", b"fdAT")
        if not picture:
            _check(data, at, length, name)
        if name == b"acTL" and not picture:
            frames = int.from_bytes(data[at + 8 : at + 12], "big")
        packed += name in _PACKED
        if packed > _MOST_PACKED:
            raise Unfit(f"is a PNG file with more than {_MOST_PACKED} packed texts; save it without them")
    if not picture:
        raise damaged("PNG")
    if frames > MOST_FRAMES:
        raise Unfit(f"has {frames} frames; at most {MOST_FRAMES} are taken, and the first is read")
    return Header("image/png", width, height, frames)


def _chunks(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Where each chunk after the first begins, its bytes of data, and its name."""
    at = _FIRST_END
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return
        length, name = _HEAD.unpack_from(data, at)
        if name == b"IEND":
            return
        yield at, length, name
        at += 12 + length
    raise Unfit(f"is a PNG file of more than {_MOST_CHUNKS} chunks; save it anew")


def _size(data: bytes) -> tuple[int, int]:
    """Width and height. The chunk that says them is the first one and has no second."""
    if len(data) < _FIRST_END or data[8:16] != b"\0\0\0\x0dIHDR":
        raise damaged("PNG")
    width, height, bits, colour, _compression, filtering, _interlace = _IHDR.unpack_from(data, 16)
    _check_sum(data, 8, 13)
    if (bits, colour) not in _COLOURS or filtering:
        raise damaged("PNG")
    return width, height


def _check(data: bytes, at: int, length: int, name: bytes) -> None:
    """A chunk before the picture: Pillow stops at a wrong one."""
    if name == b"IHDR" or _NAME.fullmatch(name) is None or at + 12 + length > len(data):
        raise damaged("PNG")
    _check_sum(data, at, length)


def _check_sum(data: bytes, at: int, length: int) -> None:
    end = at + 8 + length
    if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
        raise damaged("PNG")

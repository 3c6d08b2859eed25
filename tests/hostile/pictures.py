"""Cases about images: pixels, frames, formats, and every place and spelling that an image may have."""

import base64
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from tests.hostile.case import (
    CHAT,
    COUNT,
    MESSAGES,
    REFUSED,
    RESPONSES,
    SCOUT,
    SERVED,
    TOKENIZE,
    TOO_LARGE,
    Body,
    Case,
    label,
    saying,
    text,
)

_PNG = b"\x89PNG\r\n\x1a\n"


def png(width: int, height: int, whole: bool = True) -> bytes:
    """A black PNG of one bit a pixel; its pixels only where it is whole."""
    row = b"\0" * (1 + (width + 7) // 8)
    squeezed = zlib.compressobj(9)
    pixels = b"".join([*(squeezed.compress(row) for _ in range(height if whole else 1)), squeezed.flush()])
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", pixels), (b"IEND", b""))
    return _PNG + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def data_url(image: bytes, before: str = "data:image/png;base64,") -> str:
    """An image as an address."""
    return before + base64.b64encode(image).decode()


def pictured(path: str, url: str, model: str = "scout") -> tuple[str, dict[str, Any]]:
    """A request whose only image is at this address."""
    part: dict[str, Any] = {"type": "image_url", "image_url": {"url": url}}
    if path == RESPONSES:
        content = [{"type": "input_image", "image_url": url, "detail": "auto"}]
        return path, {"model": model, "max_output_tokens": 16, "input": [{"role": "user", "content": content}]}
    if path in (MESSAGES, COUNT):
        kind, _, data = url.removeprefix("data:").partition(";base64,")
        source = {"type": "base64", "media_type": kind, "data": data} if data else {"type": "url", "url": url}
        return path, _without(saying([{"type": "image", "source": source}], model), "max_tokens" if path == COUNT else "")
    return path, _without(saying([part], model), "max_tokens" if path == TOKENIZE else "")


def _without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


#: Where an image may stand in a request.
PLACES: dict[str, Callable[[str], tuple[str, dict[str, Any]]]] = {
    "chat": lambda url: pictured(CHAT, url),
    "responses": lambda url: pictured(RESPONSES, url),
    "messages": lambda url: pictured(MESSAGES, url),
    "tokenize": lambda url: pictured(TOKENIZE, url),
    "count_tokens": lambda url: pictured(COUNT, url),
    "plain": lambda url: (CHAT, saying([{"type": "image_url", "image_url": url}], "scout")),
    "untyped": lambda url: (CHAT, saying([{"image_url": {"url": url}}], "scout")),
    "tool": lambda url: (CHAT, _from_a_tool([{"type": "image_url", "image_url": {"url": url}}])),
    "result": lambda url: (MESSAGES, _as_a_result(url)),
    "second": lambda url: (CHAT, saying([{"type": "text", "text": "x"}, *pictured(CHAT, url)[1]["messages"][0]["content"]], "scout")),
    "auto": lambda url: pictured(CHAT, url, "auto"),
    "streamed": lambda url: (CHAT, pictured(CHAT, url)[1] | {"stream": True}),
}


def _from_a_tool(content: Any) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "tool_calls": [call]}]
    return saying(model="scout") | {"messages": [*said, {"role": "tool", "tool_call_id": "call_1", "content": content}]}


def _as_a_result(url: str) -> dict[str, Any]:
    image = pictured(MESSAGES, url)[1]["messages"][0]["content"]
    result = [{"type": "tool_result", "tool_use_id": "toolu_1", "content": image}]
    used = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]}
    return saying(model="scout") | {"messages": [{"role": "user", "content": "x"}, used, {"role": "user", "content": result}]}


_SIDE = 16_383
_JPEG = b"\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01\xff\xd9"
_GIF_FRAME = b"\x00\x00\x00,\x00\x00\x00\x00\xff\xff\xff\xff\x00\x02\x02D\x01\x00;"


def _riff(kind: bytes, data: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(data) + 12) + b"WEBP" + kind + struct.pack("<I", len(data)) + data


#: The beginnings of images of 16,383 by 16,383 pixels or more, with nothing behind them.
_HEADERS = {
    "jpeg": b"\xff\xd8" + _JPEG,
    "jpeg-behind-comments": b"\xff\xd8" + (b"\xff\xfe\xff\xff" + b"x" * 0xFFFD) * 3 + _JPEG,
    "gif": b"GIF89a\xff\xff\xff\xff" + _GIF_FRAME,
    "gif-large-frame": b"GIF89a\x01\x00\x01\x00" + _GIF_FRAME,
    "gif-comments": b"GIF89a\x01\x00\x01\x00\x00\x00\x00" + b"!\xfe\x00" * 250_000 + _GIF_FRAME[3:],
    "webp-lossless": _riff(b"VP8L", b"\x2f" + struct.pack("<I", _SIDE | _SIDE << 14) + b"\0" * 8),
    "webp-lossy": _riff(b"VP8 ", b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", _SIDE, _SIDE) + b"\0" * 8),
    "webp-extended": _riff(b"VP8X", b"\0\0\0\0" + struct.pack("<I", _SIDE)[:3] * 2),
}
#: Formats that Pillow tries and nobody needs; EPS would run PostScript.
_FORMATS = {
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n",
    "eps-dos": b"\xc5\xd0\xd3\xc6"
    + struct.pack("<II", 30, 80)
    + b"\0" * 18
    + b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EOF\n",
    "fits": b"SIMPLE  =                    T".ljust(80) + b"BITPIX  =                    8".ljust(80) + b"END".ljust(2720),
    "ppm": b"P6 8 8 255\n" + b"\0" * 192,
    "pbm": b"P4 8 8\n" + b"\0" * 8,
    "tga": bytes([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 8, 0, 24, 0]) + b"\0" * 192,
    "xbm": b"#define x_width 8\n#define x_height 8\nstatic char x_bits[] = {0,0,0,0,0,0,0,0};\n",
    "wmf": b"\xd7\xcd\xc6\x9a\x00\x00\x00\x00\x00\x00\x10\x00\x10\x00\x60\x00" + b"\0" * 40,
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>',
    "pdf": b"%PDF-1.4\n%%EOF\n",
    "html": b"<html></html>",
    "psd": b"8BPS\0\1" + b"\0" * 30,
    "icns": b"icns\0\0\0\x10",
    "nothing": b"",
}


def _pillow(kind: str, **more: Any) -> bytes:
    """A small image, as Pillow writes it."""
    from PIL import Image

    into = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(into, kind, **more)
    return into.getvalue()


def _frames(kind: str, count: int) -> bytes:
    from PIL import Image

    frames = [Image.new("L", (8, 8), number % 256) for number in range(count)]
    into = io.BytesIO()
    frames[0].save(into, kind, save_all=True, append_images=frames[1:], duration=10)
    return into.getvalue()


def _asking(place: str, image: Callable[[], bytes], before: str = "data:image/png;base64,") -> tuple[str, Body]:
    path, _ = PLACES[place]("data:,")
    return path, lambda: text(PLACES[place](data_url(image(), before))[1])()


def _case(name: str, of: str, asked: tuple[str, Body], **more: Any) -> Case:
    path, body = asked
    return Case(name, of, body, path, models=(SCOUT,), **more)


def _large() -> Iterator[Case]:
    for place in PLACES:
        asked = _asking(place, lambda: png(20_000, 20_000, whole=False))
        yield _case(f"image-bomb-{place}", "reports image_bomb", asked, within_s=15)
    for width, height in ((13_300, 13_300), (8_000, 8_000), (200_000, 200), (1, 178_000_000)):
        asked = _asking("chat", lambda width=width, height=height: png(width, height, whole=height < 100_000))  # type: ignore[misc]
        yield _case(f"image-{width}x{height}", "security 6", asked, statuses=TOO_LARGE, within_s=15)
    for kind, header in _HEADERS.items():
        yield _case(f"image-header-{kind}", "security 6", _asking("chat", lambda header=header: header), within_s=15)  # type: ignore[misc]
    many = [{"type": "image_url", "image_url": {"url": "data:,"}}] * 5
    yield Case("images-five-large", "security 6", lambda: _five(many), models=(SCOUT,), statuses=TOO_LARGE)
    for kind in ("GIF", "WEBP", "PNG"):
        asked = _asking("chat", lambda kind=kind: _frames(kind, 2_000))  # type: ignore[misc]
        yield _case(f"image-frames-{kind.lower()}", "security 6", asked, statuses=SERVED | REFUSED)
    yield _case("image-1x20000", "security 6", _asking("chat", lambda: png(1, 20_000)), statuses=SERVED | REFUSED)
    yield _case("image-0x0", "security 6", _asking("chat", lambda: png(0, 0)))


def _five(parts: list[dict[str, Any]]) -> bytes:
    url = data_url(png(8_000, 8_000))
    return text(saying([part | {"image_url": {"url": url}} for part in parts], "scout"))()


def _formats() -> Iterator[Case]:
    for name, image in _FORMATS.items():
        for place in ("chat", "messages"):
            for kind in ("image/png", f"image/{name}"):
                asked = _asking(place, lambda image=image: image, f"data:{kind};base64,")  # type: ignore[misc]
                yield _case(f"image-format-{name}-{place}-{kind.partition('/')[2]}", "security 6", asked)
    for kind in ("TIFF", "BMP", "ICO", "TGA", "PPM", "PCX", "SGI", "JPEG2000"):
        yield _case(f"image-pillow-{kind.lower()}", "security 6", _asking("chat", lambda kind=kind: _pillow(kind)))  # type: ignore[misc]
    for kind in ("PNG", "JPEG", "GIF", "WEBP"):
        for place in ("chat", "messages"):
            asked = _asking(place, lambda kind=kind: _pillow(kind), f"data:image/{kind.lower()};base64,")  # type: ignore[misc]
            yield _case(f"image-served-{kind.lower()}-{place}", "reports image_formats", asked, statuses=SERVED)
    cut = _asking("chat", lambda: _pillow("JPEG")[:400])
    yield _case("image-truncated", "reports image_truncated", cut)


def _spellings() -> Iterator[Case]:
    small = base64.b64encode(png(32, 32)).decode()
    right = {
        "parameter": f"data:image/png;charset=utf-8;base64,{small}",
        "upper": f"DATA:IMAGE/PNG;BASE64,{small}",
        "mixed": f"Data:image/PNG;Base64,{small}",
        "lines": f"data:image/png;base64,{small[:60]}\n{small[60:]}",
        "crlf": f"data:image/png;base64,{small[:60]}\r\n{small[60:]}",
        "wrong-type": f"data:image/jpeg;base64,{small}",
    }
    wrong = {
        "no-base64": "data:image/png,%89PNG",
        "empty": "data:,x",
        "only-scheme": "data:",
        "no-comma": "data:image/png;base64",
        "letters": "data:image/png;base64,!!!!",
        "text": "data:text/plain;base64,AAAA",
        "percent": f"data:image/png;base64,{'%41' * 100}",
        "file": "file:///etc/passwd",
        "file-upper": "FILE:///etc/passwd",
        "space-file": " file:///etc/passwd",
        "http": "http://127.0.0.1:1/x.png",
        "ftp": "ftp://127.0.0.1/x.png",
        "javascript": "javascript:x",
        "nul": "data:image/png;base64,\0",
        "not-a-string": [1],
        "object": {"url": 5},
        "null": None,
    }
    for name, url in right.items():
        yield _case(f"image-url-{name}", "reports image_parameter, image_lines", (CHAT, text(PLACES["chat"](url)[1])), statuses=SERVED)
    for name, value in wrong.items():
        for place in (
            ("chat", "responses", "plain", "streamed")
            if not isinstance(value, str)
            else ("chat", "messages", "responses", "tokenize", "result")
        ):
            path, body = PLACES[place](value)  # type: ignore[arg-type]
            yield _case(f"image-url-{name}-{place}", "reports image_not_base64", (path, text(body)))
    comma = saying([{"type": "image", "source": {"type": "base64", "media_type": "x,", "data": "AAAA"}}], "scout")
    yield _case("image-media-type-comma", "security 20", (MESSAGES, text(comma)))


def _nulls() -> Iterator[Case]:
    """Clients that write every member, the empty ones as null."""
    for model in ("smollm2", "scout"):
        for name in ("image_url", "input_audio", "video_url", "audio_url", "file", "refusal"):
            body = text(saying([{"type": "text", "text": "hi", name: None}], model))
            yield _case(f"null-{name}-{model}", "reports text_part_null_image", (CHAT, body), statuses=SERVED)
    part = {"type": "image_url", "image_url": {"url": data_url(png(32, 32)), "detail": None}}
    yield _case("image-detail-null", "reports image_detail_null", (CHAT, text(saying([part], "scout"))), statuses=SERVED | REFUSED)
    with_id = {"type": "image_url", "image_url": {"url": data_url(png(32, 32))}, "uuid": "another's"}
    yield _case("image-uuid", "security 20", (CHAT, text(saying([with_id], "scout"))), statuses=SERVED | REFUSED)
    for kind in ("input_audio", "video_url", "audio_url", "image_embeds", "file", "input_file", "image_pil", "audio_embeds"):
        body = text(saying([{"type": kind, kind: {"url": "data:,x", "data": "AAAA", "format": "wav"}}], "scout"))
        yield _case(f"part-{label(kind)}", "security, tried", (CHAT, body))
    tokens = saying([part], "scout")
    yield _case("image-for-text-model", "reports image_for_text_model", (CHAT, text(tokens | {"model": "smollm2"})), code="too_many_images")


CASES = (*_large(), *_formats(), *_spellings(), *_nulls())

"""Images inside a request: `data:` URLs (RFC 2397) in the spellings that clients use, and base64 alone.

An engine takes one spelling only: `;base64` in small letters as the last parameter, and the standard alphabet without line breaks, with its
padding. What OpenAI takes beyond that is brought into this form.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pybase64

from deployments.policy.images.picture import Unfit

#: A media type and its parameters have to end here.
_LONGEST_HEAD = 512
_WAY_OUT = "write data:image/png;base64, and then the image in base64"
#: Characters decoded at a time, a multiple of four: no single step over a large image holds the interpreter for long.
_PIECE = 1 << 20
_PIECE_BYTES = _PIECE // 4 * 3
_SPACES = b" \t\r\n\f\v"
#: The alphabet for URLs is told from the standard one by these two.
_STANDARD = bytes.maketrans(b"-_", b"+/")
#: What stands in base64 and is escaped in URLs by some.
_ESCAPED = tuple(
    (escape, plain)
    for plain in (b"+", b"/", b"=", b"\n", b"\r", b" ")
    for escape in dict.fromkeys((b"%%%02X" % plain[0], b"%%%02x" % plain[0]))
)


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of an image."""

    data: bytes
    as_engines_take_it: bool
    """Spelled in the one form that an engine reads."""


def content_of(url: str) -> Content:
    """Decodes a `data:` URL.

    Raises:
        Unfit: it is not in base64, or not valid base64.
    """
    comma = url.find(",", 5, _LONGEST_HEAD)
    if comma < 0:
        raise Unfit(f"has a data: URL without a comma; {_WAY_OUT}")
    head = url[5:comma]
    _, *parameters = head.split(";")
    if "base64" not in (one.strip().lower() for one in parameters):
        raise Unfit(f"has a data: URL that is not in base64; {_WAY_OUT}")
    content = decoded(url, comma + 1)
    return Content(content.data, head.endswith(";base64") and content.as_engines_take_it)


def decoded(text: str, start: int = 0) -> Content:
    """Decodes base64: standard or for URLs, with or without padding, line breaks and escapes.

    Args:
        text: it ends with the base64.
        start: where the base64 begins.

    Raises:
        Unfit: it is none of these.
    """
    try:
        return Content(b"".join(_strictly(text, start)), True)
    except ValueError:  # another spelling, or none
        pass
    try:
        plain = b"".join(map(_mended, _pieces(text, start))).rstrip(b"=").decode("ascii")
        return Content(b"".join(_strictly(plain + "=" * (-len(plain) % 4), 0)), False)
    except ValueError as error:  # also where a letter is not ASCII
        raise Unfit("is not valid base64") from error


def encoded(data: bytes) -> str:
    """The base64 that an engine's decoder takes."""
    return "".join(pybase64.b64encode_as_string(data[at : at + _PIECE_BYTES]) for at in range(0, len(data), _PIECE_BYTES))


def _strictly(text: str, start: int) -> Iterator[bytes]:
    """Decodes what an engine's decoder takes, piece by piece.

    Raises:
        ValueError: an engine's decoder would refuse it.
    """
    for at in range(start, len(text), _PIECE):
        data = pybase64.b64decode(text[at : at + _PIECE], validate=True)
        if at + _PIECE < len(text) and len(data) != _PIECE_BYTES:
            raise ValueError("padding before the end")
        yield data


def _pieces(text: str, start: int) -> Iterator[bytes]:
    """The text in pieces; an escape of three characters stays whole."""
    while start < len(text):
        end = start + _PIECE
        cut = text.find("%", end - 2, end)
        end = end if cut < 0 else cut
        yield text[start:end].encode("ascii")
        start = end


def _mended(piece: bytes) -> bytes:
    if b"%" in piece:
        for escape, plain in _ESCAPED:
            piece = piece.replace(escape, plain)
    return piece.translate(_STANDARD, _SPACES)

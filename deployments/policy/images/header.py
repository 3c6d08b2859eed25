"""The head of an image, read from its bytes without decoding it: format, size in pixels, number of frames.

An engine hands every image to Pillow, which opens more than forty formats and allocates as many pixels as a header claims. Four formats are
known here, by their first bytes; each reader walks its file as Pillow does, so that both see the same size, and refuses what could cost a
decoder more than its pixels.
"""

from collections.abc import Callable
from types import MappingProxyType

from deployments.policy.images import gif as image_gif
from deployments.policy.images import jpeg as image_jpeg
from deployments.policy.images import png as image_png
from deployments.policy.images import webp as image_webp
from deployments.policy.images.picture import Header, Unfit

#: The readers, by the first bytes of their format.
_READERS = MappingProxyType(
    {
        b"\xff\xd8\xff": image_jpeg.header,
        b"\x89PNG\r\n\x1a\n": image_png.header,
        b"GIF87a": image_gif.header,
        b"GIF89a": image_gif.header,
        b"RIFF": image_webp.header,
    }
)


def header(data: bytes) -> Header:
    """Reads the head of an image.

    Args:
        data: the whole file.

    Raises:
        Unfit: the file is in another format, or damaged, or its structure would cost a decoder too much.
    """
    if not data:
        raise Unfit("is empty")
    found = _reader(data)(data)
    if not found.pixels:
        raise Unfit("has no pixels: its width or height is 0")
    return found


def _reader(data: bytes) -> Callable[[bytes], Header]:
    for magic, reader in _READERS.items():
        if data.startswith(magic):
            return reader
    raise Unfit("is not a JPEG, PNG, WebP or GIF file; convert it to one of these")

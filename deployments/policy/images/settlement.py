"""The rules for an image, wherever it comes from: one of four formats, and no more pixels than its model takes.

Decides over whole images in memory. It runs before any decoder, and what it lets pass stands in the body in the one form that engines read.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from deployments.policy.errors.client_errors import BadImage
from deployments.policy.images.data_url import Content, content_of, decoded, encoded
from deployments.policy.images.header import header
from deployments.policy.images.media import Image, place
from deployments.policy.images.picture import Header, Unfit

#: In pixels, as JPEG has it; a PNG may claim more. Llama 4's processor stretches an image of 1 × n pixels to 336 × n before it shrinks it.
_LONGEST_SIDE = 65_535
#: A host without its port.
_HOST = re.compile(r"\[[^]]*\]|[^:]+")
_MEDIA_TYPES = ("image/jpeg", "image/png", "image/webp", "image/gif")


def settle(body: dict[str, Any], images: Sequence[Image], fetched: Mapping[str, bytes], model: str, mpx: float) -> bool:
    """Checks all images of a request, and writes those into the body that stand there in another form than engines read.

    Args:
        body: the request, decoded.
        images: all of its images.
        fetched: the images by address, as their hosts sent them.
        model: for the error's sentence.
        mpx: megapixels (10⁶) that one image may have.

    Returns:
        Whether the body was changed.

    Raises:
        BadImage: one of them cannot be served.
    """
    return sum(_settle(body, image, fetched, model, mpx) for image in images) > 0


def _settle(body: dict[str, Any], image: Image, fetched: Mapping[str, bytes], model: str, mpx: float) -> bool:
    address = image.address
    try:
        content = _content(image) if address is None else Content(fetched[address], False)
        found = header(content.data)
        _check_size(found, model, mpx)
    except Unfit as error:
        host = "" if address is None else f" from '{host_of(address)}'"
        raise BadImage(f"The image{host} {error}.", place_of(body, image)) from error
    if not content.as_engines_take_it:
        image.put(found.media_type, encoded(content.data))
    return not content.as_engines_take_it


def place_of(body: dict[str, Any], image: Image) -> str:
    """Returns where in a body an image stands, for example `messages[0].content[1].image_url`."""
    return place(body, image.part, image.key if image.key == "source" else "image_url")


def _check_size(found: Header, model: str, mpx: float) -> None:
    if found.pixels > mpx * 1e6:
        size = f"{found.width} × {found.height} pixels ({found.pixels / 1e6:.4g} megapixels)"
        raise Unfit(f"has {size}, and the model '{model}' takes at most {mpx:g} megapixels per image; send a smaller one")
    if max(found.width, found.height) > _LONGEST_SIDE:
        raise Unfit(f"has {found.width} × {found.height} pixels, and no side may be longer than {_LONGEST_SIDE}; send a part of it")


def host_of(address: str) -> str:
    """The host in an http(s) address, for an error's sentence."""
    host = _HOST.match(address.split("/", 3)[2].rpartition("@")[2])
    return host[0] if host else ""


def _content(image: Image) -> Content:
    if image.is_url:
        return content_of(image.given)
    content = decoded(image.given)
    known = image.holder["source"].get("media_type") in _MEDIA_TYPES
    return Content(content.data, known and content.as_engines_take_it)

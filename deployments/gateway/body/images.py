"""The images of a request on their way to an engine: fetched where they are given by address, checked, and written into the body.

Decides nothing but where the work is done: `policy.images` checks, and large images are checked in a thread, beside the event loop.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from deployments.policy.errors.client_errors import BadRequest
from deployments.policy.images.media import Image
from deployments.policy.images.settlement import place_of, settle
from deployments.policy.request.served_models import Served

#: Letters of base64, and bytes of fetched images, that are checked on the event loop: less than a millisecond, and 20 ms where they are
#: made of nothing but the smallest chunks or blocks that a format has.
_SMALL = 256 << 10


class Images(Protocol):
    """Fetches an image by address; `deployments.gateway.body.remote_images` over HTTP."""

    async def fetch(self, url: str) -> bytes: ...


async def settled(source: Images, body: dict[str, Any], images: Sequence[Image], served: Served) -> bool:
    """Brings all images of a request into the form that its engine reads, inside the body.

    Args:
        source: where images by address come from.
        body: the request, decoded.
        images: all of its images.
        served: the model that shall answer.

    Returns:
        Whether the body was changed.

    Raises:
        BadRequest: an image could not be fetched, or cannot be served.
    """
    sent = await _fetched(source, {address for image in images if (address := image.address) is not None})
    fetched = {address: _released(data, body, images, address) for address, data in sent.items()}
    work = partial(settle, body, images, fetched, served.id, served.image_mpx)
    size = sum(len(data) for data in fetched.values()) + sum(len(image.given) for image in images if image.address is None)
    return work() if size <= _SMALL else await asyncio.to_thread(work)


async def _fetched(source: Images, addresses: set[str]) -> "dict[str, bytes | BadRequest]":
    """Each address is fetched once, all at the same time."""
    if not addresses:
        return {}
    async with asyncio.TaskGroup() as group:
        fetches = {address: group.create_task(_caught(source.fetch(address))) for address in addresses}
    return {address: fetch.result() for address, fetch in fetches.items()}


async def _caught(fetch: Any) -> "bytes | BadRequest":  # noqa: ANN401 (an awaitable)
    """An error as a value: a group of tasks would wrap it."""
    try:
        data: bytes = await fetch
    except BadRequest as error:
        return error
    return data


def _released(data: "bytes | BadRequest", body: dict[str, Any], images: Sequence[Image], address: str) -> bytes:
    """Returns what an address sent.

    Raises:
        BadRequest: it sent no image. The error names the first place in the body where the address stands.
    """
    if isinstance(data, bytes):
        return data
    image = next(image for image in images if image.address == address)
    raise BadRequest(data.message, param=place_of(body, image), code=data.reason) from None

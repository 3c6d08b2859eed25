"""The images of a request on their way to an engine: fetched where they are given by address, checked, and written into the body.

Decides nothing but where the work is done: `policy.images` checks, and large images are checked in a thread, beside the event loop.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from deployments.policy.errors.herd_error import HerdError
from deployments.policy.images.media import Image
from deployments.policy.images.settlement import settle
from deployments.policy.request.served_models import Served

#: Letters of base64, and bytes of fetched images, that are checked on the event loop: about a millisecond.
_SMALL = 1 << 20


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
    fetched = await _fetched(source, {address for image in images if (address := image.address) is not None})
    work = partial(settle, body, images, fetched, served.id, served.image_mpx)
    size = sum(len(data) for data in fetched.values()) + sum(len(image.given) for image in images if image.address is None)
    return work() if size <= _SMALL else await asyncio.to_thread(work)


async def _fetched(source: Images, addresses: set[str]) -> dict[str, bytes]:
    """Each address is fetched once, all at the same time."""
    if not addresses:
        return {}
    async with asyncio.TaskGroup() as group:
        fetches = {address: group.create_task(_caught(source.fetch(address))) for address in addresses}
    return {address: _released(fetch.result()) for address, fetch in fetches.items()}


async def _caught(fetch: Any) -> "bytes | HerdError":  # noqa: ANN401 (an awaitable)
    """An error as a value: a group of tasks would wrap it."""
    try:
        data: bytes = await fetch
    except HerdError as error:
        return error
    return data


def _released(data: "bytes | HerdError") -> bytes:
    if isinstance(data, HerdError):
        raise data
    return data

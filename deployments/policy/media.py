"""The media in a request's body: which images it carries, and what is refused before an engine sees it.

Decides over decoded JSON, in the forms of chat completions (`image_url`), responses (`input_image`) and messages (`image` with a
`source`). Leaves fetching to `deployments.remote_images`. An address that is not a `data:` URL must never pass: an engine would fetch
it from inside the cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from deployments.policy.errors import BadRequest, TooManyImages

_IMAGE_PARTS = frozenset({"image_url", "input_image", "image"})
#: Content that vLLM would read for other models, or by paths that no request may take (embeddings, objects, files of the node).
_REFUSED_PARTS = frozenset(
    {
        "audio_url",
        "input_audio",
        "video_url",
        "input_video",
        "image_embeds",
        "audio_embeds",
        "image_pil",
        "video",
        "audio",
        "input_file",
        "file",
    }
)
_CONTAINERS = ("messages", "input", "system")


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An image by address, and where in the body its address stands."""

    url: str
    holder: dict[str, Any]
    key: str

    def inline(self, data_url: str) -> None:
        """Puts the image itself where its address stood."""
        if self.key == "source":
            media_type, _, data = data_url.removeprefix("data:").partition(";base64,")
            self.holder["source"] = {"type": "base64", "media_type": media_type, "data": data}
        else:
            self.holder[self.key] = data_url


def inspect(body: dict[str, Any], model: str, limit: int) -> tuple[RemoteImage, ...]:
    """Counts the images of a request and names those that must be fetched.

    Args:
        body: the request, decoded.
        model: for the error's sentence.
        limit: images that one prompt may carry.

    Raises:
        TooManyImages: one more than the model takes.
        BadRequest: media that is no image, or an address that is neither `data:` nor `http(s)`.
    """
    parts = [part for key in _CONTAINERS for part in _parts(body.get(key))]
    images = [part for part in parts if part.get("type") in _IMAGE_PARTS or "image_url" in part]
    for part in parts:
        _refuse(part)
    if len(images) > limit:
        raise TooManyImages(model, len(images), limit)
    remote = (_remote(part) for part in images)
    return tuple(image for image in remote if image is not None)


def _parts(node: object) -> Iterator[dict[str, Any]]:
    """Every mapping inside messages, at any depth: content parts stand in messages, and in the results of tools inside these."""
    if isinstance(node, list):
        for item in node:
            yield from _parts(item)
    elif isinstance(node, dict):
        yield node
        for key in ("content", "output"):
            yield from _parts(node.get(key))


def _refuse(part: dict[str, Any]) -> None:
    kind = part.get("type")
    if kind in _REFUSED_PARTS or any(key in part for key in ("audio_url", "video_url", "image_embeds", "audio_embeds")):
        raise BadRequest(f"Content of type '{kind}' is not served: only text and images are.", param="messages")


def _remote(part: dict[str, Any]) -> RemoteImage | None:
    holder, key, url = _address(part)
    if not isinstance(url, str):
        raise BadRequest("An image must have a URL: 'data:image/…;base64,…' or http(s)://….", param="messages")
    scheme = url[:5].lower()
    if scheme == "data:":
        return None
    if urlsplit(url).scheme.lower() not in ("http", "https"):
        raise BadRequest("An image's URL must begin with data:, https:// or http://.", param="messages")
    return RemoteImage(url, holder, key)


def _address(part: dict[str, Any]) -> tuple[dict[str, Any], str, object]:
    """Where an image's address stands: the mapping, its key, and the address."""
    source = part.get("source")
    if isinstance(source, dict):
        return part, "source", source.get("url") if source.get("type") == "url" else "data:"
    image_url = part.get("image_url")
    if isinstance(image_url, dict):
        return image_url, "url", image_url.get("url")
    return part, "image_url", image_url

"""The media in a request's body: which images it carries, and what is refused before an engine sees it.

Decides over decoded JSON, in the forms of chat completions (`image_url`), responses (`input_image`) and messages (`image` with a
`source`). Leaves fetching to `deployments.remote_images`. An address that is not a `data:` URL must never pass: an engine would fetch
it from inside the cluster.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

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
        "video_embeds",
        "prompt_embeds",
        "image_pil",
        "video",
        "audio",
        "input_file",
        "file",
    }
)
#: vLLM reads a part without a `type` by the key that it has.
_REFUSED_KEYS = ("audio_url", "input_audio", "video_url", "image_embeds", "audio_embeds", "video_embeds", "prompt_embeds", "image_pil")
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
    parts = _parts(body)
    for part in parts:
        _refuse(part)
    images = [part for part in parts if _is_image(part)]
    if len(images) > limit:
        raise TooManyImages(model, len(images), limit)
    return tuple(image for part in images for image in _remote(part))


def count(body: dict[str, Any]) -> int:
    """The images of a request, in whatever form."""
    return sum(map(_is_image, _parts(body)))


def _is_image(part: dict[str, Any]) -> bool:
    return _kind(part) in _IMAGE_PARTS or "image_url" in part


def _parts(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Every mapping inside messages, at any depth: content parts stand in messages, and in the results of tools inside these."""
    found, left = [], [body.get(key) for key in reversed(_CONTAINERS)]
    while left:
        node = left.pop()
        if isinstance(node, list):
            left.extend(reversed(node))
        elif isinstance(node, dict):
            found.append(node)
            left += (node.get("output"), node.get("content"))
    return found


def _kind(part: dict[str, Any]) -> str:
    kind = part.get("type")
    return kind if isinstance(kind, str) else ""


def _refuse(part: dict[str, Any]) -> None:
    refused = _kind(part) if _kind(part) in _REFUSED_PARTS else next((key for key in _REFUSED_KEYS if key in part), None)
    if refused is not None:
        raise BadRequest(f"Content of type '{refused}' is not served: only text and images are.", param="messages")


def _remote(part: dict[str, Any]) -> Iterator[RemoteImage]:
    """The addresses in an image's part, whatever its `type` says: it is the engine that decides which of them it reads."""
    source = part.get("source")
    if "image_url" in part or not isinstance(source, dict):
        image_url = part.get("image_url")
        holder, key = (image_url, "url") if isinstance(image_url, dict) else (part, "image_url")
        if _is_remote(holder.get(key)):
            yield RemoteImage(holder[key], holder, key)
    if isinstance(source, dict) and source.get("type") == "url" and _is_remote(source.get("url")):
        yield RemoteImage(source["url"], part, "source")


def _is_remote(url: object) -> bool:
    if not isinstance(url, str):
        raise BadRequest("An image must have a URL: 'data:image/…;base64,…' or http(s)://….", param="messages")
    if url[:5].lower() == "data:":
        return False
    if not url.lower().startswith(("http://", "https://")):
        raise BadRequest("An image's URL must begin with data:, https:// or http://.", param="messages")
    return True

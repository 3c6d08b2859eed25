"""The media in a request's body: which images it carries, and what is refused before an engine sees it.

Decides over decoded JSON, in the forms of chat completions (`image_url`), responses (`input_image`) and messages (`image` with a
`source`). Leaves what an image's bytes may be to `policy.images`, and fetching to `deployments.gateway.body.remote_images`. An address
that is not a `data:` URL must never pass: an engine would fetch it from inside the cluster.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from deployments.policy.errors.client_errors import BadImage, BadRequest, TooManyImages

_BY_URL = frozenset({"image_url", "input_image"})
_IMAGE_PARTS = _BY_URL | {"image"}
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
_REFUSED_KEYS = frozenset(
    {"audio_url", "input_audio", "video_url", "image_embeds", "audio_embeds", "video_embeds", "prompt_embeds", "image_pil"}
)
_MEDIA_KEYS = _REFUSED_KEYS | {"image_url", "source"}
_MEDIA_PARTS = _REFUSED_PARTS | _IMAGE_PARTS
_CONTAINERS = ("messages", "input", "system")
_CONTAINERS_REVERSED = _CONTAINERS[::-1]
_NODES = frozenset({dict, list})
#: Elements of messages, items and parts that are looked at, at most: numbers where parts should be are bounded by a model's context only.
MOST_NODES = 1_000_000
#: Letters of a place in the body that an error names.
_LONGEST_PLACE = 256


@dataclass(frozen=True, slots=True)
class Image:
    """An image of a request, and where in the body it stands."""

    part: dict[str, Any]
    holder: dict[str, Any]
    key: str
    """Of the holder: `url` or `image_url` for a URL, `source` for a source of `/v1/messages`."""

    @property
    def is_url(self) -> bool:
        """Given by a URL, of whatever scheme; else in base64."""
        value = self.holder[self.key]
        return not isinstance(value, dict) or value.get("type") == "url"

    @property
    def given(self) -> str:
        """The URL, or the base64."""
        value = self.holder[self.key]
        given: str = value["url" if self.is_url else "data"] if isinstance(value, dict) else value
        return given

    @property
    def address(self) -> str | None:
        """The http(s) address to fetch it from; None where the request has the image itself."""
        return self.given if self.is_url and not _is_data(self.given) else None

    def put(self, media_type: str, base64: str) -> None:
        """Puts the image itself in this place, in the form that engines take."""
        if self.key == "source":
            self.holder["source"] = {"type": "base64", "media_type": media_type, "data": base64}
        else:
            self.holder[self.key] = f"data:{media_type};base64,{base64}"


@dataclass(frozen=True, slots=True)
class Media:
    """Images and other media of a request."""

    images: tuple[Image, ...]
    changed: bool
    """The body is no longer as it came."""


NO_MEDIA = Media((), False)


def inspect(body: dict[str, Any], model: str, limit: int) -> Media:
    """Finds and counts the images of a request.

    Changes the body where clients write what engines do not take: members that are null are as good as absent and go, so that an engine
    sees the part as it was read here; an image of a response has a `detail`, `auto` unless it says otherwise, as in OpenAI's API; a URL
    that stands alone where chat completions have an object is put into one.

    Args:
        body: the request, decoded.
        model: for the error's sentence.
        limit: images that one prompt may carry.

    Raises:
        TooManyImages: one more than the model takes.
        BadRequest: media that is no image, or an address that is neither `data:` nor `http(s)`.
    """
    if _is_text(body):
        return NO_MEDIA
    marked = [part for part in _parts(body) if not _MEDIA_KEYS.isdisjoint(part) or ("type" in part and _kind(part) in _MEDIA_PARTS)]
    if not marked:
        return NO_MEDIA
    changed = [_without_nulls(part) for part in marked]
    for part in marked:
        _refuse(body, part)
    parts = [part for part in marked if _is_image(part)]
    if len(parts) > limit:
        raise TooManyImages(model, len(parts), limit, holder(body))
    changed += [_in_form(part) for part in parts]
    return Media(tuple(image for part in parts for image in _images(body, part)), any(changed))


def count(body: dict[str, Any]) -> int:
    """The images of a request, in whatever form."""
    return sum(map(_is_image, _parts(body)))


def holder(body: dict[str, Any]) -> str:
    """Returns the name of the field that holds a request's images: the APIs call it differently."""
    return next((name for name in _CONTAINERS if any(map(_is_image, _parts({name: body.get(name)})))), "messages")


def characters(body: dict[str, Any]) -> int:
    """Counts the letters of a request's images: of their URLs, and of their base64. `inspect` finds the same, and checks them."""
    return sum(len(text) for part in _parts(body) if _is_image(part) for text in _given(part) if isinstance(text, str))


def _given(part: dict[str, Any]) -> Iterator[object]:
    """Yields what `_images` takes for the image; of a source that is not in the form of the API it may be something else."""
    image_url, source = part.get("image_url"), part.get("source")
    yield image_url.get("url") if isinstance(image_url, dict) else image_url
    if isinstance(source, dict):
        yield source.get("url" if source.get("type") == "url" else "data")


def place(body: dict[str, Any], part: dict[str, Any], key: str) -> str:
    """Where a member of one of a body's parts stands, for example `messages[0].content[1].image_url`."""
    steps: list[str] = []
    nodes, node = [_below(body, _CONTAINERS)], None
    while node is not part:
        found = next(nodes[-1], None)
        if found is None:
            nodes.pop()
            del steps[-1:]
        else:
            step, node = found
            steps.append(step)
            nodes.append(_below(node, ("output", "content")))
    named = "".join((*steps, ".", key))[1:]
    return named if len(named) <= _LONGEST_PLACE else steps[0][1:]


def _below(node: Any, names: Iterable[str]) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 (whatever the client sent)
    """Yields the values inside a list, or inside these members of a mapping, and the step to it."""
    if isinstance(node, list):
        yield from ((f"[{index}]", one) for index, one in enumerate(node))
    elif isinstance(node, dict):
        yield from ((f".{name}", node[name]) for name in names if name in node)


def _is_image(part: dict[str, Any]) -> bool:
    return _kind(part) in _IMAGE_PARTS or part.get("image_url") is not None


def _without_nulls(part: dict[str, Any]) -> bool:
    """Takes members out that say nothing; vLLM goes by the key alone where a part has no `type`. Whether there were any."""
    nulls = [key for key in _MEDIA_KEYS & part.keys() if part[key] is None]
    for key in nulls:
        del part[key]
    return bool(nulls)


def _in_form(part: dict[str, Any]) -> bool:
    """Says what vLLM requires to be said, and takes out what it refuses. Whether anything was changed."""
    kind, image_url = _kind(part), part.get("image_url")
    if kind == "input_image" and part.get("detail") is None:
        part["detail"] = "auto"
        return True
    if kind == "image_url" and isinstance(image_url, str):
        part["image_url"] = {"url": image_url}
        return True
    if isinstance(image_url, dict) and "detail" in image_url and image_url["detail"] is None:
        del image_url["detail"]
        return True
    return False


def _is_text(body: dict[str, Any]) -> bool:
    """Whether a request is a chat of plain texts, as most are: one look at each message finds it, in a fifth of the time of `_parts`."""
    messages = body.get("messages")
    if type(messages) is not list or len(messages) > MOST_NODES or "input" in body or "system" in body:
        return False
    for message in messages:
        if type(message) is not dict or type(message.get("content")) is not str:
            return False
        if "type" in message or "output" in message or not _MEDIA_KEYS.isdisjoint(message):
            return False
    return True


def _parts(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Every mapping inside messages, at any depth: content parts stand in messages, and in the results of tools inside these."""
    found: list[dict[str, Any]] = []
    left: list[Any] = []
    seen = 0
    for name in _CONTAINERS_REVERSED:
        inner = body.get(name)
        if type(inner) in _NODES and not _is_token_ids(inner):
            left.append(inner)
    while left:
        node = left.pop()
        if type(node) is list:
            seen += len(node)
            if seen > MOST_NODES:
                raise BadRequest(
                    f"The body has more than {MOST_NODES} messages and parts. Send less in one request.", code="request_too_large"
                )
            left += [one for one in reversed(node) if type(one) in _NODES]
        else:
            found.append(node)
            for name in ("output", "content"):
                inner = node.get(name)
                if type(inner) in _NODES:
                    left.append(inner)
    return found


def _is_token_ids(value: object) -> bool:
    """Tells prompts of token ids (`/v1/embeddings`), which have no parts: a list that begins with an id has no other elements by now."""
    if not isinstance(value, list) or not value:
        return False
    first = type(value[0])
    return first is int or (first is list and all(type(one) is list and one and type(one[0]) is int for one in value))


def _kind(part: dict[str, Any]) -> str:
    kind = part.get("type")
    return kind if isinstance(kind, str) else ""


def _refuse(body: dict[str, Any], part: dict[str, Any]) -> None:
    kind = _kind(part)
    refused = kind if kind in _REFUSED_PARTS else next((key for key in sorted(_REFUSED_KEYS) if key in part), None)
    if refused is not None:
        where = place(body, part, "type" if refused == kind else refused)
        raise BadRequest(f"Content of type '{refused}' is not served: only text and images are.", param=where)


def _images(body: dict[str, Any], part: dict[str, Any]) -> Iterator[Image]:
    """The images in an image's part, whatever its `type` says: it is the engine that decides which of them it reads."""
    source = part.get("source")
    if "image_url" in part or _kind(part) in _BY_URL or not isinstance(source, dict):
        image_url = part.get("image_url")
        holder, key = (image_url, "url") if isinstance(image_url, dict) else (part, "image_url")
        _check_url(holder.get(key), body, part, "source" if _kind(part) == "image" else "image_url")
        yield Image(part, holder, key)
    if not isinstance(source, dict):
        return
    if source.get("type") == "url":
        _check_url(source.get("url"), body, part, "source.url")
        yield Image(part, part, "source")
    elif isinstance(source.get("data"), str):  # whatever its `type`: vLLM takes it for base64
        yield Image(part, part, "source")
    elif source or "image_url" not in part:
        raise BadImage("An image's source must be of type 'base64' with its 'data', or of type 'url'.", place(body, part, "source"))


def _check_url(url: object, body: dict[str, Any], part: dict[str, Any], key: str) -> None:
    if not isinstance(url, str):
        kept = " Uploaded files are not kept here, so a 'file_id' cannot stand for one." if part.get("file_id") is not None else ""
        raise BadImage(f"An image must have a URL: 'data:image/…;base64,…' or http(s)://….{kept}", place(body, part, key))
    if not _is_data(url) and not url.lower().startswith(("http://", "https://")):
        raise BadImage("An image's URL must begin with data:, https:// or http://.", place(body, part, key))


def _is_data(url: str) -> bool:
    return url[:5].lower() == "data:"

"""A request's prompt as blocks, for finding who has computed its beginning already.

The gateway has no tokenizer, so blocks are of bytes: of the prompt as a chat template would order it (model, tools, system, messages). A
block's key covers all bytes up to its end, so that equal keys mean equal beginnings, as in the engines' own caches. Keys are the same in
every process: a chained CRC-32 (zlib, about 2 GB/s, no object per block) and the block's place. Two different beginnings of one length
share a key once in 2³², and then one request is sent to the wrong cache; nothing else depends on it.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

#: Bytes of one block: small enough for a system prompt to count, large enough that a block costs less than what it stands for.
BLOCK_BYTES = 512
#: English text in Llama's tokenizers is about this; only sizes relative to each other matter.
BYTES_PER_TOKEN = 4
BLOCK_TOKENS = BLOCK_BYTES // BYTES_PER_TOKEN
#: What one image takes of a prompt: Llama 4 has 144 tokens per tile, 1 to 17 tiles; this is seven of them.
IMAGE_TOKENS = 1024

#: Stands between what the template keeps apart.
_BETWEEN = b"\x1e"
#: Characters at the beginning and at the end of an image's data that are looked at.
_SAMPLE = 32 << 10
_IMAGE_COPIES = IMAGE_TOKENS * BYTES_PER_TOKEN // 8


@dataclass(frozen=True, slots=True)
class Prompt:
    """How long a prompt is, and the keys of its whole blocks."""

    blocks: tuple[int, ...]
    tokens: int
    """About; see `BYTES_PER_TOKEN`."""


NO_PROMPT = Prompt((), 0)


def prompt_of(body: dict[str, Any], model: str) -> Prompt:
    """The prompt of a decoded request, of whichever API: chat, completions, responses, messages, embeddings.

    Args:
        body: as the client sent it; nothing in it is taken for valid.
        model: the model or LoRA adapter that computes it: another one shares nothing with it.
    """
    return in_blocks(_rendered(body, model))


def tokens_of(body: dict[str, Any]) -> int:
    """About how long the prompt of a decoded request is, whichever model computes it."""
    return len(_rendered(body, "")) // BYTES_PER_TOKEN


def _rendered(body: dict[str, Any], model: str) -> bytes:
    parts = [model.encode()]
    parts.extend(_json(body[name]) for name in ("tools", "chat_template", "chat_template_kwargs", "documents") if body.get(name))
    for name in ("system", "instructions", "prompt", "input", "messages"):
        if body.get(name):
            parts.extend(_told(body[name]))
    return _BETWEEN.join(parts)


def in_blocks(data: bytes, block_bytes: int = BLOCK_BYTES) -> Prompt:
    """A prompt's bytes as blocks; what is left at the end counts as tokens and has no key."""
    view, keys, key = memoryview(data), [], 0
    for number in range(len(data) // block_bytes):
        key = zlib.crc32(view[number * block_bytes : (number + 1) * block_bytes], key)
        keys.append(number << 32 | key)
    return Prompt(tuple(keys), len(data) // BYTES_PER_TOKEN)


def _told(value: Any) -> Iterable[bytes]:  # noqa: ANN401 (whatever a client sends)
    if isinstance(value, str):
        yield _text(value)
    elif isinstance(value, list) and value and isinstance(value[0], int):
        yield _json(value)  # token ids: equal beginnings of lists are equal beginnings of their JSON
    elif isinstance(value, list):
        for item in value:
            yield from _item(item)
    else:
        yield _json(value)


def _item(item: Any) -> Iterable[bytes]:  # noqa: ANN401
    """A message, a part of its content, or a token of a prompt in tokens."""
    if isinstance(item, str):
        yield _text(item)
    elif not isinstance(item, dict):
        yield _json(item)
    elif "role" in item:
        yield _json(item["role"])
        yield from _told(item.get("content"))
        if len(item) > 2:
            yield _json({name: value for name, value in item.items() if name not in ("role", "content")})
    elif isinstance(item.get("text"), str):
        yield _text(item["text"])
    elif "image_url" in item or "source" in item:
        yield _image(item.get("image_url") or item.get("source"))
    else:
        yield _json(item)


def _image(source: Any) -> bytes:  # noqa: ANN401
    """An image stands for as many bytes as text of so many tokens would have. It is known by its address, or by parts of its data."""
    text = source if isinstance(source, str) else next((text for text in _strings(source) if len(text) > _SAMPLE), None)
    if text is not None and len(text) > 2 * _SAMPLE:  # megabytes: their length, beginning and end tell one from another
        source = [len(text), text[:_SAMPLE], text[-_SAMPLE:]]
    data = _json(source)
    return b"%08x" % zlib.crc32(data) * _IMAGE_COPIES


def _strings(source: Any) -> Iterable[str]:  # noqa: ANN401
    return (text for text in source.values() if isinstance(text, str)) if isinstance(source, dict) else ()


def _text(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _json(value: Any) -> bytes:  # noqa: ANN401
    return msgspec.json.encode(value)

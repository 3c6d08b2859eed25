"""The text that a model wrote, read from the bytes of its answer: text, reasoning and the arguments of calls, by the index of the choice.

Decides over bytes, for all four APIs that generate. In messages and responses everything belongs to choice 0.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

_INVALID = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def events_of(data: bytes) -> Iterator[dict[str, Any]]:
    """Decodes the events of a stream that are JSON objects."""
    for line in data.split(b"\n"):
        if line.startswith(b"data: {") and isinstance(event := decoded(line[6:]), dict):
            yield event


def decoded(data: bytes) -> object:
    """Decodes JSON; None where it is none."""
    try:
        return msgspec.json.decode(data)
    except _INVALID:
        return None


def of_events(data: bytes) -> Mapping[int, str]:
    """Returns what whole events of a stream add to each choice. A choice to which they add nothing is left out."""
    texts: dict[int, str] = {}
    for event in events_of(data):
        for index, text in _of_event(event):
            texts[index] = texts.get(index, "") + text
    return {index: text for index, text in texts.items() if text}


def of_body(data: bytes) -> Mapping[int, str]:
    """Returns what each choice of a whole answer says; nothing where the body is no answer of a model."""
    body = decoded(data)
    if not isinstance(body, dict):
        return {}
    if "choices" in body:
        return {_index(choice): _of_message(choice.get("message")) or _text(choice.get("text")) for choice in items(body, "choices")}
    blocks = [*items(body, "content"), *(part for item in items(body, "output") for part in (item, *items(item, "content")))]
    return {0: "".join(_of_block(block) for block in blocks)} if blocks else {}


def items(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Returns the objects of a list that stands under a name; none where there is no list."""
    found = value.get(name)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _of_event(event: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    if "choices" in event:
        for choice in items(event, "choices"):
            yield _index(choice), _of_message(choice.get("delta")) or _text(choice.get("text"))
    elif event.get("type") == "content_block_delta" and isinstance(delta := event.get("delta"), dict):
        yield 0, _of_block(delta)
    elif _text(event.get("type")).endswith(".delta"):
        yield 0, _text(event.get("delta"))


def _index(choice: Mapping[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _of_message(message: object) -> str:
    """The text comes first, then the reasoning, then the arguments of calls."""
    if not isinstance(message, dict):
        return ""
    calls = (call.get("function") for call in items(message, "tool_calls"))
    arguments = (_text(call.get("arguments")) for call in calls if isinstance(call, dict))
    return "".join((_text(message.get("content")), _text(message.get("reasoning")), *arguments))


def _of_block(block: Mapping[str, Any]) -> str:
    return "".join(_text(block.get(name)) for name in ("text", "thinking", "partial_json", "arguments"))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

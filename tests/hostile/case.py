"""A case: one request from outside, and what must be true of its answer."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SMOLLM, SCOUT = "smollm2-135m-instruct", "llama-4-scout-tiny"
CHAT, COMPLETIONS, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages"
TOKENIZE, DETOKENIZE, EMBEDDINGS, COUNT = "/tokenize", "/detokenize", "/v1/embeddings", "/v1/messages/count_tokens"

REFUSED = frozenset({400})
SERVED = frozenset({200})
#: For a choice that is the herd's to make: either is right, and never an error of the server.
EITHER = SERVED | REFUSED
#: Larger than what the herd takes, by one bound or another.
TOO_LARGE = frozenset({400, 413})
#: A request that a browser, or a client of another name, must not make.
FORBIDDEN = frozenset({400, 403, 415, 421})
#: The request is in order, and there may be no room for it now.
BUSY = frozenset({429, 503})

#: The longest error that any client gets.
MOST_BYTES = 64 << 10

Body = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """One request and its right answer."""

    name: str
    of: str
    """The finding or report that it comes from."""
    body: Body | None = None
    path: str = CHAT
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    """In place of, or beside, `host` and `content-type`. An empty value leaves the header out."""
    statuses: frozenset[int] = REFUSED
    code: str | None = None
    not_code: str | None = None
    """A code that would say something else than what is wrong."""
    param: str | None = None
    says: str = ""
    """A part of the answer's body, whatever case its letters have."""
    shows: tuple[str, str] | None = None
    """A header of the answer, and a part of its value."""
    most_bytes: int = MOST_BYTES
    within_s: float = 20.0
    """The longest time for the whole answer. Generous: a test may run beside others on a slow machine."""
    models: tuple[str, ...] = (SMOLLM,)
    """Models whose engines must live afterwards."""


def text(value: Any) -> Body:
    """A body in JSON."""
    return lambda: json.dumps(value).encode()


def repeated(before: str, part: str, times: int, after: str) -> Body:
    """A body whose one part stands many times, with commas between; made only when it is sent."""
    return lambda: (before + ",".join([part] * times) + after).encode()


def saying(content: Any = "Hi", model: str = SMOLLM, **more: Any) -> dict[str, Any]:
    """A chat request for one token."""
    return {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": content}], **more}


def smallest(path: str, model: str = SMOLLM) -> dict[str, Any]:
    """The smallest request of a path that is in order."""
    if path in (COMPLETIONS, TOKENIZE):
        return {"model": model, "prompt": "Hi"} | ({"max_tokens": 1} if path == COMPLETIONS else {})
    if path == RESPONSES:
        return {"model": model, "input": "Hi", "max_output_tokens": 16}
    if path == EMBEDDINGS:
        return {"model": model, "input": "Hi"}
    if path == DETOKENIZE:
        return {"model": model, "tokens": [1, 2]}
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}]} | ({} if path == COUNT else {"max_tokens": 1})


def label(path: str) -> str:
    """A path's short name."""
    return path.rpartition("/")[2] if path != CHAT else "chat"

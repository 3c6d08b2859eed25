"""Calls that the gateway answers: the allow-list of the engine's routes, and what a call is.

Decides which paths exist. vLLM's app has many more, some of which stop or change an engine; none of these is reachable from outside.
"""

import re
from collections.abc import Collection, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any

import msgspec

from deployments.policy.errors.client_errors import BadRequest, UnknownPath
from deployments.policy.request.paths import meant

#: Paths that are forwarded to an engine, and their short names in metrics.
ENDPOINTS: Mapping[str, str] = MappingProxyType(
    {
        "/v1/chat/completions": "chat",
        "/v1/completions": "completions",
        "/v1/responses": "responses",
        "/v1/messages": "messages",
        "/v1/messages/count_tokens": "count_tokens",
        "/v1/embeddings": "embeddings",
        "/tokenize": "tokenize",
        "/detokenize": "detokenize",
    }
)

#: Who generates: only there can another model stand in.
GENERATING = frozenset({"chat", "completions", "responses", "messages"})
#: Whose requests are work for an engine's GPU. Only their answers state what that took; a tokenizer's may be megabytes of token ids.
COUNTED = GENERATING | {"embeddings"}
#: What decoding raises where a text is no JSON.
INVALID = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Priority(IntEnum):
    """A request's class; the smaller one goes first. Also vLLM's number for it, where its scheduler goes by priority."""

    INTERACTIVE = 0
    BATCH = 1


#: In Python 3.11 a member of an enum takes longer to look up than to compare.
INTERACTIVE, BATCH = Priority.INTERACTIVE, Priority.BATCH


class Call(msgspec.Struct, frozen=True):
    """A request for an engine, whole. A struct, because one is made per request: making a tuple with names takes four times as long."""

    path: str
    endpoint: str
    request_id: str
    body: bytes
    session: str | None = None
    """The client's own name for what belongs together, from a header."""
    priority: str | None = None
    """The class that a header names."""
    fallback: bool = True
    """Another model may answer, where the config declares one."""
    traceparent: bytes | None = None
    """The client's place in a trace, from the header of this name."""


def endpoint(method: str, path: str, pages: Collection[str] = ()) -> str:
    """Returns the short name of a forwarded path.

    Args:
        method: the request's.
        path: the request's, as it came.
        pages: the paths that the gateway answers itself; the error names the served path that was probably meant.

    Raises:
        UnknownPath: nothing is served there, or not with this method.
    """
    name = ENDPOINTS.get(path)
    if name is None:
        raise UnknownPath(method, path, meant=meant(path, (*pages, *ENDPOINTS)))
    if method != "POST":
        raise UnknownPath(method, path, allowed=("POST",))
    return name


def request_id(given: str | None, fresh: str) -> str:
    """The client's own id where it is fit for a log line and a header, else a fresh one."""
    return given if given is not None and _REQUEST_ID.fullmatch(given) else fresh


def decoded(body: bytes) -> dict[str, Any]:
    """A request's body as a mapping.

    Raises:
        BadRequest: it is not JSON, or not an object.
    """
    try:
        value = msgspec.json.decode(body)
    except INVALID as error:
        raise BadRequest(f"The body is not JSON: {error}.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    return value


class _Named(msgspec.Struct):
    model: Any = None


_NAMED = msgspec.json.Decoder(_Named)


def model_of(body: bytes) -> object:
    """Reads what a body gives as its `model`, and builds nothing of the rest.

    Raises:
        BadRequest: it is not JSON, or not an object.
    """
    try:
        return _NAMED.decode(body).model
    except msgspec.ValidationError as error:
        raise BadRequest("The body must be a JSON object.", code="invalid_json") from error
    except INVALID as error:
        raise BadRequest(f"The body is not JSON: {error}.", code="invalid_json") from error


def session_of(named: str | None, body: Mapping[str, Any]) -> str | None:
    """Returns the session of a request: as its header names it, else by OpenAI's `prompt_cache_key` or `user`."""
    if named:
        return named
    for name in (body.get("prompt_cache_key"), body.get("user")):
        if isinstance(name, str) and name:
            return name
    return None


def priority_of(named: str | None, body: Mapping[str, Any]) -> Priority:
    """A request's class: as its header names it, else by OpenAI's `service_tier`, whose "flex" is for who is in no hurry.

    Raises:
        BadRequest: the header names no class that there is.
    """
    if not named:
        return BATCH if body.get("service_tier") == "flex" else INTERACTIVE
    try:
        return Priority[named.upper()]
    except KeyError:
        allowed = " or ".join(repr(priority.name.lower()) for priority in Priority)
        raise BadRequest(f"The header x-priority must be {allowed}.", param="x-priority") from None


def with_field(raw: bytes, field: bytes) -> bytes:
    """A JSON object with one more field, as it is but for that. The last of equal names counts, and so this one."""
    return b"".join((memoryview(raw)[: raw.rindex(b"}")], b",", field, b"}"))

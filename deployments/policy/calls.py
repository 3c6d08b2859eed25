"""What the gateway answers to: the allow-list of the engine's routes, and what a call is.

Decides which paths exist. vLLM's app has many more, some of which stop or change an engine; none of these is reachable from outside.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from deployments.policy.errors import BadRequest, UnknownPath

#: Paths that are forwarded to an engine, and their short names in metrics.
ENDPOINTS: Mapping[str, str] = MappingProxyType(
    {
        "/v1/chat/completions": "chat",
        "/v1/completions": "completions",
        "/v1/responses": "responses",
        "/v1/messages": "messages",
        "/v1/embeddings": "embeddings",
        "/tokenize": "tokenize",
        "/detokenize": "detokenize",
    }
)

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request for an engine, whole."""

    path: str
    endpoint: str
    request_id: str
    body: bytes
    session: str | None = None
    """The client's own name for what belongs together, from a header."""


def endpoint(method: str, path: str) -> str:
    """The short name of a forwarded path.

    Raises:
        UnknownPath: nothing is served there, or not with this method.
    """
    name = ENDPOINTS.get(path)
    if name is None:
        raise UnknownPath(method, path)
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
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"The body is not JSON: {error}.", code="invalid_json") from error
    if not isinstance(value, dict):
        raise BadRequest("The body must be a JSON object.", code="invalid_json")
    return value


def session_of(named: str | None, body: Mapping[str, Any]) -> str | None:
    """What a request belongs to: as its header names it, else by OpenAI's `prompt_cache_key` or `user`."""
    for name in (named, body.get("prompt_cache_key"), body.get("user")):
        if isinstance(name, str) and name:
            return name
    return None

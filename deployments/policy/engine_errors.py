"""An engine's refusal becomes ours: same meaning, OpenAI's shape, codes that a client can switch on.

Decides from an engine's status and body alone. vLLM 0.29 says `{"error": {"message", "type", "param", "code"}}` with the HTTP status
as code; FastAPI's own errors say `{"detail": …}`.
"""

import re
from collections.abc import Mapping
from typing import Any

from deployments.policy.errors import BadRequest, ContextExceeded, EngineFailed, HerdError, NotServed, Unavailable

#: vLLM's words when a prompt is too long, in the forms that its OpenAI layer and its engine use (0.29).
_CONTEXT = re.compile(r"maximum (?:context|model) length|max_model_len|longer than the maximum model length", re.IGNORECASE)

#: How vLLM's errors inside a stream begin: in chat and completions, in messages, in responses.
_ERROR_EVENT = re.compile(rb'^(?:data: \{"error"|event: error|event: response\.failed)', re.MULTILINE)

_FAILURE = re.compile(rb'^data: \{"error"[^\n]*"code": ?([0-9]{3})\b', re.MULTILINE)


def translate(status: int, body: object) -> HerdError:
    """The error to raise for an engine's answer that is not a success.

    Args:
        status: the engine's HTTP status, 400 or more.
        body: its body as decoded JSON, or None where it was none.
    """
    error = _error_object(body)
    message = _text(error.get("message")) or "The engine could not serve this request."
    param = _text(error.get("param")) or None
    match status:
        case 429 | 503:  # vLLM's words for "my queue is full"
            return Unavailable(message, code="engine_busy", retry_after_s=1)
        case 404 | 405:  # the model's name is known to be right
            return NotServed("The model does not serve this endpoint.")
        case 401 | 403:  # the cluster's own fault, not the client's
            return EngineFailed("The engine refused its gateway.", code="engine_refused", retry_after_s=5)
        case _ if status >= 500:
            return EngineFailed("The engine failed while serving this request; trying again may help.", retry_after_s=1)
        case _ if _CONTEXT.search(message):
            return ContextExceeded(message, param=param or "messages")
        case _:
            return BadRequest(message, param=param)


def ends_in_error(tail: bytes) -> bool:
    """A stream that the engine itself ended with an error, by its last pieces. Such an event has no choices, only the error.

    Only at the start of a line: a model may well write these words, but a line break inside JSON is written as two letters.
    """
    return _ERROR_EVENT.search(tail) is not None


def tells_of_failure(events: bytes) -> bool:
    """Events of a stream that tell of the engine's own failure (a code of 500 or more), not of the request's fault."""
    said = _FAILURE.search(events)
    return said is not None and int(said[1]) >= 500


def _error_object(body: object) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        return {}
    error = body.get("error")
    if isinstance(error, dict):
        return error
    return body if "message" in body else {"message": _detail(body.get("detail"))}


def _detail(detail: object) -> str:
    """FastAPI's `detail`: a sentence, or a list of what is wrong with which field."""
    if isinstance(detail, list):
        return "; ".join(f"{_location(item.get('loc'))}: {item.get('msg')}" for item in detail if isinstance(item, dict))
    return _text(detail)


def _location(loc: object) -> str:
    return ".".join(map(str, loc)) if isinstance(loc, list) else "body"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

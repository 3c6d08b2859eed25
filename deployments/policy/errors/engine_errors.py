"""An engine's refusal becomes ours: same meaning, OpenAI's shape, codes that a client can switch on.

Decides from an engine's status and body, and from what was asked. vLLM 0.29 says `{"error": {"message", "type", "param", "code"}}` with the
HTTP status as code; FastAPI's own errors say `{"detail": …}`. The words are `policy.errors.engine_words`'.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from deployments.policy.errors import engine_words
from deployments.policy.errors.client_errors import (
    BadRequest,
    ContextExceeded,
    EngineFailed,
    MaxTokensTooLarge,
    NotFound,
    NotServed,
    Unavailable,
)
from deployments.policy.errors.herd_error import HerdError

#: Bytes that are read of an engine's answer with a status of 400 or more, and of an event that tells an error. The rest is dropped.
MOST_BYTES = 1 << 16

#: The type of error under which a replica says that its engine core has died (`deployments.engine.vllm.refusals`), and vLLM's words for it.
DEAD = "EngineDeadError"
_DEAD_WORDS = "EngineCore"
#: vLLM's words where the engine core ended one request: its grammar cannot be built or rejects a token, its KV cache was not handed over.
CORE_ERROR = "Internal server error"

#: How vLLM's errors inside a stream begin: in chat and completions, in messages, in responses.
_ERROR_EVENT = re.compile(rb'^(?:data: \{"error"|event: error\b|event: response\.failed\b)', re.MULTILINE)
#: The reason for its end, which every whole stream tells in its last events: in chat and completions, in messages, in responses.
_FINISH = re.compile(rb'"(?:finish_reason|stop_reason)": ?"|"?response\.(?:completed|incomplete|failed|cancelled)\b')
#: As chat and completions of vLLM write it. Bytes are found ten times as fast as what an expression means.
_USUAL_FINISH = b'"finish_reason":"'
#: The last event of a stream, in chat and completions, and in messages.
_LAST = (b"data: [DONE]\n\n", b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
#: The end of the last event, in all three. The one of responses repeats the whole answer, so that its begin may be far away.
_ENDS = (*_LAST, *(b'"type":"response.%b"}\n\n' % how for how in (b"completed", b"incomplete", b"cancelled")))
#: vLLM's words where its messages API reads an error event of the chat API as an answer, and what they show of an engine core that died:
#: pydantic leaves out all but the first 25 and the last 25 characters.
_UNREAD = re.compile(r"validation errors? for ChatCompletionStreamResponse")
_UNREAD_DEATH = re.compile(r"EngineCore|'message': 'En\.\.\.[^\n]*'code': 500")


@dataclass(frozen=True, slots=True)
class Said:
    """An engine's error."""

    status: int
    message: str = ""
    type: str = ""
    param: str | None = None

    @property
    def of_death(self) -> bool:
        """Whether the engine core has died, and with it all requests that it had."""
        return self.status >= 500 and (self.type == DEAD or self.message.startswith(_DEAD_WORDS))


@dataclass(frozen=True, slots=True)
class Question:
    """The request, as far as it matters for an error."""

    body: Mapping[str, Any]
    size: int = 0
    """Bytes of the request."""
    handed_over: bool = False
    """The engine was to take the prompt's KV cache from another engine, which can fail through no fault of the request's."""


#: The error of a stream that ends without a reason for its end: vLLM says nothing there of a grammar that does not compile.
UNFINISHED = Said(500, CORE_ERROR)
_NOTHING = Question({})


def said(status: int, answer: bytes) -> Said:
    """An engine's error, from an answer that is not a success.

    Args:
        status: the engine's HTTP status, 400 or more.
        answer: its body, or the first `MOST_BYTES` of it.
    """
    error = _error_object(_json(answer[:MOST_BYTES]))
    return Said(status, _text(error.get("message")), _text(error.get("type")), _text(error.get("param")) or None)


def error_at(events: bytes) -> int:
    """Where in these events of a stream an error event begins; -1 where none does.

    Only at the start of a line: a model may well write these words, but a line break inside JSON is written as two letters.
    """
    found = _ERROR_EVENT.search(events)
    return -1 if found is None else found.start()


def said_in(event: bytes) -> Said:
    """The error that an event of a stream tells."""
    data = event[event.find(b"data: ") + 6 : MOST_BYTES].partition(b"\n")[0]
    decoded = _json(data)
    failed = decoded.get("response") if isinstance(decoded, dict) else None
    error = _error_object(failed if isinstance(failed, dict) else decoded)
    message, code = _text(error.get("message")), error.get("code")
    if (of_core := unread(message)) is not None:
        return Said(500, of_core)
    status = code if isinstance(code, int) and 400 <= code < 600 else 500
    return Said(status, message, _text(error.get("type")), _text(error.get("param")) or None)


def unread(message: str) -> str | None:
    """Returns the engine core's words behind an error that vLLM's messages API could not read; None for any other error's message."""
    if _UNREAD.search(message) is None:
        return None
    return _DEAD_WORDS if _UNREAD_DEATH.search(message) else CORE_ERROR


def is_last(events: bytes) -> bool:
    """Whether these events end with the one that ends a stream."""
    return events.endswith(_LAST)


def is_whole(tail: bytes) -> bool:
    """Whether a stream is whole that ends so: its client misses nothing, whatever the engine does behind that."""
    return tail.endswith(_ENDS)


def has_finish(tail: bytes) -> bool:
    """Whether the last events of a stream tell why it ends."""
    return _USUAL_FINISH in tail or _FINISH.search(tail) is not None


def translate(error: Said, asked: Question = _NOTHING) -> HerdError:
    """The error to raise for an engine's error.

    Args:
        error: what the engine said.
        asked: what it was asked.
    """
    message = engine_words.cleaned(error.message) or "The engine could not serve this request."
    match error.status:
        case 429 | 503:  # vLLM's words for "my queue is full"
            return Unavailable(message, code="engine_busy", retry_after_s=1)
        case 401 | 403:  # the cluster's own fault, not the client's
            return EngineFailed("The engine refused its gateway.", code="engine_refused", retry_after_s=5)
        case 404 | 405 | 501:
            return _not_there(error, message)
        case 500 if error.message == CORE_ERROR and not asked.handed_over and (fields := grammar_fields(asked.body)):
            return BadRequest(engine_words.grammar(fields), param=fields[0], code="grammar_failed")
        case status if status >= 500:
            return EngineFailed("The engine failed while serving this request; trying again may help.", retry_after_s=1)
        case _:
            return _bad_request(error, message, asked)


def _not_there(error: Said, message: str) -> HerdError:
    """An endpoint that the model does not have, something that the request names and that is not there, or a form that is not implemented.

    The model's name is known to be right.
    """
    endpoint = not error.type or error.message.startswith("The model does not support") or error.type in ("Not Found", "Method Not Allowed")
    if endpoint:
        return NotServed("The model does not serve this endpoint.")
    return (BadRequest if error.status == 501 else NotFound)(message, param=error.param)


def _bad_request(error: Said, message: str, asked: Question) -> HerdError:
    limit = engine_words.over_limit(error.message, asked.size)
    if limit is None:
        told, param = engine_words.for_users(message, asked.body)
        return BadRequest(told, param=param or error.param)
    if limit.answer:
        names = [name for name in ("max_completion_tokens", "max_tokens", "max_output_tokens") if asked.body.get(name) is not None]
        return MaxTokensTooLarge(limit.told, param=(names or ["max_tokens"])[0])
    given = error.param if error.param in asked.body else None
    return ContextExceeded(
        limit.told, param=given or next((name for name in ("messages", "prompt", "input") if name in asked.body), "messages")
    )


def grammar_fields(body: Mapping[str, Any]) -> list[str]:
    """The fields of a request that constrain what the model may say, by a grammar or by tokens."""
    asked = {
        "structured_outputs": bool(body.get("structured_outputs")),
        "response_format": _kind(body.get("response_format")) not in ("", "text"),
        "text": _kind(_member(body.get("text"), "format")) not in ("", "text"),
        "output_config": bool(_member(body.get("output_config"), "format")),
        "tools": bool(body.get("tools")) and body.get("tool_choice") != "none",
        "allowed_token_ids": bool(body.get("allowed_token_ids")),
    }
    return [name for name, is_asked in asked.items() if is_asked]


def _kind(value: object) -> str:
    return _text(_member(value, "type"))


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _json(data: bytes) -> object:
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


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
        told = [item for item in detail if isinstance(item, dict)][:4]
        return "; ".join(f"{_location(item.get('loc'))}: {item.get('msg')}" for item in told)
    return _text(detail)


def _location(loc: object) -> str:
    return ".".join(map(str, loc)) if isinstance(loc, list) else "body"


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""

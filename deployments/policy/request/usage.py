"""Tokens that an engine says an answer took, read from the end of the answer.

Decides over bytes. Chat and completions say `prompt_tokens` and `completion_tokens`, responses and messages `input_tokens` and
`output_tokens`; a stream says it in one of its last events, and in chat and completions only where the client asked for it. Tokens of the
prompt that the engine had in its cache stand in the details of the first, or as `cache_read_input_tokens` in messages.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request. A struct, because one is made per request."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    """Tokens of the prompt that the engine had in its cache; 0 where it does not say."""


def of_body(body: bytes) -> Usage | None:
    """The usage in a whole JSON answer."""
    return _usage(body)


def of_stream(tail: bytes) -> Usage | None:
    """The usage in the last pieces of a stream: the last event that states one."""
    if b"_tokens" not in tail:
        return None
    for line in reversed(tail.split(b"\n")):
        if line.startswith(b"data: {") and (usage := _usage(line[6:])) is not None:
            return usage
    return None


_Tokens = Annotated[int, msgspec.Meta(ge=0)]


class _Plain(msgspec.Struct):
    """The numbers as chat and completions of vLLM state them, when there is nothing else to read."""

    prompt_tokens: _Tokens
    completion_tokens: _Tokens
    prompt_tokens_details: None = None
    input_tokens_details: None = None
    cache_read_input_tokens: None = None


class _Ordinary(msgspec.Struct):
    """An answer or event of chat or completions; nothing is built of what is not read."""

    usage: _Plain


class _Answer(msgspec.Struct):
    """The members that are read of any answer or event."""

    usage: Any = None
    response: Any = None


_ORDINARY, _ANSWER = msgspec.json.Decoder(_Ordinary), msgspec.json.Decoder(_Answer)


def _usage(answer: bytes) -> Usage | None:
    try:
        plain = _ORDINARY.decode(answer).usage
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _looked_for(answer)
    return Usage(plain.prompt_tokens, plain.completion_tokens)


def _looked_for(answer: bytes) -> Usage | None:
    """Returns the usage of an answer that states it in another form, or no usage."""
    try:
        found = _ANSWER.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    usage = found.usage or (found.response.get("usage") if isinstance(found.response, dict) else None)
    return _counted(usage) if isinstance(usage, dict) and any("_tokens" in name for name in usage) else None


def _counted(usage: Mapping[str, Any]) -> Usage:
    prompt = usage.get("prompt_tokens", usage.get("input_tokens", 0))
    completion = usage.get("completion_tokens", usage.get("output_tokens", 0))
    return Usage(_count(prompt), _count(completion), _cached(usage))


def _cached(usage: Mapping[str, Any]) -> int:
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details")
    if isinstance(details, dict):
        return _count(details.get("cached_tokens"))
    return _count(usage.get("cache_read_input_tokens"))


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0

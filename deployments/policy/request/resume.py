"""Going on with an answer whose engine died: what was delivered, and what another engine must be told to continue it.

Decides over bytes and decoded JSON. A stream that can be continued is asked for with its token ids, which are taken out again before the
client sees them: what it gets is byte for byte what the engine says to who did not ask. The ids are read only if the engine dies. The
other engine (`deployments.engine.vllm.resume`) gets the same request and the ids; it says again what was said, to the byte, and then goes
on.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from deployments.policy.request.calls import with_field

#: Names under `vllm_xargs`, which vLLM hands through to the engine as they are.
TOKENS, GROUPS, FINISH, STOP = "herd_tokens", "herd_groups", "herd_finish", "herd_stop"

_IDS = re.compile(rb'token_ids":\[[0-9,]*\]')
_IDS_BEGIN, _NO_IDS = b'token_ids":[', b'token_ids":null'
#: A chat without these fields is one answer, all of which token ids tell.
_LOOKED_AT = frozenset({"include_reasoning", "echo", "logprobs", "prompt_logprobs", "n", "use_beam_search", "prompt"})
#: What differs each time that the same is said.
_MADE_UP = re.compile(rb'"created":[0-9]+|"chatcmpl-tool-[0-9a-f]+"')
#: An event that vLLM sends only to who asks for token ids: tokens of which nothing can be shown yet (inside a tool's call, say).
_EMPTY = re.compile(rb'data: \{[^\n]*"delta":\{\}[^\n]*"finish_reason":null[^\n]*\n\n')


class CannotResume(Exception):
    """This answer cannot be continued by another engine."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """The words of an engine until it died."""

    tokens: tuple[int, ...]
    groups: tuple[int, ...]
    """How many of the tokens came with each event; where an engine is ahead of the network, several come with one."""
    finish: str | None = None
    """The reason for its end, where that was said already."""
    stop: int | None = None
    """The token that ended it, where one of the request's own did."""


class _Choice(msgspec.Struct):
    token_ids: list[int] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []


def can_resume(endpoint: str, body: Mapping[str, Any]) -> bool:
    """Whether a request's stream could be continued: one choice, and nothing in it that token ids do not tell."""
    if not body.get("stream"):
        return False
    if endpoint == "chat" and _LOOKED_AT.isdisjoint(body):
        return True
    if not body.get("include_reasoning", True) or body.get("echo"):
        return False
    return not asks_for(body, "logprobs") and not asks_for(body, "prompt_logprobs") and one_answer(endpoint, body)


def asks_for(body: Mapping[str, Any], name: str) -> bool:
    """Whether a field asks for log-probabilities: 0 asks for those of the tokens themselves, and for no others."""
    value = body.get(name)
    return value is not None and value is not False


def one_answer(endpoint: str, body: Mapping[str, Any]) -> bool:
    """Whether it is one prompt of the chat or completions API that wants one answer."""
    if endpoint not in ("chat", "completions"):
        return False
    return body.get("n") in (None, 1) and not body.get("use_beam_search") and _one_prompt(body.get("prompt"))


def _one_prompt(prompt: object) -> bool:
    return not isinstance(prompt, list) or (bool(prompt) and all(isinstance(token, int) for token in prompt))


def with_ids(raw: bytes) -> bytes:
    """A request's body that also asks for token ids."""
    return with_field(raw, b'"return_token_ids":true')


def shown(events: bytes) -> bytes:
    """Events as who did not ask for token ids gets them; nothing where they carry nothing else."""
    if b'"delta":{}' in events:
        events = _EMPTY.sub(b"", events)
    return _IDS.sub(_NO_IDS, events) if _IDS_BEGIN in events else events


def one_shown(event: bytes) -> bytes:
    """The same for one event that shows something, and in less time: the ids of its tokens stand at its end."""
    begin, has_ids, end = event.rpartition(_IDS_BEGIN)
    return begin + _NO_IDS + end.partition(b"]")[2] if has_ids else event


def delivered(said: bytes) -> Delivered:
    """Returns the delivered answer as tokens.

    Args:
        said: whole events, with their token ids.

    Raises:
        CannotResume: the events do not say which tokens they are.
    """
    tokens: list[int] = []
    groups: list[int] = []
    finish, stop = None, None
    for choice in _choices(said):
        if choice.token_ids is not None:
            tokens += choice.token_ids
            groups.append(len(choice.token_ids))
            # A text that stops the answer is found anew; it is not for the core to say.
            if choice.finish_reason is not None and not isinstance(choice.stop_reason, str):
                finish, stop = choice.finish_reason, choice.stop_reason
        elif choice.finish_reason is not None:
            raise CannotResume
    return Delivered(tuple(tokens), tuple(groups), finish, stop)


def _choices(said: bytes) -> Sequence[_Choice]:
    try:
        events = [msgspec.json.decode(line[6:], type=_Event) for line in said.split(b"\n") if line.startswith(b"data: {")]
    except msgspec.DecodeError as error:
        raise CannotResume from error
    return [choice for event in events for choice in event.choices[:1]]


def continuing(body: Mapping[str, Any], model: str, so_far: Delivered) -> bytes:
    """The request for the engine that continues: the client's own, and what was delivered."""
    ended = {FINISH: so_far.finish, STOP: so_far.stop}
    known = {TOKENS: so_far.tokens, GROUPS: so_far.groups} | {name: value for name, value in ended.items() if value is not None}
    more = {"model": model, "return_token_ids": True, "vllm_xargs": {**(body.get("vllm_xargs") or {}), **known}}
    return msgspec.json.encode({**body, **more})


class Seam:
    """Where one engine's stream ends and the next one's begins: what is said again is left out.

    Says again must mean to the byte, but for what an engine makes up: the time of creation, the ids of tool calls. What comes after the
    seam keeps those that the client has seen.
    """

    def __init__(self, said: bytes) -> None:
        """Args:
        said: whole events, with their token ids.
        """
        self._said = said
        self._at = 0
        self._seen: dict[bytes, bytes] = {}

    def after(self, events: bytes) -> bytes:
        """Returns the part of these whole events that is new.

        Raises:
            CannotResume: they say something else than what was said.
        """
        end = 0
        while self._at < len(self._said) and end < len(events):
            begin, end = end, events.index(b"\n\n", end) + 2
            self._compare(events[begin:end])
        return _MADE_UP.sub(lambda found: self._seen.get(found[0], found[0]), events[end:])

    def _compare(self, event: bytes) -> None:
        begin, self._at = self._at, self._said.index(b"\n\n", self._at) + 2
        before = self._said[begin : self._at]
        if _MADE_UP.sub(b"", before) != _MADE_UP.sub(b"", event):
            raise CannotResume
        self._seen.update(zip(_MADE_UP.findall(event), _MADE_UP.findall(before), strict=True))

"""An answer that is ended early, for a reason that its client is told: how its stream ends, and what is left of a whole body.

Decides over bytes and decoded JSON. Chat and completions tell the reason as the `finish_reason` of each choice that has not ended,
responses in `incomplete_details`. Messages know one reason of this kind, `refusal`.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from deployments.policy.request.answer_texts import decoded, events_of, items

_REFUSAL = "refusal"
_DONE = b"data: [DONE]\n\n"


def choices_of(body: Mapping[str, Any]) -> int:
    """Returns how many choices a request of chat or completions asks for: `n` for each prompt."""
    wanted, prompt = body.get("n"), body.get("prompt")
    prompts = len(prompt) if isinstance(prompt, list) and not all(isinstance(token, int) for token in prompt) else 1
    return (wanted if isinstance(wanted, int) and wanted > 0 else 1) * prompts


class Outline:
    """The facts about a stream by which it can be ended early."""

    def __init__(self, choices: int) -> None:
        """Args:
        choices: how many the request asks for.
        """
        self._open = set(range(choices))
        self._first: dict[str, Any] = {}
        self._block: int | None = None
        self._number = -1

    def said(self, events: bytes) -> None:
        """Takes events that an engine has said, shown or not: the first one tells the answer's id."""
        if not self._first:
            self._first = next(events_of(events), {})

    def shown(self, events: bytes) -> None:
        """Takes whole events that the client has."""
        for event in events_of(events):
            self._open -= {choice.get("index") for choice in items(event, "choices") if choice.get("finish_reason") is not None}
            if isinstance(number := event.get("sequence_number"), int):
                self._number = number
            if event.get("type") == "content_block_start":
                self._block = event.get("index")
            elif event.get("type") == "content_block_stop":
                self._block = None

    def ending(self, endpoint: str, reason: str, begun: bool) -> bytes:
        """Returns the events that end the stream behind what was shown.

        Args:
            endpoint: the short name of the path, as in `policy.request.calls.ENDPOINTS`.
            reason: for the client.
            begun: something was shown.
        """
        if endpoint == "messages":
            return self._of_messages(begun)
        if endpoint == "responses":
            return self._of_responses(reason, begun)
        if not self._open:
            return _DONE
        kept = {name: self._first[name] for name in ("id", "object", "created", "model") if name in self._first}
        empty: dict[str, Any] = {"text": ""} if endpoint == "completions" else {"delta": {}}
        choices = [{"index": index, **empty, "logprobs": None, "finish_reason": reason} for index in sorted(self._open)]
        return b"data: " + msgspec.json.encode({**kept, "choices": choices}) + b"\n\n" + _DONE

    def _of_messages(self, begun: bool) -> bytes:
        events: list[dict[str, Any]] = [] if begun else [self._first or {"type": "message_start"}]
        if self._block is not None:
            events.append({"type": "content_block_stop", "index": self._block})
        delta = {"stop_reason": _REFUSAL, "stop_sequence": None}
        events += [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 0}}, {"type": "message_stop"}]
        return b"".join(_named(event) for event in events)

    def _of_responses(self, reason: str, begun: bool) -> bytes:
        events = [] if begun or not self._first else [self._first]
        response = {**(self._first.get("response") or {}), "status": "incomplete", "incomplete_details": {"reason": reason}}
        number = max(self._number, len(events) - 1) + 1
        events.append({"type": "response.incomplete", "sequence_number": number, "response": response})
        return b"".join(_named(event) for event in events)


def _named(event: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(event.get("type")).encode(), msgspec.json.encode(event))


def cut_body(body: bytes, endpoint: str, reason: str, kept: int) -> bytes:
    """Returns a whole answer that says no more than the beginning of each choice's text. Calls and reasoning are left out.

    Args:
        body: the answer; empty where it is no JSON object.
        endpoint: the short name of the path, as in `policy.request.calls.ENDPOINTS`.
        reason: for the client.
        kept: characters of each text that stay.
    """
    answer = decoded(body)
    if not isinstance(answer, dict):
        answer = {}
    if endpoint == "messages":
        told: dict[str, Any] = {"content": _cut_texts(answer, kept), "stop_reason": _REFUSAL}
    elif endpoint == "responses":
        output = [{**item, "content": _cut_texts(item, kept)} for item in items(answer, "output") if item.get("type") == "message"]
        told = {"output": output, "status": "incomplete", "incomplete_details": {"reason": reason}}
    else:
        told = {"choices": [_cut_choice(choice, reason, kept) for choice in items(answer, "choices")]}
    return msgspec.json.encode({**answer, **told})


def _cut_choice(choice: Mapping[str, Any], reason: str, kept: int) -> dict[str, Any]:
    left = {name: choice[name] for name in ("index", "text", "message") if name in choice}
    if "text" in left:
        left["text"] = _cut(left["text"], kept)
    if isinstance(message := left.get("message"), dict):
        left["message"] = {"role": message.get("role"), "content": _cut(message.get("content"), kept)}
    return {**left, "logprobs": None, "finish_reason": reason}


def _cut_texts(holder: Mapping[str, Any], kept: int) -> list[dict[str, Any]]:
    return [{**part, "text": _cut(part.get("text"), kept)} for part in items(holder, "content") if "text" in part]


def _cut(text: object, kept: int) -> str:
    return text[:kept] if isinstance(text, str) else ""

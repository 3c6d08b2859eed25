"""Conformance: the few requests that an engine's own app must answer as the API says before its replica may serve.

Decides which requests, and what is wrong with an answer. They cost a few tokens each, and judge form only: what a model says is not looked
at. What a checkpoint has not (a chat template, room for the prompt) is no fault of the engine's.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
TOKENS = 4
#: A red square of 32 × 32 pixels.
PNG = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAJ0lEQVR42u3NsQkAAAjAsP7/tF7hIASyp6lTCQQCgUAg"
    "EAgEgi/BAjLD/C5w/SM9AAAAAElFTkSuQmCC"
)
#: What vLLM says where it is the checkpoint that lacks something.
NOT_ITS_FAULT = ("chat template", "context length")

Fault = str | None
"""Returns the fault of an answer; None where there is none."""


@dataclass(frozen=True, slots=True)
class Check:
    """One request, and what its answer must be."""

    name: str
    path: str
    body: Mapping[str, Any]
    fault: Callable[[str], Fault]
    status: int = 200


@dataclass(frozen=True, slots=True)
class Abilities:
    """The abilities that an engine was started for."""

    images: bool = False
    tools: bool = False


def checks(model: str, abilities: Abilities) -> Iterator[Check]:
    """The checks of an engine."""
    common = {"model": model, "max_tokens": TOKENS, "temperature": 0}
    said = common | {"messages": [{"role": "user", "content": "Say hello."}]}
    yield Check("a completion", COMPLETIONS, common | {"prompt": "Llamas"}, _completion)
    yield Check("a chat", CHAT, said, _message)
    yield Check("a streamed chat", CHAT, said | {"stream": True}, _streamed)
    yield Check("a grammar", CHAT, said | {"max_tokens": 16, "structured_outputs": {"choice": ["llama"]}}, _chosen)
    if abilities.tools:
        function = {"name": "hello", "parameters": {"type": "object", "properties": {"a": {"enum": ["b"]}}, "required": ["a"]}}
        named = {"type": "function", "function": {"name": "hello"}}
        asked = {"tools": [{"type": "function", "function": function}], "tool_choice": named, "max_tokens": 16}
        yield Check("a tool call", CHAT, said | asked, _called)
    if abilities.images:
        content = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PNG}}]
        yield Check("an image", CHAT, common | {"messages": [{"role": "user", "content": content}]}, _message)
    yield Check("a request that is wrong", COMPLETIONS, common | {"prompt": "Llamas", "max_tokens": -1}, _error, status=400)


def complaint(check: Check, status: int, text: str) -> Fault:
    """Returns the fault of the answer to a check, in a sentence that names it."""
    if status == 400 and check.status == 200 and any(lacks in text for lacks in NOT_ITS_FAULT):
        return None
    if status != check.status:
        return f"{check.name} was answered with {status} instead of {check.status}: {text[:200]}"
    try:
        fault = check.fault(text)
    except (ValueError, LookupError, TypeError) as error:
        fault = f"it cannot be read ({type(error).__name__})"
    return None if fault is None else f"{check.name}: {fault}"


def _choice(text: str) -> Any:  # noqa: ANN401 (JSON)
    return json.loads(text)["choices"][0]


def _completion(text: str) -> Fault:
    _, usage = _choice(text)["text"], json.loads(text)["usage"]
    return None if 1 <= usage["completion_tokens"] <= TOKENS else f"its usage is {usage}"


def _message(text: str) -> Fault:
    role = _choice(text)["message"]["role"]
    return None if role == "assistant" else f"its role is {role!r}"


def _streamed(text: str) -> Fault:
    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    if events[-1:] != ["[DONE]"]:
        return "the stream has no end"
    finished = [choice["finish_reason"] for event in events[:-1] for choice in json.loads(event)["choices"]]
    return None if finished[-1:] not in ([], [None]) else "no reason why it finished"


def _chosen(text: str) -> Fault:
    content = _choice(text)["message"]["content"]
    return None if content == "llama" else f"its grammar allows 'llama' only, and it said {content!r}"


def _called(text: str) -> Fault:
    name = _choice(text)["message"]["tool_calls"][0]["function"]["name"]
    return None if name == "hello" else f"it called {name!r}"


def _error(text: str) -> Fault:
    return None if json.loads(text)["error"]["message"] else "its error says nothing"

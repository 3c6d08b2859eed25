"""`deployments.policy.fleet.conformance`: what an engine's app must answer, and what is no fault of its."""

import json
from typing import Any

import pytest

from deployments.policy.fleet.conformance import Abilities, Check, checks, complaint

ALL = {check.name: check for check in checks("scout", Abilities(images=True, tools=True))}
USAGE = {"prompt_tokens": 2, "completion_tokens": 4}
CHUNK = {"choices": [{"delta": {"content": "a"}, "finish_reason": None}]}
END = {"choices": [{"delta": {}, "finish_reason": "length"}]}


def message(**fields: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": "Hello"} | fields}], "usage": USAGE}


def called(name: str) -> dict[str, Any]:
    return message(content=None, tool_calls=[{"function": {"name": name, "arguments": "{}"}}])


def events(*bodies: Any) -> str:
    return "".join(f"data: {body if isinstance(body, str) else json.dumps(body)}\n\n" for body in bodies)


RIGHT = {
    "a completion": json.dumps({"choices": [{"text": "x"}], "usage": USAGE}),
    "a chat": json.dumps(message()),
    "a streamed chat": events(CHUNK, END, {"choices": [], "usage": USAGE}, "[DONE]"),
    "a grammar": json.dumps(message(content="llama")),
    "a tool call": json.dumps(called("hello")),
    "an image": json.dumps(message()),
    "a request that is wrong": json.dumps({"error": {"message": "max_tokens must be at least 1", "type": "BadRequestError"}}),
}


@pytest.mark.parametrize("name", ALL)
def test_right_answers_are_right(name: str) -> None:
    assert complaint(ALL[name], ALL[name].status, RIGHT[name]) is None


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("a completion", json.dumps({"choices": [{"text": "x"}], "usage": {"completion_tokens": 0}}), "its usage is"),
        ("a completion", "<html>", "it cannot be read (JSONDecodeError)"),
        ("a completion", json.dumps({"choices": []}), "it cannot be read (IndexError)"),
        ("a chat", json.dumps(message(role="user")), "its role is 'user'"),
        ("a streamed chat", events(CHUNK, END), "the stream has no end"),
        ("a streamed chat", "", "the stream has no end"),
        ("a streamed chat", events(CHUNK, "[DONE]"), "no reason why it finished"),
        ("a streamed chat", events("[DONE]"), "no reason why it finished"),
        ("a grammar", json.dumps(message(content="alpaca")), "it said 'alpaca'"),
        ("a tool call", json.dumps(called("bye")), "it called 'bye'"),
        ("a tool call", json.dumps(message(tool_calls=None)), "it cannot be read (TypeError)"),
        ("a request that is wrong", json.dumps({"error": {"message": ""}}), "its error says nothing"),
    ],
)
def test_what_is_wrong_is_told(name: str, text: str, fault: str) -> None:
    told = str(complaint(ALL[name], ALL[name].status, text))
    assert told.startswith(f"{name}: ")
    assert fault in told


def test_another_status_is_told_with_what_came() -> None:
    assert complaint(ALL["a chat"], 500, "boom") == "a chat was answered with 500 instead of 200: boom"
    assert complaint(ALL["a request that is wrong"], 200, "{}") == "a request that is wrong was answered with 200 instead of 400: {}"


@pytest.mark.parametrize("lacks", ["you must provide a chat template", "This model's maximum context length is 16 tokens"])
def test_what_the_checkpoint_lacks_is_no_fault_of_the_engines(lacks: str) -> None:
    assert complaint(ALL["a chat"], 400, lacks) is None
    assert complaint(ALL["a chat"], 500, lacks) is not None
    assert complaint(ALL["a request that is wrong"], 400, lacks) is not None, "this one must be read"


def names(abilities: Abilities) -> set[str]:
    return {check.name for check in checks("llama", abilities)}


def test_nobody_is_asked_for_what_the_model_cannot() -> None:
    assert names(Abilities()) == set(ALL) - {"a tool call", "an image"}
    assert names(Abilities(tools=True)) == set(ALL) - {"an image"}


def test_checks_are_cheap_and_of_this_model() -> None:
    def tokens(check: Check) -> int:
        return int(check.body["max_tokens"])

    assert all(check.body["model"] == "scout" for check in ALL.values())
    assert sum(max(0, tokens(check)) for check in ALL.values()) < 64

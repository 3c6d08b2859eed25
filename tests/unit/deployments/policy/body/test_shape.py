"""`deployments.policy.body.shape`: the first wrong element is named, at once, and what is right passes."""

from typing import Any

import pytest

from configs.requests import Requests
from deployments.policy.body.shape import Items, Messages, Prompts, Tools
from deployments.policy.errors.client_errors import BadRequest

REQUESTS = Requests()
USER = {"role": "user", "content": "Hi"}


def refusal(rule: Any, value: Any, requests: Requests = REQUESTS, at: str = "messages") -> BadRequest:
    with pytest.raises(BadRequest) as refused:
        rule.check(at, value, requests)
    return refused.value


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([USER, []], "messages[1]"),
        ([{"a": 1}], "messages[0]"),
        ([{"role": None, "content": "x"}], "messages[0]"),
        ([{"role": "user", "content": {"type": "text"}}], "messages[0].content"),
        ([{"role": "user", "content": 7}], "messages[0].content"),
        ([USER, {"role": "user", "content": [{"type": "text", "text": "x"}, []]}], "messages[1].content[1]"),
        ([{"role": "assistant", "content": None, "tool_calls": 7}], "messages[0].tool_calls"),
        ([{"role": "assistant", "content": None, "tool_calls": [7]}], "messages[0].tool_calls[0]"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}, "uuid": "x"}]}], "messages[0].content[0].uuid"),
        (
            [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "image", "uuid": "x"}]}]}],
            "messages[0].content[0].content[0].uuid",
        ),
    ],
)
def test_wrong_message_is_named_by_its_path(messages: Any, param: str) -> None:
    assert refusal(Messages(), messages).param == param


@pytest.mark.parametrize("many", [[[]] * 36_000, [{"a": 1}] * 36_000])
def test_many_wrong_messages_make_a_short_answer(many: Any) -> None:
    for rule in (Messages(), Items()):
        assert len(refusal(rule, many).body()) < 500


@pytest.mark.parametrize(
    "messages",
    [
        [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}], "refusal": None}],
        [{"role": "user", "content": ["Hi", {"type": "text", "text": "x", "image_url": None, "uuid": None}]}],
        [{"role": "tool", "content": [{"type": "text", "text": "x"}], "tool_call_id": "1"}, {"role": "assistant"}],
        [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "x"}]}],
        [{"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "x", "input": {"uuid": "theirs"}}]}],
        [],
    ],
)
def test_messages_as_clients_send_them_pass(messages: Any) -> None:
    Messages().check("messages", messages, REQUESTS)


@pytest.mark.parametrize(
    "messages",
    [
        [USER] * 11,
        [{"role": "user", "content": ["x"] * 10}],
        [{"role": "assistant", "tool_calls": [{}] * 10}],
        [{"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text"}] * 5}] * 2}],
    ],
)
def test_messages_and_their_parts_are_counted_together(messages: Any) -> None:
    assert "more than 10 messages, items and parts" in refusal(Messages(), messages, Requests(pieces=10)).message


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([{"a": 1}], "input[0]"),
        ([{"type": "nonsense"}], "input[0]"),
        ([{"type": ["message"], "role": "user"}], "input[0]"),
        ([{"role": 7}], "input[0]"),
        (["text"], "input[0]"),
        ([{"role": "user", "content": [[]]}], "input[0].content[0]"),
        ([{"role": "user", "content": 7}], "input[0].content"),
        ([{"type": "function_call_output", "call_id": "1", "output": [7]}], "input[0].output[0]"),
    ],
)
def test_wrong_item_is_named_by_its_path(items: Any, param: str) -> None:
    assert refusal(Items(), items, at="input").param == param


@pytest.mark.parametrize(
    "items",
    [
        [{"role": "user", "content": "Hi"}, {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "x"}]}],
        [
            {"type": "function_call", "call_id": "1", "name": "x", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "1", "output": "x"},
        ],
        [{"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}], "content": None}],
        [],
    ],
)
def test_items_as_clients_send_them_pass(items: Any) -> None:
    Items().check("input", items, REQUESTS)


@pytest.mark.parametrize(
    ("nested", "tool", "param"),
    [
        (True, {"type": "function"}, "tools[0].function"),
        (True, {"type": "function", "function": {"parameters": {}}}, "tools[0].function"),
        (True, 7, "tools[0].function"),
        (False, 7, "tools[0]"),
        (False, {"type": "namespace", "name": "x", "tools": [{"name": ["y"]}]}, "tools[0].tools"),
    ],
)
def test_wrong_tool_is_named_by_its_path(nested: bool, tool: Any, param: str) -> None:
    assert refusal(Tools(nested), [tool], at="tools").param == param


def test_tools_as_clients_send_them_pass() -> None:
    function = {"name": "x", "description": "y" * 5000, "parameters": {"type": "object", "properties": {"a": {"enum": ["b"]}}}}
    Tools(nested=True).check("tools", [{"type": "function", "function": function}] * 20, REQUESTS)
    Tools().check("tools", [{"type": "web_search"}, {"type": "namespace", "name": "n", "tools": [function, 7]}], REQUESTS)


def test_conversations_may_be_embedded() -> None:
    rule = Prompts("inputs", messages=True)
    for conversation in ([USER], [[USER], [USER, USER]]):
        rule.check("input", conversation, REQUESTS)
    assert refusal(rule, [[USER], ["x"]], at="input").param == "input[1][0]"
    assert refusal(rule, [[USER] * 11], Requests(pieces=10), at="input").param == "input[0]"

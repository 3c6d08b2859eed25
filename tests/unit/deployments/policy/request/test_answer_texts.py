"""What a model wrote, read from answers of the four APIs."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from deployments.policy.request import answer_texts


def stream(*events: object) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events)


def choice(index: object, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": index, **more}]}


CALL = {"function": {"name": "weather", "arguments": '{"city"'}}


@pytest.mark.parametrize(
    ("events", "texts"),
    [
        (
            stream(choice(0, delta={"content": "a"}), choice(1, delta={"content": "b"}), choice(0, delta={"content": "c"})),
            {0: "ac", 1: "b"},
        ),
        (stream(choice(0, delta={"content": None, "reasoning": "hm", "tool_calls": [CALL]})), {0: 'hm{"city"'}),
        (stream(choice(0, delta={"tool_calls": [{"function": None}]}), choice(0, delta={})), {}),
        (stream(choice(0, text="a"), choice("x", text="b")), {0: "ab"}),
        (
            stream({"type": "content_block_delta", "delta": {"text": "a"}}, {"type": "content_block_delta", "delta": {"thinking": "b"}}),
            {0: "ab"},
        ),
        (stream({"type": "content_block_delta", "delta": {"partial_json": "{"}}, {"type": "content_block_delta"}), {0: "{"}),
        (stream({"type": "response.output_text.delta", "delta": "a"}, {"type": "response.created"}, {"type": 1}), {0: "a"}),
        (b"data: [DONE]\n\ndata: {broken\n\nevent: x\n\n", {}),
        (stream({"choices": None}, {"choices": [7]}), {}),
    ],
)
def test_text_of_a_stream_is_told_by_choice(events: bytes, texts: Mapping[int, str]) -> None:
    assert answer_texts.of_events(events) == texts


@pytest.mark.parametrize(
    ("body", "texts"),
    [
        (
            {"choices": [{"index": 0, "message": {"content": "a", "tool_calls": [CALL]}}, {"index": 1, "text": "b"}]},
            {0: 'a{"city"', 1: "b"},
        ),
        ({"content": [{"type": "text", "text": "a"}, {"type": "thinking", "thinking": "b"}]}, {0: "ab"}),
        ({"output": [{"type": "message", "content": [{"text": "a"}]}, {"type": "function_call", "arguments": "{}"}]}, {0: "a{}"}),
        ({"data": [{"embedding": [0.5]}]}, {}),
        ([1], {}),
    ],
)
def test_text_of_a_whole_answer_is_told_by_choice(body: object, texts: Mapping[int, str]) -> None:
    assert answer_texts.of_body(msgspec.json.encode(body)) == texts


def test_body_that_is_no_json_has_no_text() -> None:
    assert answer_texts.of_body(b"\xff") == {}

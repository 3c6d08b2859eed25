"""How an answer that is ended early ends, in each API."""

from typing import Any

import msgspec
import pytest

from deployments.policy.request.answer_texts import events_of
from deployments.policy.request.cut_answers import Outline, choices_of, cut_body

REASON = "content_filter"
META = {"id": "1", "object": "chat.completion.chunk", "created": 2, "model": "m"}


def data(*events: object) -> bytes:
    return b"".join(b"event: x\ndata: " + msgspec.json.encode(event) + b"\n\n" for event in events)


def ends(outline: Outline, endpoint: str, begun: bool = True) -> list[dict[str, Any]]:
    return list(events_of(outline.ending(endpoint, REASON, begun)))


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({}, 1),
        ({"n": 3}, 3),
        ({"n": None, "prompt": "a"}, 1),
        ({"n": 2, "prompt": ["a", "b"]}, 4),
        ({"prompt": [1, 2, 3]}, 1),
        ({"prompt": [[1], [2]]}, 2),
        ({"n": 0}, 1),
    ],
)
def test_choices_are_n_for_each_prompt(body: dict[str, Any], count: int) -> None:
    assert choices_of(body) == count


def test_chat_stream_tells_the_reason_for_each_choice_that_has_not_ended() -> None:
    outline = Outline(3)
    outline.said(b"")
    outline.said(data({**META, "choices": [{"index": 0, "delta": {"role": "assistant"}}]}))
    outline.said(data({"id": "another"}))
    outline.shown(data({"choices": [{"index": 1, "finish_reason": "stop"}, {"index": 0, "finish_reason": None}]}))
    ending = outline.ending("chat", REASON, begun=True)
    assert ending.endswith(b"data: [DONE]\n\n")
    choices: list[dict[str, Any]] = [{"index": index, "delta": {}, "logprobs": None, "finish_reason": REASON} for index in (0, 2)]
    assert list(events_of(ending)) == [{**META, "choices": choices}]


def test_completions_stream_ends_with_an_empty_text() -> None:
    assert ends(Outline(1), "completions") == [{"choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": REASON}]}]


def test_stream_whose_choices_have_all_ended_only_ends() -> None:
    outline = Outline(1)
    outline.shown(data({"choices": [{"index": 0, "finish_reason": "length"}]}))
    assert outline.ending("chat", REASON, begun=True) == b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("shown", "closes"),
    [
        ([{"type": "content_block_start", "index": 1}], ["content_block_stop"]),
        ([{"type": "content_block_start", "index": 1}, {"type": "content_block_stop", "index": 1}], []),
    ],
)
def test_messages_stream_closes_the_block_that_is_open_and_ends_as_a_refusal(shown: list[dict[str, Any]], closes: list[str]) -> None:
    outline = Outline(1)
    outline.shown(data(*shown))
    events = ends(outline, "messages")
    assert [event["type"] for event in events] == [*closes, "message_delta", "message_stop"]
    assert events[-2]["delta"]["stop_reason"] == "refusal"


def test_messages_stream_of_which_nothing_was_shown_has_a_begin() -> None:
    assert [event["type"] for event in ends(Outline(1), "messages", begun=False)] == ["message_start", "message_delta", "message_stop"]
    outline = Outline(1)
    outline.said(data({"type": "message_start", "message": {"id": "1"}}))
    assert ends(outline, "messages", begun=False)[0] == {"type": "message_start", "message": {"id": "1"}}


@pytest.mark.parametrize("begun", [False, True])
def test_responses_stream_is_incomplete(begun: bool) -> None:
    outline = Outline(1)
    created = {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "status": "in_progress"}}
    outline.said(data(created))
    if begun:
        outline.shown(data(created, {"type": "response.output_text.delta", "sequence_number": 4}))
    events = ends(outline, "responses", begun)
    assert [event["type"] for event in events] == ["response.created", "response.incomplete"][begun:]
    assert events[-1]["sequence_number"] == (5 if begun else 1)
    assert events[-1]["response"] == {"id": "r", "status": "incomplete", "incomplete_details": {"reason": REASON}}


def test_responses_stream_of_which_nothing_was_said_is_incomplete() -> None:
    assert ends(Outline(1), "responses", begun=False)[0]["sequence_number"] == 0


def test_whole_chat_keeps_the_beginning_of_each_text() -> None:
    message = {"role": "assistant", "content": "abcdef", "tool_calls": [{"id": "1"}], "reasoning": "secret"}
    body = {
        "id": "1",
        "choices": [{"index": 0, "message": message, "token_ids": [1]}, {"index": 1, "message": {"content": None}}, {"index": 2}],
    }
    cut = msgspec.json.decode(cut_body(msgspec.json.encode(body), "chat", REASON, 3))
    assert cut["id"] == "1"
    assert cut["choices"][0] == {"index": 0, "message": {"role": "assistant", "content": "abc"}, "logprobs": None, "finish_reason": REASON}
    assert cut["choices"][1]["message"]["content"] == ""
    assert cut["choices"][2] == {"index": 2, "logprobs": None, "finish_reason": REASON}


def test_whole_completion_keeps_the_beginning() -> None:
    cut = msgspec.json.decode(cut_body(b'{"choices":[{"index":0,"text":"abcdef"}]}', "completions", REASON, 2))
    assert cut["choices"] == [{"index": 0, "text": "ab", "logprobs": None, "finish_reason": REASON}]


def test_whole_message_is_a_refusal() -> None:
    cut = msgspec.json.decode(cut_body(b'{"content":[{"type":"text","text":"abc"},{"type":"tool_use"}]}', "messages", REASON, 1))
    assert cut == {"content": [{"type": "text", "text": "a"}], "stop_reason": "refusal"}


def test_whole_response_is_incomplete() -> None:
    body = {"output": [{"type": "message", "content": [{"text": "abc"}]}, {"type": "reasoning"}], "status": "completed"}
    cut = msgspec.json.decode(cut_body(msgspec.json.encode(body), "responses", REASON, 1))
    assert cut["output"] == [{"type": "message", "content": [{"text": "a"}]}]
    assert (cut["status"], cut["incomplete_details"]) == ("incomplete", {"reason": REASON})


def test_body_that_is_no_json_is_cut_to_nothing() -> None:
    assert msgspec.json.decode(cut_body(b"oops", "chat", REASON, 9)) == {"choices": []}

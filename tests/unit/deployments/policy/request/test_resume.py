"""Going on with an answer whose engine died: which can be, what the next engine is told, and that the client sees no seam."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.request import resume
from deployments.policy.request.resume import CannotResume, Delivered, Seam
from tests import wire_format
from tests.wire_format import LAST as DONE
from tests.wire_format import Stream, opening, usage

CHAT = {"model": "llama", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


OF = Stream("llama", 7, tells_usage=True)


def event(ids: list[int] | None, text: str = "llama", finish: str | None = None) -> bytes:
    """An event for a client that asked for token ids; for another one where there are none."""
    return wire_format.event(text, finish, ids, OF)


ROLE, USAGE = opening(OF, [1, 2, 3]), usage(3, 2, OF)


@pytest.mark.parametrize(
    ("endpoint", "body", "possible"),
    [
        ("chat", CHAT, True),
        ("chat", CHAT | {"n": 1, "logprobs": False, "include_reasoning": True}, True),
        ("completions", {"prompt": "Hi", "stream": True}, True),
        ("completions", {"prompt": [1, 2, 3], "stream": True}, True),
        ("completions", {"prompt": ["Hi"], "stream": True}, False),
        ("completions", {"prompt": [[1, 2]], "stream": True}, False),
        ("completions", {"prompt": [], "stream": True}, False),
        ("completions", {"prompt": "Hi", "stream": True, "echo": True}, False),
        ("completions", {"prompt": "Hi", "stream": True, "logprobs": 1}, False),
        ("chat", CHAT | {"stream": False}, False),
        ("chat", CHAT | {"n": 2}, False),
        ("chat", CHAT | {"logprobs": True}, False),
        ("chat", CHAT | {"prompt_logprobs": 1}, False),
        ("chat", CHAT | {"use_beam_search": True}, False),
        ("chat", CHAT | {"include_reasoning": False}, False),
        ("chat", CHAT | {"include_reasoning": 0}, False),
        ("completions", {"prompt": "Hi", "stream": True, "logprobs": 0}, False),
        ("completions", {"prompt": "Hi", "stream": True, "prompt_logprobs": 0}, False),
        ("completions", {"prompt": "Hi", "stream": True, "logprobs": None, "prompt_logprobs": None}, True),
        ("responses", CHAT, False),
        ("messages", CHAT, False),
    ],
)
def test_what_can_be_continued(endpoint: str, body: dict[str, Any], possible: bool) -> None:
    assert resume.can_resume(endpoint, body) is possible


@pytest.mark.parametrize("raw", [json.dumps(CHAT), json.dumps(CHAT, indent=2) + "\n", json.dumps(CHAT | {"return_token_ids": False})])
def test_asking_for_token_ids_changes_nothing_else(raw: str) -> None:
    assert json.loads(resume.with_ids(raw.encode())) == {**json.loads(raw), "return_token_ids": True}


def test_client_sees_what_it_would_have_seen_without_token_ids() -> None:
    asked = ROLE + event([5, 6]) + event([7], finish="stop") + USAGE + DONE
    assert resume.shown(asked) == opening(OF) + event(None) + event(None, finish="stop") + USAGE + DONE


def test_events_of_tokens_that_show_nothing_are_left_out() -> None:
    empty = event([5]).replace(b'{"content":"llama"}', b"{}")
    last = event([6], finish="stop").replace(b'{"content":"llama"}', b"{}")
    assert resume.shown(empty) == b""
    assert resume.shown(event([4]) + empty + last) == event(None) + last.replace(b"[6]", b"null")


@given(st.text())
def test_text_of_a_model_is_never_taken_for_token_ids(text: str) -> None:
    said = text + ',"token_ids":[1,2],"delta":{},"finish_reason":null'
    assert json.loads(resume.shown(event([5], said))[6:])["choices"][0]["delta"]["content"] == said


def test_delivered_tokens_in_the_groups_that_they_came_in() -> None:
    assert resume.delivered(ROLE + event([5, 6]) + event([]) + event([7])) == Delivered((5, 6, 7), (2, 0, 1))


def test_an_answer_that_had_ended_but_for_its_last_events() -> None:
    said = ROLE + event([5]) + event([6], finish="length")
    assert resume.delivered(said) == Delivered((5, 6), (1, 1), "length")


@pytest.mark.parametrize(("reason", "told"), [(b"null", ("stop", None)), (b"200007", ("stop", 200007)), (b'"text"', (None, None))])
def test_what_stopped_an_answer(reason: bytes, told: tuple[str | None, int | None]) -> None:
    last = event([6], finish="stop").replace(b'"stop_reason":null', b'"stop_reason":' + reason)
    so_far = resume.delivered(ROLE + event([5]) + last)
    assert (so_far.finish, so_far.stop) == told


@pytest.mark.parametrize("said", [event(None, finish="stop"), b"data: {not json\n\n", b'data: {"choices":[{"token_ids":["x"]}]}\n\n'])
def test_events_that_do_not_tell_their_tokens(said: bytes) -> None:
    with pytest.raises(CannotResume):
        resume.delivered(ROLE + said)


def test_next_engine_is_told_the_request_and_what_was_delivered() -> None:
    body = CHAT | {"model": "alias", "vllm_xargs": {"own": 1}, "temperature": 0}
    told = json.loads(resume.continuing(body, "llama", Delivered((5, 6), (2,), "stop", 9)))
    assert told == body | {
        "model": "llama",
        "return_token_ids": True,
        "vllm_xargs": {"own": 1, "herd_tokens": [5, 6], "herd_groups": [2], "herd_finish": "stop", "herd_stop": 9},
    }
    assert "herd_finish" not in json.loads(resume.continuing(CHAT, "llama", Delivered((5,), (1,))))["vllm_xargs"]


@given(st.integers(0, 6), st.lists(st.integers(1, 3), max_size=6), st.integers(0, 99))
def test_no_seam_wherever_it_is_and_however_the_events_arrive(seam: int, sizes: list[int], created: int) -> None:
    whole = [ROLE, *(event([number], str(number)) for number in range(4)), USAGE, DONE]
    again = [one.replace(b'"created":7', b'"created":%d' % created) for one in whole]
    joint = Seam(b"".join(whole[:seam]))
    seen, left = whole[:seam], again
    for size in [*sizes, *([1] * len(again))]:
        seen.append(joint.after(b"".join(left[:size])))
        left = left[size:]
    assert b"".join(seen) == b"".join(whole if seam else again)


def test_ids_of_tool_calls_are_those_that_the_client_has_seen() -> None:
    def call(name: str, number: int) -> bytes:
        return event([number]).replace(b'{"content":"llama"}', b'{"tool_calls":[{"id":"chatcmpl-tool-%b"}]}' % name.encode())

    joint = Seam(ROLE + call("0a", 5))
    assert joint.after(ROLE + call("0b", 5) + call("0b", 6) + call("0c", 7)) == call("0a", 6) + call("0c", 7)


@pytest.mark.parametrize("other", [event([9], "other"), event([5], "llama", finish="stop"), DONE])
def test_an_engine_that_says_something_else_is_not_gone_on_with(other: bytes) -> None:
    with pytest.raises(CannotResume):
        Seam(ROLE + event([5])).after(ROLE + other)


@given(st.text(), st.lists(st.integers(0, 300_000), min_size=1, max_size=3))
def test_one_event_is_shown_as_many_are(text: str, ids: list[int]) -> None:
    for one in (event(ids, text), event(None, text), event(ids, text, finish="stop"), DONE):
        assert resume.one_shown(one) == resume.shown(one)

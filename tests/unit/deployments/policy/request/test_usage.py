"""`deployments.policy.request.usage`: what an engine states is found, and nothing else breaks anything."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.request.usage import Usage, _looked_for, of_body, of_stream
from tests.unit.samples import JSON

CHAT = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
RESPONSES = {"input_tokens": 7, "output_tokens": 3}


def events(*said: object) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in said)


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        ({"choices": [], "usage": CHAT}, Usage(7, 3)),
        ({"output": [], "usage": RESPONSES}, Usage(7, 3)),
        ({"data": [], "usage": {"prompt_tokens": 7}}, Usage(7, 0)),
        ({"response": {"usage": RESPONSES}}, Usage(7, 3)),
        ({"usage": {"prompt_tokens": "7", "completion_tokens": None}}, Usage(0, 0)),
        ({"usage": {"prompt_tokens": -1, "completion_tokens": 3}}, Usage(0, 3)),
        ({"usage": {**CHAT, "prompt_tokens_details": {"cached_tokens": 5}}}, Usage(7, 3, 5)),
        ({"usage": {**CHAT, "prompt_tokens_details": None}}, Usage(7, 3)),
        ({"usage": {**CHAT, "input_tokens_details": {"cached_tokens": 5}}}, Usage(7, 3, 5)),
        ({"usage": {**CHAT, "cache_read_input_tokens": 5}}, Usage(7, 3, 5)),
        ({"usage": CHAT, "response": {"usage": RESPONSES}}, Usage(7, 3)),
        ({"usage": {**CHAT, "prompt_tokens_details": {"cached_tokens": "5"}}}, Usage(7, 3)),
        ({"usage": {**CHAT, "prompt_tokens_details": "cached_tokens"}}, Usage(7, 3)),
        ({"usage": {**RESPONSES, "input_tokens_details": {"cached_tokens": 5}}}, Usage(7, 3, 5)),
        ({"usage": {**RESPONSES, "cache_read_input_tokens": 5}}, Usage(7, 3, 5)),
        ({"usage": {"seconds": 7}}, None),
        ({"usage": None, "max_tokens": 3}, None),
        ({"usage": "max_tokens"}, None),
        ({"response": "max_tokens"}, None),
        ({"choices": []}, None),
        (["prompt_tokens"], None),
    ],
)
def test_usage_of_a_whole_answer(body: object, usage: Usage | None) -> None:
    assert of_body(json.dumps(body).encode()) == usage


@pytest.mark.parametrize(
    ("tail", "usage"),
    [
        (events({"choices": [{}]}, {"choices": [], "usage": CHAT}) + b"data: [DONE]\n\n", Usage(7, 3)),
        (b"event: response.completed\n" + events({"type": "response.completed", "response": {"usage": RESPONSES}}), Usage(7, 3)),
        (b"event: message_delta\n" + events({"usage": RESPONSES}, {"type": "message_stop"}), Usage(7, 3)),
        (events({"usage": {"prompt_tokens": 7, "completion_tokens": 1}}, {"usage": CHAT}), Usage(7, 3)),
        (events({"usage": CHAT}).replace(b"\n", b"\r\n"), Usage(7, 3)),
        (b'{"cut": "off"}\n\n' + events({"usage": CHAT}), Usage(7, 3)),
        (events({"usage": CHAT})[:-9], None),
        (events({"choices": [{"delta": {"content": "prompt_tokens"}}], "usage": None}), None),
        (b"data: [DONE]\n\n", None),
        (b"", None),
    ],
)
def test_usage_of_a_stream_is_the_last_that_it_states(tail: bytes, usage: Usage | None) -> None:
    assert of_stream(tail) == usage


COUNT = st.none() | st.integers() | st.text() | st.floats()
BODIES = st.fixed_dictionaries(
    {}, optional={"usage": st.dictionaries(st.sampled_from(sorted(CHAT | RESPONSES)), COUNT) | JSON, "response": JSON}
)


@given(BODIES)
def test_tokens_are_never_fewer_than_none(body: dict[str, Any]) -> None:
    for usage in (of_body(json.dumps(body).encode()), of_stream(events(body))):
        assert usage is None or min(usage.prompt_tokens, usage.completion_tokens) >= 0


@given(BODIES)
def test_usage_of_the_ordinary_form_is_found_as_every_other_one(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    assert of_body(raw) == _looked_for(raw)


@given(st.binary())
def test_arbitrary_bytes_state_nothing(noise: bytes) -> None:
    assert of_body(b"_tokens" + noise) is None
    assert of_stream(b"_tokens\ndata: {" + noise) is None


def test_depth_is_no_defect() -> None:
    assert of_body(b'{"_tokens":' * 100_000) is None

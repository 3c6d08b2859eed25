"""`deployments.policy.errors.engine_errors`: vLLM's refusals, said as ours, and whose fault each is."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.errors.client_errors import (
    BadRequest,
    ContextExceeded,
    EngineFailed,
    MaxTokensTooLarge,
    NotFound,
    NotServed,
    Unavailable,
)
from deployments.policy.errors.engine_errors import (
    CORE_ERROR,
    MOST_BYTES,
    UNFINISHED,
    Question,
    Said,
    error_at,
    grammar_fields,
    has_finish,
    is_last,
    is_whole,
    said,
    said_in,
    translate,
)
from deployments.policy.errors.herd_error import HerdError
from tests.unit.samples import JSON

UNKNOWN = "The engine could not serve this request."


def vllm(message: object, param: object = None, kind: str = "BadRequestError") -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": 400}}


def encoded(body: object) -> bytes:
    return b"no JSON" if body is None else json.dumps(body).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "message", "param", "code"),
    [
        (400, vllm("top_p must be in (0, 1]", "top_p"), BadRequest, "top_p must be in (0, 1]", "top_p", None),
        (400, vllm("m", 7), BadRequest, "m", None, None),
        (400, vllm(None), BadRequest, UNKNOWN, None, None),
        (400, None, BadRequest, UNKNOWN, None, None),
        (400, ["?"], BadRequest, UNKNOWN, None, None),
        (400, {"object": "error", "message": "old shape"}, BadRequest, "old shape", None, None),
        (404, {"detail": "Not Found"}, NotServed, "The model does not serve this endpoint.", None, "unsupported_endpoint"),
        (404, vllm("Not Found", kind="Not Found"), NotServed, "The model does not serve this endpoint.", None, "unsupported_endpoint"),
        (405, {"detail": "Method Not Allowed"}, NotServed, "The model does not serve this endpoint.", None, "unsupported_endpoint"),
        (
            404,
            vllm("Response with id 'resp_1' not found.", "response_id", "invalid_request_error"),
            NotFound,
            "Response with id 'resp_1' not found.",
            "response_id",
            "not_found",
        ),
        (
            501,
            vllm("The model does not support Chat Completions API", kind="NotImplementedError"),
            NotServed,
            "The model does not serve this endpoint.",
            None,
            "unsupported_endpoint",
        ),
        (501, vllm("Only base64 data URLs.", kind="NotImplementedError"), BadRequest, "Only base64 data URLs.", None, None),
        (401, {"error": "Unauthorized"}, EngineFailed, "The engine refused its gateway.", None, "engine_refused"),
        (413, None, BadRequest, UNKNOWN, None, None),
        (429, vllm("Too many."), Unavailable, "Too many.", None, "engine_busy"),
        (
            422,
            {"detail": [{"loc": ["body", "n"], "msg": "not a number"}, {"loc": 3, "msg": "odd"}, "?"]},
            BadRequest,
            "body.n: not a number; body: odd",
            None,
            None,
        ),
        (400, vllm("set --tool-call-parser"), BadRequest, None, "tools", None),
        (503, vllm("The engine is currently busy."), Unavailable, "The engine is currently busy.", None, "engine_busy"),
    ],
)
def test_translation(status: int, body: object, kind: type[HerdError], message: str | None, param: str | None, code: str | None) -> None:
    error = translate(said(status, encoded(body)))
    assert type(error) is kind
    assert (error.param, error.reason) == (param, code)
    assert message in (None, error.message)


TOO_LONG = "The decoder prompt (length 70) is longer than the maximum model length of 64."
TOO_MUCH = "max_tokens=1000000 cannot be greater than max_model_len=max_total_tokens=2048. Please request fewer output tokens."


@pytest.mark.parametrize(
    ("message", "param", "body", "kind", "told"),
    [
        (TOO_LONG, None, {"messages": []}, ContextExceeded, "messages"),
        (TOO_LONG, "input_tokens", {"prompt": ""}, ContextExceeded, "prompt"),
        (TOO_LONG, "input", {"input": ""}, ContextExceeded, "input"),
        (TOO_LONG, None, {}, ContextExceeded, "messages"),
        (TOO_MUCH, "max_output_tokens", {"max_tokens": 1_000_000}, MaxTokensTooLarge, "max_tokens"),
        (TOO_MUCH, None, {"max_completion_tokens": 1_000_000}, MaxTokensTooLarge, "max_completion_tokens"),
        (TOO_MUCH, None, {"max_output_tokens": 1_000_000}, MaxTokensTooLarge, "max_output_tokens"),
        (TOO_MUCH, None, {}, MaxTokensTooLarge, "max_tokens"),
    ],
)
def test_long_prompt_and_long_answer_have_codes_of_their_own(
    message: str, param: str | None, body: dict[str, Any], kind: type[HerdError], told: str
) -> None:
    error = translate(Said(400, message, "BadRequestError", param), Question(body, size=50))
    assert (type(error), error.param) == (kind, told)


def test_what_broke_inside_an_engine_stays_inside() -> None:
    error = translate(said(500, encoded(vllm("CUDA error at 0x7f3a: /usr/lib/python3/site-packages/vllm"))))
    assert type(error) is EngineFailed
    assert error.message == "The engine failed while serving this request; trying again may help."
    assert error.retry_after_s == 1


@given(st.integers(400, 599), JSON | st.fixed_dictionaries({}, optional={"error": JSON, "message": JSON, "detail": JSON}))
def test_fault_stays_on_its_side_and_the_shape_is_openais(status: int, body: object) -> None:
    error = translate(said(status, encoded(body)))
    clients_fault = status not in (401, 403, 429) and (status < 500 or status == 501)
    assert (error.status < 500) == clients_fault
    assert error.retryable != clients_fault
    assert error.fields().keys() == {"message", "type", "param", "code"}
    assert error.message
    error.body()


def test_error_longer_than_the_bound_is_told_without_its_words() -> None:
    answer = encoded(vllm("x" * MOST_BYTES))
    assert said(400, answer) == said(400, answer[:MOST_BYTES]) == Said(400)


@pytest.mark.parametrize(
    ("error", "dead"),
    [
        (Said(500, "EngineCore encountered an issue. See stack trace (above) for the root cause.", "InternalServerError"), True),
        (Said(500, "anything", "EngineDeadError"), True),
        (Said(500, CORE_ERROR, "InternalServerError"), False),
        (Said(400, "EngineCore is not a role"), False),
        (UNFINISHED, False),
    ],
)
def test_death_is_told_from_other_errors(error: Said, dead: bool) -> None:
    assert error.of_death is dead


GRAMMARS = [
    ({"structured_outputs": {"choice": ["a"]}}, ["structured_outputs"]),
    ({"response_format": {"type": "json_schema"}}, ["response_format"]),
    ({"response_format": {"type": "text"}, "tools": []}, []),
    ({"response_format": "json"}, []),
    ({"text": {"format": {"type": "json_schema"}}}, ["text"]),
    ({"text": "x"}, []),
    ({"output_config": {"format": {"schema": {"type": "object"}}}}, ["output_config"]),
    ({"output_config": {"effort": "low"}}, []),
    ({"tools": [1], "tool_choice": "required"}, ["tools"]),
    ({"tools": [1], "tool_choice": "none"}, []),
    ({"allowed_token_ids": [1], "structured_outputs": {"regex": "a"}}, ["structured_outputs", "allowed_token_ids"]),
    ({}, []),
]


@pytest.mark.parametrize(("body", "fields"), GRAMMARS)
def test_core_error_of_a_request_with_a_grammar_is_the_requests(body: dict[str, Any], fields: list[str]) -> None:
    assert grammar_fields(body) == fields
    error = translate(UNFINISHED, Question(body))
    assert type(error) is (BadRequest if fields else EngineFailed)
    assert type(translate(UNFINISHED, Question(body, handed_over=True))) is EngineFailed, "the cache may not have come over"
    assert type(translate(Said(500, "out of memory"), Question(body))) is EngineFailed
    assert not fields or (error.param, error.reason) == (fields[0], "grammar_failed")


@pytest.mark.parametrize(
    ("events", "at"),
    [
        (b'data: {"choices":[]}\n\ndata: [DONE]\n\n', -1),
        (b'data: {"error":{"message":"m"}}\n\ndata: [DONE]\n\n', 0),
        (b'data: {"choices":[]}\n\ndata: {"error": {"message":"m"}}\n\n', 22),
        (b'event: error\ndata: {"type":"error"}\n\n', 0),
        (b'\n\nevent: response.failed\ndata: {"type":"response.failed"}\n\n', 2),
        (b'event: errors_of_mine\ndata: {"type":"x"}\n\n', -1),
        (b'data: {"choices":[{"delta":{"content":"event: error"}}]}\n\ndata: [DONE]\n\n', -1),
        (b'data: {"choices":[{"delta":{"content":"\\ndata: {\\"error\\": 1}"}}]}\n\n', -1),
        (b"", -1),
    ],
)
def test_place_of_an_error_event(events: bytes, at: int) -> None:
    assert error_at(events) == at


UNREAD = (
    "2 validation errors for ChatCompletionStreamResponse\nmodel\n"
    "  Field required [type=missing, input_value={'error': {'message': '%s...am': None, 'code': 500}}, input_type=dict]"
)


@pytest.mark.parametrize(
    ("event", "error"),
    [
        (b'data: {"error": {"message": "m", "type": "T", "param": "p", "code": 404}}\n\n', Said(404, "m", "T", "p")),
        (b'data: {"error": {"message": "m", "code": 500}}\n\ndata: [DONE]\n\n', Said(500, "m")),
        (b'data: {"error": {"message": "m", "code": "invalid"}}\n\n', Said(500, "m")),
        (b'data: {"error": {"message": "m", "code": 200}}\n\n', Said(500, "m")),
        (b'event: error\ndata: {"type":"error","error":{"type":"internal_error","message":"m"}}\n\n', Said(500, "m", "internal_error")),
        (b'event: response.failed\ndata: {"response":{"error":{"code":"server_error","message":"m"}}}\n\n', Said(500, "m")),
        (b'event: error\ndata: {"error":{"message":' + json.dumps(UNREAD % "In").encode() + b"}}\n\n", UNFINISHED),
        (b'event: error\ndata: {"error":{"message":' + json.dumps(UNREAD % "En").encode() + b"}}\n\n", Said(500, "EngineCore")),
        (b"event: error\n\n", Said(500)),
        (b'data: {"error": "' + b"x" * (1 << 20), Said(500)),
    ],
)
def test_error_that_an_event_tells(event: bytes, error: Said) -> None:
    assert said_in(event) == error


@pytest.mark.parametrize(
    ("tail", "has", "last", "whole"),
    [
        (b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n', True, True, True),
        (b'data: {"choices":[{"finish_reason": "length"}]}\n\n', True, False, False),
        (b'data: {"choices":[{"finish_reason":null}]}\n\ndata: [DONE]\n\n', False, True, True),
        (b'data: {"choices":[{"delta":{"content":"\\"finish_reason\\":\\"stop\\""}}]}\n\n', False, False, False),
        (
            b'event: message_delta\ndata: {"delta":{"stop_reason":"end_turn"}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
            True,
            True,
            True,
        ),
        (b'event: message_stop\ndata: {"type":"message_stop"}\n\n', False, True, True),
        (b"event: response.completed\ndata: {}\n\n", True, False, False),
        (b'..."sequence_number":9,"type":"response.incomplete"}\n\n', True, False, True),
        (b'data: {"delta":"\\"type\\":\\"response.completed\\"}\n\n', True, False, False),
        (b"event: response.created\ndata: {}\n\n", False, False, False),
        (b"", False, False, False),
    ],
)
def test_end_of_a_stream(tail: bytes, has: bool, last: bool, whole: bool) -> None:
    assert (has_finish(tail), is_last(tail), is_whole(tail)) == (has, last, whole)

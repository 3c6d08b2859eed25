"""`deployments.policy.engine_errors`: vLLM's refusals, said as ours."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.engine_errors import ends_in_error, tells_of_failure, translate
from deployments.policy.errors import BadRequest, ContextExceeded, EngineFailed, HerdError, NotServed, Unavailable
from tests.unit.samples import JSON

UNKNOWN = "The engine could not serve this request."


def vllm(message: object, param: object = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "BadRequestError", "param": param, "code": 400}}


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
        (405, {"detail": "Method Not Allowed"}, NotServed, "The model does not serve this endpoint.", None, "unsupported_endpoint"),
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
        (
            400,
            vllm("This model's maximum context length is 4096 tokens."),
            ContextExceeded,
            "This model's maximum context length is 4096 tokens.",
            "messages",
            "context_length_exceeded",
        ),
        (
            400,
            vllm("The prompt is longer than the maximum model length of 64.", "prompt"),
            ContextExceeded,
            "The prompt is longer than the maximum model length of 64.",
            "prompt",
            "context_length_exceeded",
        ),
        (503, vllm("The engine is currently busy."), Unavailable, "The engine is currently busy.", None, "engine_busy"),
    ],
)
def test_translation(status: int, body: object, kind: type[HerdError], message: str, param: str | None, code: str | None) -> None:
    error = translate(status, body)
    assert type(error) is kind
    assert (error.message, error.param, error.reason) == (message, param, code)


def test_what_broke_inside_an_engine_stays_inside() -> None:
    error = translate(500, vllm("CUDA error at 0x7f3a: /usr/lib/python3/site-packages/vllm"))
    assert type(error) is EngineFailed
    assert error.message == "The engine failed while serving this request; trying again may help."
    assert error.retry_after_s == 1


@given(st.integers(400, 599), JSON | st.fixed_dictionaries({}, optional={"error": JSON, "message": JSON, "detail": JSON}))
def test_fault_stays_on_its_side_and_the_shape_is_openais(status: int, body: object) -> None:
    error = translate(status, body)
    clients_fault = status < 500 and status not in (401, 403, 429)
    assert (error.status < 500) == clients_fault
    assert error.retryable != clients_fault
    assert error.fields().keys() == {"message", "type", "param", "code"}
    assert error.message
    error.body()


@pytest.mark.parametrize(
    ("tail", "ends"),
    [
        (b'data: {"choices":[]}\n\ndata: [DONE]\n\n', False),
        (b'data: {"error":{"message":"m"}}\n\ndata: [DONE]\n\n', True),
        (b'data: {"choices":[]}\n\ndata: {"error": {"message":"m"}}\n\n', True),
        (b'event: error\ndata: {"type":"error"}\n\n', True),
        (b'\n\nevent: response.failed\ndata: {"type":"response.failed"}\n\n', True),
        (b'data: {"choices":[{"delta":{"content":"event: error"}}]}\n\ndata: [DONE]\n\n', False),
        (b'data: {"choices":[{"delta":{"content":"\\ndata: {\\"error\\": 1}"}}]}\n\n', False),
        (b"", False),
    ],
)
def test_stream_that_ended_in_an_error(tail: bytes, ends: bool) -> None:
    assert ends_in_error(tail) == ends


@pytest.mark.parametrize(
    ("events", "failed"),
    [
        (b'data: {"error": {"message": "EngineCore died", "type": "InternalServerError", "param": null, "code": 500}}\n\n', True),
        (b'data: {"id":"1"}\n\ndata: {"error":{"message":"x","code":503}}\n\ndata: [DONE]\n\n', True),
        (b'data: {"error": {"message": "bad", "type": "BadRequestError", "param": null, "code": 400}}\n\n', False),
        (b'data: {"choices":[{"delta":{"content":"data: {\\"error\\": {\\"code\\": 500}}"}}]}\n\n', False),
        (b"data: [DONE]\n\n", False),
    ],
)
def test_an_engine_s_own_failure_inside_a_stream(events: bytes, failed: bool) -> None:
    assert tells_of_failure(events) is failed

"""`deployments.policy.errors.client_errors`: every error in OpenAI's shape, with the status and the code that its class promises."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.errors.client_errors import (
    AnswerTooLarge,
    BadImage,
    BadRequest,
    BodyTooLarge,
    ContextExceeded,
    EngineFailed,
    EngineLost,
    EnginesLost,
    Forbidden,
    KillsEngines,
    MaxTokensTooLarge,
    ModelStopped,
    NotFound,
    NotServed,
    Overloaded,
    Starting,
    Timeout,
    TooManyConnections,
    TooManyImages,
    Unauthorized,
    Unavailable,
    UnknownModel,
    UnknownPath,
    WrongMedia,
)
from deployments.policy.errors.herd_error import HerdError
from deployments.policy.request.pages import NoKey, NoPassword
from deployments.wire.client.unreadable import Unreadable

EXAMPLES = [
    (HerdError("m"), 500, "server_error", "internal_error", False),
    (BadRequest("m"), 400, "invalid_request_error", None, False),
    (BadRequest("m", code="invalid_json"), 400, "invalid_request_error", "invalid_json", False),
    (ContextExceeded("m"), 400, "invalid_request_error", "context_length_exceeded", False),
    (MaxTokensTooLarge("m"), 400, "invalid_request_error", "max_tokens_too_large", False),
    (AnswerTooLarge(128), 400, "invalid_request_error", "answer_too_large", False),
    (KillsEngines("m"), 400, "invalid_request_error", "request_kills_engines", False),
    (NotFound("m"), 404, "invalid_request_error", "not_found", False),
    (TooManyImages("scout", 6, 5), 400, "invalid_request_error", "too_many_images", False),
    (BadImage("m", "messages[0].content[0].image_url"), 400, "invalid_request_error", "invalid_image", False),
    (Unauthorized("m"), 401, "invalid_request_error", "unauthorized", False),
    (NoKey(), 401, "invalid_request_error", "unauthorized", False),
    (NoPassword(), 401, "invalid_request_error", "unauthorized", False),
    (BodyTooLarge(64), 413, "invalid_request_error", "request_too_large", False),
    (WrongMedia("m"), 415, "invalid_request_error", "unsupported_media_type", False),
    (Forbidden("m"), 403, "invalid_request_error", "forbidden", False),
    (Unreadable("m"), 400, "invalid_request_error", "invalid_http", False),
    (Unreadable("m", 501), 501, "invalid_request_error", "unsupported_transfer_encoding", False),
    (TooManyConnections("m."), 429, "rate_limit_error", "too_many_connections", True),
    (UnknownPath("GET", "/x"), 404, "invalid_request_error", "unknown_url", False),
    (UnknownPath("GET", "/x", ("POST",)), 405, "invalid_request_error", "unknown_url", False),
    (NotServed("m"), 404, "invalid_request_error", "unsupported_endpoint", False),
    (UnknownModel("x", ["a"]), 404, "invalid_request_error", "model_not_found", False),
    (Timeout("m"), 504, "timeout_error", "timeout", True),
    (Timeout("m", 408), 408, "timeout_error", "timeout", True),
    (Unavailable("m"), 503, "server_error", "engine_unavailable", True),
    (Unavailable("m", code="engine_gone"), 503, "server_error", "engine_gone", True),
    (Overloaded("m", 5), 429, "rate_limit_error", "overloaded", True),
    (EngineLost("m", 5), 503, "server_error", "engine_gone", True),
    (ModelStopped("m"), 503, "server_error", "model_stopped", False),
    (Starting("m", 5), 503, "server_error", "engine_starting", True),
    (EnginesLost(5), 503, "server_error", "engine_gone", True),
    (EngineFailed("m"), 502, "server_error", "engine_failed", True),
]


@pytest.mark.parametrize(("error", "status", "kind", "code", "retryable"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_status_type_and_code(error: HerdError, status: int, kind: str, code: str | None, retryable: bool) -> None:
    assert (error.status, error.fields()["type"], error.fields()["code"], error.retryable) == (status, kind, code, retryable)
    assert json.loads(error.body()) == {"type": "error", "error": error.fields()}


def test_no_error_is_without_an_example() -> None:
    def family(kind: type[HerdError]) -> set[type[HerdError]]:
        return {kind}.union(*map(family, kind.__subclasses__()))

    assert {type(error) for error, *_ in EXAMPLES} == family(HerdError)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (TooManyImages("scout", 6, 5), "The request has 6 images, but the model 'scout' takes at most 5 images per prompt."),
        (TooManyImages("scout", 2, 1), "The request has 2 images, but the model 'scout' takes at most 1 image per prompt."),
        (TooManyImages("llama", 1, 0), "The request has 1 image, but the model 'llama' takes no images."),
        (BodyTooLarge(0.5), "The request's body is larger than this server takes (0.5 MiB)."),
        (UnknownPath("GET", "/x"), "Invalid URL (GET /x). See /v1/models for what is served."),
        (UnknownPath("GET", "/v1/chat/completions", ("POST",)), "Invalid URL (GET /v1/chat/completions). It answers to POST."),
        (UnknownModel("x", ["a", "b"]), "The model 'x' does not exist. Known models: a, b."),
    ],
)
def test_sentence(error: HerdError, sentence: str) -> None:
    assert error.message == str(error) == sentence


@given(st.text(), st.none() | st.text())
def test_event_is_one_event_whatever_the_message(message: str, param: str | None) -> None:
    event = BadRequest(message, param=param).event()
    assert event.endswith(b"\n\n")
    assert event.count(b"\n") == 2
    error = json.loads(event.removeprefix(b"data: "))["error"]
    assert error == {"message": message, "type": "invalid_request_error", "param": param, "code": None}


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (BadRequest("m"), "invalid_request_error"),
        (UnknownModel("x", ["a"]), "not_found_error"),
        (BodyTooLarge(1), "request_too_large"),
        (Overloaded("m", 5), "rate_limit_error"),
        (Unavailable("m"), "overloaded_error"),
        (EngineFailed("m"), "api_error"),
        (HerdError("m"), "api_error"),
        (Timeout("m"), "timeout_error"),
        (Timeout("m", 408), "invalid_request_error"),
    ],
)
@pytest.mark.parametrize("endpoint", ["messages", "count_tokens"])
def test_shape_of_anthropics_api(error: HerdError, kind: str, endpoint: str) -> None:
    body = json.loads(error.told_in(endpoint).body())
    assert (body["type"], body["error"]["type"], body["error"]["message"]) == ("error", kind, error.message)
    assert error.event() == b"event: error\ndata: " + error.body() + b"\n\n"


def test_event_of_responses_is_numbered_behind_the_last() -> None:
    def told(after: bytes) -> dict[str, Any]:
        name, data = BadRequest("m", param="input", code="c").told_in("responses", after).event().split(b"\n", 1)
        assert name == b"event: error"
        event: dict[str, Any] = json.loads(data.removeprefix(b"data: "))
        return event

    error = {"message": "m", "type": "invalid_request_error", "param": "input", "code": "c"}
    assert told(b"") == error | {"type": "error", "sequence_number": 0, "error": error}
    assert told(b'{"sequence_number":3}\n\n{"sequence_number": 41,"x":"')["sequence_number"] == 42


def test_shape_is_kept_when_only_the_endpoint_is_said_again() -> None:
    error = BadRequest("m").told_in("responses", b'"sequence_number":7').told_in("responses")
    assert json.loads(error.event().partition(b"data: ")[2])["sequence_number"] == 8


def test_names_that_a_client_made_up_are_told_in_short() -> None:
    error = BadRequest("x" * 1_000_000, param="y" * 1_000_000)
    assert (error.message, str(error), error.param) == ("x" * 8000 + "…", error.message, "y" * 256 + "…")
    exact = BadRequest("x" * 8000, param="y" * 256)
    assert (exact.message, exact.param) == ("x" * 8000, "y" * 256)

"""What vLLM's own app says of requests that are wrong: shortly, and with the status that says whose fault it is."""

import ast
import json
from pathlib import Path
from typing import Any

import pytest

from configs.load import environment
from deployments import small_models
from deployments.policy.errors import engine_words
from deployments.policy.errors.engine_errors import CORE_ERROR, said, said_in
from tests.alone import vllm_frontend

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
#: Bytes of a refusal, and errors that pydantic builds for one: each member of a union tells a few. With an error for each element of a list
#: a request took an engine 46 s, and its answer was 440 MB.
MOST_BYTES, MOST_ERRORS = 4096, 500
IMAGE = "data:image/png;base64," + "A" * 270_000
USER = {"role": "user", "content": "Hi"}


def item(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


HOSTILE: dict[str, tuple[str, dict[str, Any]]] = {
    "items of no kind": (RESPONSES, {"input": [{"a": 1}] * 1000}),
    "many items of no kind": (RESPONSES, {"input": [{"a": 1}] * 10_000}),
    "wrong item at the end": (RESPONSES, {"input": [USER] * 1000 + [{"a": 1}]}),
    "image without detail": (RESPONSES, {"input": [item({"type": "input_image", "image_url": IMAGE})]}),
    "images without detail": (RESPONSES, {"input": [item({"type": "input_image", "image_url": "x"})] * 3000}),
    "parts without detail": (RESPONSES, {"input": [item(*[{"type": "input_image"}] * 3000)]}),
    "tools of no kind": (RESPONSES, {"input": "Hi", "tools": [{"type": "no", "name": "a"}] * 3000}),
    "empty lists as messages": (CHAT, {"messages": [[]] * 36_000}),
    "numbers as contents": (CHAT, {"messages": [{"role": "user", "content": 1}] * 10_000}),
    "tools without function": (CHAT, {"messages": [USER], "tools": [{"type": "function"}] * 5000}),
    "words as numbers": (CHAT, {"messages": [USER], "stop_token_ids": ["x"] * 100_000}),
    "empty blocks": (MESSAGES, {"max_tokens": 1, "messages": [item(*[{}] * 10_000)]}),
    "lists to tokenize": ("/tokenize", {"messages": [[]] * 36_000}),
}


@pytest.fixture(scope="module")
def answers() -> dict[str, dict[str, Any]]:
    requests = [(path, {"model": "m", **body}) for path, body in HOSTILE.values()]
    return dict(zip(HOSTILE, vllm_frontend.ask("refused", requests), strict=True))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_request_is_refused_shortly_and_at_its_first_mistakes(answers: dict[str, dict[str, Any]], name: str) -> None:
    answer = answers[name]
    assert answer["status"] == 400
    assert len(answer["text"]) < MOST_BYTES
    assert answer["errors"] < MOST_ERRORS
    error = json.loads(answer["text"])["error"]
    assert error["param"]
    assert "AAAA" not in error["message"]


def test_refusal_names_what_is_missing(answers: dict[str, dict[str, Any]]) -> None:
    error = said(400, answers["image without detail"]["text"].encode())
    assert (error.param, error.message.split(";")[0]) == ("input.0.content.0.detail", "input.0.content.0.detail: Field required")


#: Status of a whole answer, and what is in its message.
STATUSES = {
    "bomb": (400, "exceeds limit"),
    "not implemented": (400, "Only base64 data URLs"),
    "endpoint": (501, "does not support"),
    "value": (400, "top_p is wrong <PIL.Image>"),
    "huge": (400, ""),
    "validation": (400, "seed is wrong"),
    "not found": (404, "no such adapter"),
    "key": (400, "cannot process this request"),
    "attribute": (400, "cannot process this request"),
    "shape": (400, "cannot process this request"),
    "truncated": (400, "truncated"),
    "disk": (500, ""),
    "memory": (500, ""),
    "cuda": (500, ""),
    "timeout": (500, ""),
    "connection": (500, ""),
    "busy": (503, "busy"),
    "dead": (500, "EngineCore"),
    "core": (500, CORE_ERROR),
    "generate": (500, ""),
    "generate of the request": (400, "no such form"),
}


@pytest.fixture(scope="module")
def raised() -> dict[str, Any]:
    found: dict[str, Any] = vllm_frontend.ask("raised")
    return found


@pytest.mark.parametrize("name", STATUSES)
def test_exception_of_the_frontend_has_the_status_of_whose_fault_it_is(raised: dict[str, Any], name: str) -> None:
    status, words = STATUSES[name]
    answer = raised["whole"][name]
    error = said(answer["status"], answer["text"].encode())
    assert answer["status"] == status
    assert words in error.message
    assert len(answer["text"]) < 2 * MOST_BYTES
    assert error.of_death is (name == "dead")


@pytest.mark.parametrize("name", STATUSES)
def test_exception_inside_a_stream_of_responses_is_an_event(raised: dict[str, Any], name: str) -> None:
    """vLLM breaks the connection there, as an engine does that dies."""
    before, _, event = raised["streamed"][name].partition("event: error\n")
    assert before == "event: response.created\ndata: {}\n\n"
    error = said_in(f"event: error\n{event}".encode())
    assert (error.status, error.of_death) == (STATUSES[name][0], name == "dead")


def test_no_module_answers_past_the_refusals() -> None:
    held = vllm_frontend.ask("importers")
    source = Path("deployments/engine/vllm/refusals.py").read_text(encoding="utf-8")
    lists = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("ANSWERING", "SANITIZING")
    }
    assert set(held["create_error_response"]) <= set(lists["ANSWERING"])
    assert set(held["sanitize_message"]) - {"vllm.entrypoints.serve.exception_handling.handlers.validation"} <= set(lists["SANITIZING"])


def test_sentences_are_vllms() -> None:
    texts = [part for part, _, _ in engine_words._TABLE]
    texts += [
        "EngineCore encountered an issue",
        f'"{CORE_ERROR}"',
        "The model does not support",
        "maximum context length is ",
        "data: [DONE]",
    ]
    texts += [
        "cannot be greater than ",
        "longer than the maximum model length of ",
        "exceeds the max_model_len ",
        "requested output tokens",
    ]
    assert dict(zip(texts, vllm_frontend.ask("sources", texts), strict=True)) == dict.fromkeys(texts, True)


URL = {"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083}
#: Structured outputs, and whether they are accepted.
SCHEMAS: dict[str, tuple[dict[str, Any], bool]] = {
    "choice": ({"choice": ["llama"]}, True),
    "object": ({"json": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}, True),
    "prefix items": ({"json": {"type": "array", "prefixItems": [{"type": "string"}]}}, True),
    "url of pydantic": ({"json": {"type": "object", "properties": {"url": URL, "urls": {"type": "array", "items": URL}}}}, True),
    "format of nobody's": ({"json": {"type": "string", "format": "llama"}}, True),
    "uuid": ({"json": {"type": "string", "format": "uuid"}}, True),
    "items of draft 7": ({"json": {"type": "array", "items": [{"type": "string"}]}}, False),
    "class of letters": ({"json": {"type": "string", "pattern": r"^\p{L}+$"}}, False),
    "least properties": ({"json": {"type": "object", "minProperties": 2}}, False),
    "pattern properties": ({"json": {"type": "object", "patternProperties": {"a": {}}}}, False),
    "unique items": ({"json": {"type": "array", "uniqueItems": True}}, False),
    "multiple": ({"json": {"type": "integer", "multipleOf": 7}}, False),
    "pattern and length": ({"json": {"type": "string", "pattern": "a+", "minLength": 2}}, False),
    "type of nobody's": ({"json": {"type": "llama"}}, False),
    "reference to nothing": ({"json": {"$ref": "#/$defs/x"}}, False),
    "stars": ({"regex": "foo**"}, False),
    "letters": ({"regex": r"\p{L}+"}, False),
    "look ahead": ({"regex": "(?=a)b"}, False),
    "open group": ({"regex": "(a"}, False),
    "no grammar": ({"grammar": "root ::= "}, False),
}


def test_schema_is_refused_before_the_core_sees_it_or_can_be_built_there() -> None:
    folder = small_models.ensure("smollm2-135m-instruct", environment().models)
    found = vllm_frontend.ask("grammars", {name: case for name, (case, _) in SCHEMAS.items()}, str(folder))
    assert {name: text == "accepted" for name, text in found.items()} == {name: accepted for name, (_, accepted) in SCHEMAS.items()}
    assert all(text.startswith("VLLMValidationError: ") for text in found.values() if text != "accepted")

"""A whole answer, and what goes from client to engine and back around it."""

import json
from typing import Any

import pytest

from tests.path.fake_engine import FakeEngine, answers, streams
from tests.path.herd import CHAT, LLAMA, SCOUT, SECRET, Herd, asking
from tests.path.wire import connected, request
from tests.wire_format import event

pytestmark = pytest.mark.asyncio(loop_scope="session")

BODY = {
    "object": "chat.completion",
    "choices": [{"message": {"content": "Llamas …"}}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
}


async def test_answer_is_the_engines_own(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(200, BODY)
    answer = await herd.chat()
    assert answer.status_code == 200
    assert answer.content == json.dumps(BODY).encode()
    assert answer.headers["content-type"] == "application/json"


async def test_answer_of_many_mebibytes(herd: Herd, engine: FakeEngine) -> None:
    data = b'{"data": "' + b"x" * (24 << 20) + b'"}'
    engine.script = answers(200, data)
    assert (await herd.chat()).content == data


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        (CHAT, asking(), "chat"),
        ("/v1/completions", {"model": LLAMA, "prompt": "Hi"}, "completions"),
        ("/v1/responses", {"model": LLAMA, "input": "Hi"}, "responses"),
        ("/v1/messages", {"model": LLAMA, "messages": [], "max_tokens": 1}, "messages"),
        ("/v1/embeddings", {"model": LLAMA, "input": "Hi"}, "embeddings"),
        ("/tokenize", {"model": LLAMA, "prompt": "Hi"}, "tokenize"),
        ("/detokenize", {"model": LLAMA, "tokens": [1]}, "detokenize"),
    ],
)
async def test_body_for_the_model_itself_is_passed_on_as_it_came(
    herd: Herd, engine: FakeEngine, path: str, body: dict[str, Any], name: str
) -> None:
    raw = json.dumps(body, indent=3).encode()
    assert (await herd.http.post(path, content=raw)).status_code == 200
    received = await engine.asked()
    assert (received.method, received.path, received.body) == ("POST", path, raw)
    assert herd.count("herd_endpoint_requests_total", endpoint=name, outcome="ok") == herd.ended("ok") == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_alias_becomes_the_models_own_name_and_nothing_else_changes(herd: Herd, engine: FakeEngine, stream: bool) -> None:
    engine.script = streams([event()]) if stream else answers(200, BODY)
    more: dict[str, Any] = {"temperature": 0.1, "metadata": {"model": "gpt-4o", "deep": [1, None, "ü"]}}
    assert (await herd.chat(model="gpt-4o", stream=stream, **more)).status_code == 200
    own = {"return_token_ids": True} if stream else {}  # so that another engine could go on with it
    assert (await engine.asked()).json == asking(LLAMA, stream, **more, **own)


@pytest.mark.parametrize("stream", [False, True])
async def test_request_id_of_the_client_is_everybodys(herd: Herd, engine: FakeEngine, stream: bool) -> None:
    engine.script = streams([event()]) if stream else answers(200, BODY)
    answer = await herd.chat(headers={"x-request-id": "trace:1.a_b-C"}, stream=stream)
    assert answer.headers["x-request-id"] == "trace:1.a_b-C"
    assert (await engine.asked()).headers["x-request-id"] == "trace:1.a_b-C"


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "a;b", "ü"])
async def test_unfit_request_id_is_replaced_by_a_fresh_one(herd: Herd, engine: FakeEngine, given: str) -> None:
    async with connected(herd.port) as client:
        ids = set()
        for _ in range(2):
            await client.send(request(asking(), headers=(f"x-request-id: {given}",)))
            status, headers, _ = await client.answer()
            assert status == 200
            assert headers["x-request-id"].startswith("req-")
            assert (await engine.asked()).headers["x-request-id"] == headers["x-request-id"]
            ids.add(headers["x-request-id"])
        assert len(ids) == 2


async def test_error_carries_the_request_id(herd: Herd) -> None:
    assert (await herd.chat(headers={"x-request-id": "mine"}, model="none")).headers["x-request-id"] == "mine"


@pytest.mark.parametrize("stream", [False, True])
async def test_each_side_keeps_its_secrets(herd: Herd, engine: FakeEngine, stream: bool) -> None:
    engine.script = streams([event()]) if stream else answers(200, BODY)
    secrets = {"authorization": "Bearer the-clients-key", "cookie": "session=the-clients", "x-api-key": "the-clients"}
    answer = await herd.chat(headers=secrets, stream=stream)
    received = await engine.asked()
    assert received.headers["authorization"] == f"Bearer {SECRET}"
    assert "the-clients" not in str(received.headers)
    assert SECRET not in str(answer.headers) + answer.text
    framing = {"transfer-encoding", "cache-control", "x-accel-buffering"} if stream else {"content-length"}
    assert set(answer.headers) == {"date", "content-type", "x-request-id", *framing}


async def test_model_without_engines_does_not_get_those_of_another(herd: Herd, engine: FakeEngine) -> None:
    assert (await herd.chat(model=SCOUT)).status_code == 503
    assert not engine.requests

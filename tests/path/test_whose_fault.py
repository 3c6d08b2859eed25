"""Errors of engines that are the request's fault: the client is told at once, in its API's shape, and no other replica is asked."""

import json
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI

from deployments.policy.errors import engine_errors
from deployments.policy.routing.types import ReplicaState
from deployments.wire.engine.client import Engines
from deployments.wire.types import Address
from tests.path.begun import WHOLE, answer, breaking
from tests.path.fake_engine import FakeEngine, Script, Wire, answers, fake_engine, streams
from tests.path.herd import LLAMA, SECRET, Herd, until
from tests.path.test_engine_failures import last_event
from tests.wire_format import LAST, error_event, event, vllm_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

CORE_ERROR = error_event(500, "Internal server error")
MISTAKE = error_event(400, "top_k is too large", "top_k", "BadRequestError")
CHOICE: dict[str, Any] = {"structured_outputs": {"choice": ["llama"]}}
ROLE = event("")
SAID = engine_errors.said


async def alone(herd: Herd, engine: FakeEngine, script: Script, other: FakeEngine) -> None:
    """Both replicas answer so."""
    herd.has(engine, other)
    engine.script = other.script = script


@pytest.mark.parametrize("more", [{}, {"n": 2}], ids=["kept", "not kept"])
@pytest.mark.parametrize(
    ("pieces", "asked", "code", "outcome"),
    [
        ([ROLE, CORE_ERROR, LAST], CHOICE, "grammar_failed", "client_error"),
        ([ROLE + CORE_ERROR + LAST], CHOICE, "grammar_failed", "client_error"),
        ([ROLE, CORE_ERROR, LAST], {}, "engine_failed", "engine_failed"),
        ([ROLE, MISTAKE, LAST], {}, None, "client_error"),
        ([ROLE, LAST], {"response_format": {"type": "json_schema", "json_schema": {}}}, "grammar_failed", "client_error"),
        ([ROLE, LAST], {}, "engine_failed", "engine_failed"),
        ([ROLE], {}, "engine_failed", "engine_failed"),
    ],
)
async def test_error_inside_a_stream_ends_it_at_once_and_its_replica_is_trusted(
    herd: Herd, engine: FakeEngine, pieces: list[bytes], asked: dict[str, Any], code: str | None, outcome: str, more: dict[str, Any]
) -> None:
    async with fake_engine() as other:
        await alone(herd, engine, streams(pieces), other)
        got = await herd.chat(stream=True, **asked, **more)
        assert (got.status_code, got.content[: len(ROLE)]) == (200, ROLE)
        assert last_event(got.content)["code"] == code
        assert LAST not in got.content, "what failed is not done"
        assert len(engine.requests) + len(other.requests) == 1
        assert herd.state(engine) is herd.state(other) is ReplicaState.READY
    assert herd.ended(outcome) == 1


async def test_stream_that_is_over_at_once_without_a_reason_is_no_stream(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as other:
        await alone(herd, engine, streams([ROLE + LAST]), other)
        got = await herd.chat(stream=True, **CHOICE)
        assert (got.status_code, got.json()["error"]["code"]) == (400, "grammar_failed")
        assert len(engine.requests) + len(other.requests) == 1


async def test_error_as_the_first_event_of_a_stream_is_a_whole_answer(herd: Herd, engine: FakeEngine) -> None:
    engine.script = streams([MISTAKE, LAST])
    got = await herd.chat(stream=True)
    assert (got.status_code, got.json()["error"]["param"], got.headers["content-type"]) == (400, "top_k", "application/json")


async def test_engine_that_failed_before_its_first_event_is_replaced(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as other:
        herd.has(engine, other)
        scripts = [streams([CORE_ERROR, LAST]), streams(answer())]

        async def script(wire: Wire) -> None:
            await scripts.pop(0)(wire)

        engine.script = other.script = script
        assert (await herd.chat(stream=True)).content == WHOLE


async def test_words_of_a_model_are_no_error(herd: Herd, engine: FakeEngine) -> None:
    pieces = [event('data: {"error": 1}\n\nevent: error\n'), event('"finish_reason":"', "stop"), LAST]
    engine.script = streams(pieces)
    assert (await herd.chat(stream=True)).content == b"".join(pieces)


async def test_whole_answer_whose_grammar_failed_is_the_requests_fault(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as other:
        await alone(herd, engine, answers(500, json.loads(CORE_ERROR[6:])), other)
        got = await herd.chat(**CHOICE)
        assert (got.status_code, got.json()["error"]["code"], got.json()["error"]["param"]) == (400, "grammar_failed", "structured_outputs")
        assert len(engine.requests) + len(other.requests) == 1


@pytest.mark.parametrize("more", [{"kv_transfer_params": None}, {"x": ["kv_transfer_params"]}, {"x": {"kv_transfer_params": 1}}])
async def test_field_of_the_clusters_that_a_client_names_makes_no_fault_the_engines(
    herd: Herd, engine: FakeEngine, more: dict[str, Any]
) -> None:
    """Clients write members that are null. Only a KV cache that the gateway has handed over can be lost by an engine."""
    async with fake_engine() as other:
        await alone(herd, engine, answers(500, json.loads(CORE_ERROR[6:])), other)
        got = await herd.chat(**CHOICE, **more)
        assert (got.status_code, got.json()["error"]["code"]) == (400, "grammar_failed")
        assert len(engine.requests) + len(other.requests) == 1


async def test_what_an_engine_does_not_implement_is_asked_of_no_other(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as other:
        refusal = {"message": "Only base64 data URLs are supported for now.", "type": "NotImplementedError", "code": 501}
        await alone(herd, engine, answers(501, {"error": refusal}), other)
        got = await herd.chat()
        assert (got.status_code, got.json()["error"]["message"]) == (400, refusal["message"])
        assert len(engine.requests) + len(other.requests) == 1


async def test_null_where_none_may_be_is_named(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(400, vllm_error(400, "'NoneType' object is not iterable"))
    error = (await herd.chat(tools=None)).json()["error"]
    assert (error["param"], "NoneType" in error["message"]) == ("tools", False)


@pytest.mark.parametrize("size", [60 << 20, 1 << 30])
async def test_error_of_any_size_is_read_in_part_told_in_short_and_holds_up_nobody(
    herd: Herd, engine: FakeEngine, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM has told errors 255 times as long as their requests. Their beginning is read, and no more."""
    read: list[int] = []

    def said(status: int, body: bytes) -> engine_errors.Said:
        read.append(len(body))
        return SAID(status, body)

    monkeypatch.setattr(engine_errors, "said", said)
    sent = 0

    async def script(wire: Wire) -> None:
        nonlocal sent
        await wire.head(400, content_type="application/json", content_length=str(size))
        await wire.raw(b'{"error":{"message":"1 validation error: ')
        for _ in range(size >> 16):
            await wire.raw(b"max_model_le" * 5461)
            sent += 1

    engine.script = script
    got = await herd.chat()
    assert got.status_code == 400
    assert len(got.content) < 4096
    (length,) = read
    assert length < 2 * engine_errors.MOST_BYTES
    await engine.left()
    assert sent < size >> 17, "the connection is closed long before the end"


async def test_whole_answer_is_read_up_to_a_bound(engine: FakeEngine) -> None:
    engine.script = answers(200, b"x" * 1000)
    engines = Engines(SECRET)
    try:
        for most, length in ((1000, 1000), (999, 1000), (10, 1000)):
            got = await engines.exchange(Address("127.0.0.1", engine.port), b"GET", b"/", (), b"")
            assert len(await got.read(most)) == length
            got.close()
    finally:
        engines.close()


async def test_answer_that_is_too_large_is_the_requests_fault(herd: Herd, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.gateway.delivery.MOST_WHOLE_MIB", 0)
    got = await herd.chat()
    assert (got.status_code, got.json()["error"]["code"]) == (400, "answer_too_large")


async def test_error_of_messages_has_anthropics_shape(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(400, {"type": "error", "error": {"type": "BadRequestError", "message": "too hot"}})
    got = await herd.http.post("/v1/messages", json={"model": LLAMA, "messages": [], "max_tokens": 1})
    assert (got.status_code, got.json()["type"], got.json()["error"]["type"]) == (400, "error", "invalid_request_error")
    got = await herd.http.post("/v1/messages", json={"model": "nobody", "messages": [], "max_tokens": 1})
    assert (got.status_code, got.json()["error"]["type"]) == (404, "not_found_error")
    got = await herd.http.get("/v1/messages")
    assert (got.status_code, got.json()["error"]["type"]) == (405, "invalid_request_error")


STARTED = b'event: message_start\ndata: {"type":"message_start"}\n\n'
STOPPED = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
UNREAD = (
    b'event: error\ndata: {"type":"error","error":{"type":"internal_error","message":"2 validation errors for '
    b'ChatCompletionStreamResponse\\nmodel\\n  Field required\\nchoices\\n  Field required"}}\n\n'
)


@pytest.mark.parametrize("pieces", [[STARTED, UNREAD], [STARTED, STOPPED], [STARTED]])
async def test_error_inside_a_stream_of_messages_is_an_event_of_its_own(herd: Herd, engine: FakeEngine, pieces: list[bytes]) -> None:
    engine.script = streams(pieces)
    body = {"model": LLAMA, "messages": [], "max_tokens": 1, "stream": True}
    got = await herd.http.post("/v1/messages", json=body)
    assert got.content.startswith(STARTED + b"event: error\ndata: ")
    told = json.loads(got.content.rpartition(b"data: ")[2])
    assert (told["type"], told["error"]["type"]) == ("error", "api_error")
    assert "validation" not in told["error"]["message"]
    assert herd.state(engine) is ReplicaState.READY
    assert herd.ended("engine_failed") == 1


async def test_error_inside_a_stream_of_responses_is_raised_by_openais_client(herd: Herd, engine: FakeEngine) -> None:
    created = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1", "output": [], "error": None}}
    failed = {"type": "error", "error": {"message": "Internal server error", "type": "InternalServerError", "code": 500}}
    engine.script = streams([f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in (created, failed)])
    seen: list[str] = []
    async with AsyncOpenAI(base_url=f"{herd.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.responses.create(model=LLAMA, input="Hi", stream=True)
        with pytest.raises(APIError, match="The engine failed"):
            seen.extend([one.type async for one in stream])
    raw = await herd.http.post("/v1/responses", json={"model": LLAMA, "input": "Hi", "stream": True})
    told = json.loads(raw.content.rpartition(b"event: error\ndata: ")[2])
    assert (told["type"], told["sequence_number"], told["code"]) == ("error", 1, "engine_failed")


async def test_stream_that_goes_on_behind_a_seam_may_still_fail(herd: Herd, engine: FakeEngine) -> None:
    """The error comes from the engine that went on, which is trusted."""
    async with fake_engine() as other:
        herd.has(engine, other)
        scripts = [breaking(2), streams([*answer(created=2)[:3], MISTAKE, LAST])]

        async def script(wire: Wire) -> None:
            await scripts.pop(0)(wire)

        engine.script = other.script = script
        got = await herd.chat(stream=True)
    assert got.content.startswith(b"".join(answer(ids=False)[:3]))
    assert last_event(got.content)["param"] == "top_k"
    assert [view.state for view in herd.roster.replicas(LLAMA)].count(ReplicaState.READY) == 1
    await until(lambda: herd.ended("client_error") == 1)

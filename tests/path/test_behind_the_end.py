"""A client has its answer with the last event of a stream, whatever it and the engine do behind that."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deployments.policy.request.calls import ENDPOINTS
from monitoring.logs import LOGGER
from tests.otlp_receiver import otlp_receiver
from tests.path.begun import answer, chunks
from tests.path.conftest import Start
from tests.path.fake_engine import WAIT_S, FakeEngine, then_breaks, then_hangs
from tests.path.herd import LLAMA, STOPPING, Herd, asking, herd_of, limits, until
from tests.path.readers import Follows, HoldsBack, read_by
from tests.path.test_load_reports import NAME, SCALED, told
from tests.path.wire import Wire, connected, request

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT, SHOWN = answer(), answer(ids=False)
MESSAGE = [
    b'event: message_delta\ndata: {"delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":3,"output_tokens":6}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
RESPONSE = [
    b"event: response.completed\ndata: "
    b'{"response":{"usage":{"input_tokens":3,"output_tokens":6}},"sequence_number":9,"type":"response.completed"}\n\n'
]
HI = [{"role": "user", "content": "Hi"}]
#: The last events of a stream of each API, and what its request has.
APIS: dict[str, tuple[list[bytes], dict[str, Any]]] = {
    "chat": (SHOWN, {"messages": HI}),
    "completions": (SHOWN, {"prompt": "Hi"}),
    "messages": (MESSAGE, {"messages": HI, "max_tokens": 6}),
    "responses": (RESPONSE, {"input": "Hi"}),
}


@contextlib.asynccontextmanager
async def shown_all(herd: Herd, events: list[bytes] = SHOWN, api: str = "chat") -> AsyncIterator[Wire]:
    """A client that has got all events of a stream, and waits for its end."""
    (path,) = [path for path, endpoint in ENDPOINTS.items() if endpoint == api]
    async with connected(herd.port) as client:
        await client.send(request({"model": LLAMA, "stream": True, **APIS[api][1]}, path))
        assert (await client.head())[0] == 200
        assert b"".join([await client.chunk() for _ in events]) == b"".join(events)
        yield client


@pytest.mark.parametrize("api", APIS)
async def test_client_that_leaves_behind_the_last_event_was_answered(herd: Herd, engine: FakeEngine, api: str) -> None:
    events, _ = APIS[api]
    engine.script = then_hangs(*events)
    async with shown_all(herd, events, api) as client:
        client.hang_up()
        await engine.left()
    await until(lambda: herd.ended("ok") == 1)
    assert herd.ended("cancelled") == 0
    assert [herd.count("herd_tokens_total", model=LLAMA, kind=kind) for kind in ("prompt", "completion")] == [3, 6]
    assert herd.open_now == (0, 0)


async def test_client_that_leaves_before_the_last_event_was_not(herd: Herd, engine: FakeEngine) -> None:
    engine.script = then_hangs(*CHAT[:-1])
    async with shown_all(herd, SHOWN[:-1]) as client:
        client.hang_up()
        await engine.left()
    await herd.has_ended("cancelled")


async def test_its_log_line_spans_and_load_are_those_of_an_answer(engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    engine.script = then_hangs(*CHAT)
    with otlp_receiver() as receiver:
        tracing = {"endpoint": receiver.url, "sample_ratio": 1}
        async with herd_of([engine], limits(), models=SCALED, access_log="all", tracing=tracing) as herd:
            async with shown_all(herd) as client:
                client.hang_up()
                await engine.left()
            await herd.has_ended("ok")
            await until(lambda: len(receiver.spans) == 2)
            await until(lambda: NAME in herd.kept and told(herd).usual.requests == 1)
            assert told(herd).usual.answer_tokens == 6
        await asyncio.wait_for(STOPPING[-1], WAIT_S)  # what waits to be written is written by then
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == LOGGER]
    (line,) = [line for line in lines if line["event"] == "request" and line["replica"] == f"replica-{engine.port}"]
    assert (line["outcome"], line["attempts"], line["completion_tokens"]) == ("ok", 1, 6)
    whole, attempt = receiver.trees()[0]
    assert whole.attributes["herd.outcome"] == "ok"
    assert not [one for one in (whole, attempt) if one.failed or "error.type" in one.attributes]


async def test_client_that_stays_gets_the_end_when_its_time_is_over(limited: Start, engine: FakeEngine) -> None:
    engine.script = then_hangs(*CHAT)
    herd = await limited(total_s=0.3, first_byte_s=0.3)
    async with shown_all(herd) as client:
        assert await client.chunk() == b""
    await herd.has_ended("ok")
    await engine.left()


async def test_client_that_stays_gets_the_end_when_its_gateway_stops(engine: FakeEngine) -> None:
    engine.script = then_hangs(*CHAT)
    async with herd_of([engine], limits(), stop_s=0.1) as herd, shown_all(herd) as client:
        stopping = asyncio.create_task(herd.serving.stop())
        assert await client.chunk() == b""
        await stopping
        assert herd.ended("ok") == 1


async def test_client_that_leaves_behind_the_last_event_that_a_reader_let_go_was_answered(herd: Herd, engine: FakeEngine) -> None:
    log = read_by(herd.serving.pipeline, Follows)
    engine.script = then_hangs(*CHAT)
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await until(lambda: log.read == len(CHAT))
        log.gates[0].clear(len(CHAT))
        await client.head()
        assert [await client.chunk() for _ in CHAT] == SHOWN
        client.hang_up()
        await engine.left()
    await herd.has_ended("ok")


async def test_client_that_leaves_while_a_reader_holds_the_last_event_back_was_not(herd: Herd, engine: FakeEngine) -> None:
    read_by(herd.serving.pipeline, HoldsBack)
    engine.script = then_hangs(*CHAT)
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await engine.asked()
        client.hang_up()
        await engine.left()
    await herd.has_ended("cancelled")


@pytest.mark.parametrize("api", APIS)
async def test_engine_that_dies_behind_the_last_event_has_answered(herd: Herd, engine: FakeEngine, api: str) -> None:
    events, _ = APIS[api]
    engine.script = then_breaks(chunks(events))
    async with shown_all(herd, events, api) as client:
        assert await client.chunk() == b""
    await until(lambda: herd.ended("ok") == 1)
    assert herd.count("herd_tokens_total", model=LLAMA, kind="completion") == 6


@pytest.mark.parametrize("api", APIS)
async def test_engine_that_tells_an_error_behind_the_last_event_has_answered(herd: Herd, engine: FakeEngine, api: str) -> None:
    events, _ = APIS[api]
    engine.script = then_hangs(*events, b'data: {"error":{"message":"Internal server error","code":500}}\n\n')
    async with shown_all(herd, events, api) as client:
        assert await client.chunk() == b""
    await herd.has_ended("ok")

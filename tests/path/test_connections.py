"""HTTP/1.1 on both sides: connections that are kept, that close, and clients who use the protocol's corners."""

import asyncio
import json
import time

import pytest

from deployments.wire.engine.client import Engines
from deployments.wire.types import Address
from tests.path.fake_engine import FakeEngine, Wire, answers, says, streams, then_breaks, then_closes
from tests.path.herd import CHAT, SECRET, Herd, asking, until
from tests.path.wire import connected, request
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")

OK = answers(200, {"ok": True})


async def test_connection_to_an_engine_is_used_again(herd: Herd, engine: FakeEngine) -> None:
    for script in (OK, streams([event(), DONE]), answers(400, {}), answers(500, {}), OK):
        engine.script = script
        await herd.chat(stream=True)
    assert [one.connection for one in engine.requests] == [1] * 5


async def test_connection_that_the_engine_closed_is_replaced(herd: Herd, engine: FakeEngine) -> None:
    engine.script = then_closes(OK)
    for _ in range(3):
        assert (await herd.chat()).status_code == 200
    assert [one.connection for one in engine.requests] == [1, 2, 3]


async def test_connection_that_breaks_on_its_next_use_is_replaced(herd: Herd, engine: FakeEngine) -> None:
    """The engine closes an idle connection just as a request is on its way."""
    engine.queue = [OK, then_breaks(head=False), OK]
    assert [(await herd.chat()).status_code for _ in range(2)] == [200, 200]
    assert [one.connection for one in engine.requests] == [1, 1, 2]
    assert herd.ended("ok") == 2


async def test_engine_that_is_there_is_reached_though_the_gateway_is_held_up_meanwhile(engine: FakeEngine) -> None:
    engine.script = OK
    ways = Engines(SECRET, connect_s=0.2)
    asked = asyncio.create_task(ways.exchange(Address("127.0.0.1", engine.port), b"GET", b"/health", (), b""))
    await asyncio.sleep(0)
    time.sleep(0.5)  # noqa: ASYNC251 (another process has the processor)
    answer = await asked
    assert (answer.status, await answer.read()) == (200, b'{"ok": true}')
    answer.close()
    ways.close()


async def test_connection_that_the_engine_will_close_is_not_used_again(herd: Herd, engine: FakeEngine) -> None:
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}"
    engine.queue = [then_breaks(closing, head=False)]
    assert [(await herd.chat()).status_code for _ in range(2)] == [200, 200]
    assert [one.connection for one in engine.requests] == [1, 2]


async def test_engine_that_speaks_unasked_is_not_listened_to(herd: Herd, engine: FakeEngine) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    engine.queue = [says(head + b"first", head + b"other"), answers(200, b"third")]
    assert (await herd.chat()).content == b"first"
    await engine.idle()
    assert (await herd.chat()).content == b"third"


@pytest.mark.parametrize("apart", [False, True])
async def test_answer_behind_interim_ones_is_the_answer(herd: Herd, engine: FakeEngine, apart: bool) -> None:
    """A proxy before an engine may say 100, 102 or 103 first, any number of times."""
    interim = (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\ncontent-length: 9\r\n\r\n")
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"
    pieces = (*interim, head + b"first")
    engine.queue = [says(*pieces) if apart else says(b"".join(pieces)), answers(200, b"other")]
    assert [(await herd.chat()).content for _ in range(2)] == [b"first", b"other"]
    assert [one.connection for one in engine.requests] == [1, 1]


async def test_engine_that_wants_another_protocol_is_not_followed(herd: Herd, engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    engine.script = says(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n")
    response = await herd.chat()
    assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_gone")
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_pipelined_requests_are_answered_in_order(herd: Herd, engine: FakeEngine) -> None:
    engine.queue = [streams([event("1"), event("2", "stop")], pace_s=0.05), answers(200, {"number": 3}), streams([event("4", "stop")])]
    models = request(path="/v1/models", method="GET")
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)) + request(asking()) + models + request(asking(stream=True)))
        assert (await client.answer())[2] == event("1") + event("2", "stop")
        assert json.loads((await client.answer())[2]) == {"number": 3}
        assert json.loads((await client.answer())[2])["object"] == "list"
        assert (await client.answer())[2] == event("4", "stop")
    assert herd.ended("ok") == 3


async def test_head_has_no_body(herd: Herd) -> None:
    async with connected(herd.port) as client:
        for path, expected in (("/health", 503), ("/v1/models", 200), (CHAT, 405), ("/none", 404)):
            await client.send(request(path=path, method="HEAD"))
            status, headers = await client.head()
            assert status == expected
            assert int(headers["content-length"]) > 0
        await client.send(request(path="/v1/models/llama", method="GET"))
        assert json.loads((await client.answer())[2])["id"] == "herd/llama"


async def test_expectation_is_met_before_the_body_is_sent(herd: Herd, engine: FakeEngine) -> None:
    data = json.dumps(asking()).encode()
    async with connected(herd.port) as client:
        await client.send(request(headers=("expect: 100-continue", f"content-length: {len(data)}")))
        assert (await client.head())[0] == 100
        assert not engine.requests
        await client.send(data)
        assert (await client.answer())[0] == 200


async def test_expectation_that_is_not_met_costs_no_upload(herd: Herd) -> None:
    async with connected(herd.port) as client:
        await client.send(request(headers=("expect: 100-continue", f"content-length: {65 << 20}")))
        assert (await client.answer())[0] == 413


@pytest.mark.parametrize("kept", [(), ("connection: keep-alive",)])
async def test_old_client_gets_no_chunks(herd: Herd, engine: FakeEngine, kept: tuple[str, ...]) -> None:
    engine.script = streams([event("1"), event("2"), DONE])
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True), version="1.0", headers=kept))
        status, headers = await client.head()
        assert status == 200
        assert "transfer-encoding" not in headers
        assert headers["connection"] == "close"
        assert await client.rest() == event("1") + event("2") + DONE


async def test_old_client_gets_a_whole_answer_and_an_error_inside_a_stream(herd: Herd, engine: FakeEngine) -> None:
    engine.queue = [OK, then_breaks(b"%x\r\n%b\r\n" % (len(event()), event()))]
    async with connected(herd.port) as client:
        await client.send(request(asking(), version="1.0"))
        assert (await client.answer())[2] == b'{"ok": true}'
        assert await client.rest() == b""
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True), version="1.0"))
        await client.head()
        assert b'"code":"engine_gone"' in await client.rest()


async def test_client_that_wants_its_connection_closed(herd: Herd, engine: FakeEngine) -> None:
    engine.script = streams([event(finish="stop")])
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True), headers=("connection: close",)))
        _, headers, body = await client.answer()
        assert (headers["connection"], body) == ("close", event(finish="stop"))
        assert await client.rest() == b""


async def test_client_that_would_like_another_protocol_is_served_in_this_one(herd: Herd, engine: FakeEngine) -> None:
    """As the HTTP client of Java does it: an offer of HTTP/2, and the body apart."""
    data = json.dumps(asking()).encode()
    offer = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA")
    async with connected(herd.port) as client:
        await client.send(request(headers=(*offer, f"content-length: {len(data)}")))
        await asyncio.sleep(0.05)
        await client.send(data)
        status, headers, _ = await client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert (await engine.asked()).body == data
        assert await client.rest() == b""


async def test_chunked_request(herd: Herd, engine: FakeEngine) -> None:
    data = json.dumps(asking()).encode()
    async with connected(herd.port) as client:
        await client.send(request(headers=("transfer-encoding: chunked",)))
        for byte in data:
            await client.send(b"1\r\n%c\r\n" % byte)
        await client.send(b"0\r\n\r\n")
        assert (await client.answer())[0] == 200
    assert (await engine.asked()).body == data


async def test_idle_connections_of_an_engine_that_ends_are_not_kept(herd: Herd, engine: FakeEngine) -> None:
    await herd.chat()
    await engine.close()
    await until(lambda: not herd.serving.engines._pool._free)


async def test_a_chunk_that_nobody_asked_for_reaches_nobody(herd: Herd, engine: FakeEngine) -> None:
    """As whole as a streamed token is, but behind the end of its answer."""
    said = asyncio.Event()

    async def script(wire: Wire) -> None:
        await streams([event("1"), event("2", "stop")])(wire)
        await asyncio.sleep(0.05)
        await wire.chunk(event("unasked"))
        said.set()

    engine.queue = [script]
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        assert (await client.answer())[2] == event("1") + event("2", "stop")
        await said.wait()
        await client.send(request(asking()))
        assert (await client.answer())[0] == 200
    assert [one.connection for one in engine.requests] == [1, 2]

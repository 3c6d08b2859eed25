"""A client that sends its request and closes its side gets its answer; one that has gone is found out, and its engine stops."""

import asyncio
import json
import socket

import pytest

from tests.path.fake_engine import FakeEngine, answers, steered, streams, then_hangs
from tests.path.herd import Herd, asking
from tests.path.wire import Wire, connected, request
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODELS = request(path="/v1/models", method="GET")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def send_all(client: Wire, data: bytes) -> None:
    """Sends a request and closes this side, in one go."""
    client.writer.write(data)
    client.writer.write_eof()


async def test_whole_answer_comes_and_the_connection_closes_behind_it(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(200, {"ok": True})
    async with connected(herd.port) as client:
        send_all(client, request(asking()))
        status, headers, body = await client.answer()
        assert (status, headers["connection"], json.loads(body)) == (200, "close", {"ok": True})
        assert await client.rest() == b""
    await herd.has_ended("ok")


@pytest.mark.parametrize("more", [{}, {"padding": "x" * 300_000}])
async def test_stream_comes_to_its_end(herd: Herd, engine: FakeEngine, more: dict[str, str]) -> None:
    engine.script = streams([event("1"), event("2", "stop"), DONE], pace_s=0.05)
    async with connected(herd.port) as client:
        send_all(client, request(asking(stream=True, **more)))
        assert (await client.head())[0] == 200
        assert await client.chunks() == [event("1"), event("2", "stop"), DONE]
        assert await client.rest() == b""
    await herd.has_ended("ok")


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_every_request_sent_ahead_is_answered(herd: Herd, version: str) -> None:
    async with connected(herd.port) as client:
        send_all(client, MODELS * 2 + request(path="/v1/models", method="GET", version=version))
        assert [(await client.answer())[0] for _ in range(3)] == [200] * 3
        assert await client.rest() == b""


async def test_slow_answer_comes_behind_interim_answers(herd: Herd, engine: FakeEngine) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    engine.script = steered(pieces)
    async with connected(herd.port) as client:
        send_all(client, request(asking(stream=True)))
        assert await client.reader.readexactly(2 * len(CONTINUE)) == 2 * CONTINUE
        for piece in (event("1", "stop"), DONE, b""):
            pieces.put_nowait(piece)
        while (head := await client.head())[0] == 100:
            pass
        assert head[0] == 200
        assert await client.chunks() == [event("1", "stop"), DONE]
    await herd.has_ended("ok")


async def test_http_client_of_pythons_own_passes_over_interim_answers(herd: Herd, engine: FakeEngine) -> None:
    import http.client

    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    engine.script = steered(pieces)

    def ask() -> bytes:
        client = http.client.HTTPConnection("127.0.0.1", herd.port, timeout=30)
        client.request("POST", "/v1/chat/completions", json.dumps(asking(stream=True)), {"content-type": "application/json"})
        client.sock.shutdown(socket.SHUT_WR)
        with client.getresponse() as answer:
            return answer.read()

    asked = asyncio.create_task(asyncio.to_thread(ask))
    await engine.asked()
    await asyncio.sleep(0.6)
    for piece in (event("1", "stop"), DONE, b""):
        pieces.put_nowait(piece)
    assert await asked == event("1", "stop") + DONE


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("leaves_early", [False, True])
async def test_client_that_has_gone_is_found_out(herd: Herd, engine: FakeEngine, version: str, leaves_early: bool) -> None:
    engine.script = then_hangs(head=False)
    async with connected(herd.port) as client:
        send_all(client, request(asking(stream=True), version=version))
        if leaves_early:
            client.hang_up()
        await engine.asked()
        client.hang_up()
        await engine.left()
        await engine.idle()
    await herd.has_ended("cancelled")


@pytest.mark.parametrize("cut", [10, -5])
async def test_client_that_stops_inside_its_request_is_let_go(herd: Herd, engine: FakeEngine, cut: int) -> None:
    async with connected(herd.port) as client:
        send_all(client, request(asking())[:cut])
        assert await client.rest() == b""
    assert not engine.requests


async def test_last_request_sent_ahead_that_is_cut_is_a_400(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(200, {"ok": True})
    async with connected(herd.port) as client:
        send_all(client, request(asking()) + request(asking())[:-5])
        assert (await client.answer())[0] == 200
        status, _, body = await client.answer()
        assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_http")
        assert await client.rest() == b""


async def test_last_head_sent_ahead_that_is_cut_ends_the_connection(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(200, {"ok": True})
    async with connected(herd.port) as client:
        send_all(client, request(asking()) + MODELS[:-5])
        assert (await client.answer())[0] == 200
        assert await client.rest() == b""


async def test_client_that_closes_its_side_inside_a_stream_has_hung_up(herd: Herd, engine: FakeEngine) -> None:
    engine.script = then_hangs(event())
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        assert (await client.head())[0] == 200
        client.writer.write_eof()
        await engine.left()
    await herd.has_ended("cancelled")

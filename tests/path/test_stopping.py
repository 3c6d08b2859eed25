"""A gateway that stops: no new connections, nothing lost of what it has, and an end in any case."""

import asyncio
import json

import httpx
import pytest

from tests.path.fake_engine import WAIT_S, FakeEngine, steered, then_hangs
from tests.path.herd import Herd, asking, herd_of, limits
from tests.path.wire import connected, request
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_open_stream_is_finished(herd: Herd, engine: FakeEngine) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    engine.script = steered(pieces)
    async with connected(herd.port) as streaming, connected(herd.port) as idle:
        await streaming.send(request(asking(stream=True)))
        pieces.put_nowait(event("1"))
        assert (await streaming.head())[0] == 200
        stopping = asyncio.create_task(herd.server.stop())
        assert await idle.rest() == b""
        with pytest.raises(httpx.ConnectError):
            await herd.http.get("/health")
        for piece in (event("2"), DONE, b""):
            pieces.put_nowait(piece)
        assert await streaming.chunks() == [event("1"), event("2"), DONE]
        assert await streaming.rest() == b""
        async with asyncio.timeout(WAIT_S):
            await stopping
    assert herd.ended("ok") == 1
    assert not herd.server.alive


@pytest.mark.parametrize("began", [False, True])
async def test_answer_that_does_not_come_in_time_is_told_so(engine: FakeEngine, began: bool) -> None:
    engine.script = then_hangs(event(), head=True) if began else then_hangs(head=False)
    async with herd_of([engine], limits(), stop_s=0.1) as herd, connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await engine.asked()
        first = await client.head() if began else None
        await herd.server.stop()
        body = (await client.rest()).replace(b"\r\n0\r\n\r\n", b"")
        assert first is None or first[0] == 200
        assert json.loads(body[body.rindex(b'{"type"') :])["error"]["message"] == "This gateway is stopping. Try again."
        assert body.startswith(b"HTTP/1.1 503") != began
        await engine.idle()
    assert (herd.ended("unavailable"), herd.ended("cancelled")) == (1, 0), "it was not its client that left"
    assert herd.count("herd_refusals_total", code="engine_unavailable") == 1

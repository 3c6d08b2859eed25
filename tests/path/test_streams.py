"""A stream that goes well: what the engine sent is what the client gets, byte for byte."""

import asyncio
import contextlib
import random

import pytest

from deployments.policy.routing.types import Reason
from deployments.wire.client.connection import ClientConnection
from tests.path.begun import said
from tests.path.fake_engine import FakeEngine, Wire, fake_engine, steered, streams
from tests.path.herd import LLAMA, Herd, asking, until
from tests.path.wire import connected, request
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")

SMALL = [event(str(number)) for number in range(1000)]
HUGE = [random.Random(7).randbytes(size) for size in (1, 1 << 20, 3, (4 << 20) + 17)]


@pytest.mark.parametrize("pieces", [SMALL, HUGE, [b"x"], [b"\r\n\r\n", b"0\r\n\r\n", b"data: \xe2\x80", b"\x93\n\n"]])
async def test_client_gets_the_bytes_of_the_engine(herd: Herd, engine: FakeEngine, pieces: list[bytes]) -> None:
    engine.script = streams([*pieces, DONE])
    answer = await herd.chat(stream=True)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.content == b"".join(pieces) + DONE
    assert herd.ended("ok") == 1
    assert herd.open_now == (0, 0)


async def test_each_piece_arrives_before_the_next_is_made(herd: Herd, engine: FakeEngine) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    engine.script = steered(pieces)
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        for number in range(5):
            pieces.put_nowait(event(str(number)))
            if number == 0:
                assert (await client.head())[0] == 200
            assert await client.chunk() == event(str(number))
        assert herd.open_now == (1, 1)
        pieces.put_nowait(DONE)
        assert await client.chunk() == DONE
        pieces.put_nowait(b"")
        assert await client.chunk() == b""
    assert herd.open_now == (0, 0)


async def test_one_connection_carries_one_stream_after_another(herd: Herd, engine: FakeEngine) -> None:
    engine.script = streams([event(), DONE])
    async with connected(herd.port) as client:
        for _ in range(3):
            await client.send(request(asking(stream=True)))
            assert (await client.answer())[2] == event() + DONE
    assert {one.connection for one in engine.requests} == {1}


async def test_two_hundred_streams_at_once(herd: Herd, engine: FakeEngine) -> None:
    all_open = asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.open_stream()
        await wire.chunk(event())
        await all_open.wait()
        await wire.chunk(DONE)
        await wire.chunk(b"")

    async with fake_engine() as second, contextlib.AsyncExitStack() as stack:
        herd.has(engine, second)
        engine.script = second.script = script
        clients = [await stack.enter_async_context(connected(herd.port)) for _ in range(200)]
        for client in clients:
            await client.send(request(asking(stream=True)))
        await until(lambda: herd.open_now == (200, 200))
        all_open.set()
        assert {(await client.answer())[2] for client in clients} == {event() + DONE}
        assert len(engine.requests) == len(second.requests) == 100
    assert herd.ended("ok") == 200
    assert herd.open_now == (0, 0)
    picks = [herd.count("herd_picks_total", model=LLAMA, reason=reason.value) for reason in Reason]
    assert sum(picks) == 200


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 250, 251, 252, 253, 254, 255, 256, 300])
async def test_however_the_network_cuts_the_engines_chunks(herd: Herd, engine: FakeEngine, size: int) -> None:
    """The way of a whole chunk and the way of a cut one must meet."""
    pieces = [said(number) for number in range(5)] + [said(5), said(6) * 2, said(7, finish="stop"), DONE]
    sent = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"

    async def script(wire: Wire) -> None:
        await wire.open_stream()
        for begin in range(0, len(sent), size):
            await wire.raw(sent[begin : begin + size])
            await asyncio.sleep(0)

    engine.script = script
    shown = b"".join(pieces).replace(b'"token_ids":[', b'"token_ids":null[')
    for ids in range(8):
        shown = shown.replace(b"null[%d]" % ids, b"null")
    for _ in range(2):
        assert (await herd.chat(stream=True)).content == shown


async def test_chunks_that_come_at_once_go_on_at_once(herd: Herd, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each write is a call of the system and wakes the client: a gateway that is behind must not make one for each token."""
    sent: list[bytes] = []
    made = ClientConnection.connection_made

    def counted(self: ClientConnection, transport: asyncio.BaseTransport) -> None:
        made(self, transport)
        send = self.send

        def counting(data: bytes) -> None:
            sent.append(data)
            send(data)

        monkeypatch.setattr(self, "send", counting)

    pieces = [event(str(number)) for number in range(50)] + [DONE]

    async def script(wire: Wire) -> None:
        await wire.open_stream()
        await wire.raw(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n")

    monkeypatch.setattr(ClientConnection, "connection_made", counted)
    engine.script = script
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        assert (await client.answer())[2] == b"".join(pieces)
    assert 0 < len(sent) < 5

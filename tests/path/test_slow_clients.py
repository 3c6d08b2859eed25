"""A client slower than its engine: the engine waits, the gateway keeps little, and in the end nothing is missing."""

import asyncio
import hashlib

import pytest

from deployments.wire.engine.answer import Answer
from deployments.wire.engine.client import Engines
from deployments.wire.types import Address
from tests.path.fake_engine import WAIT_S, FakeEngine, Wire, answers, says, steered, streams
from tests.path.herd import Herd, asking, until
from tests.path.wire import connected, request
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1 << 20
TOTAL = 64 * MIB
#: What kernel and event loop hold on both sides of the gateway, and a margin; far below what the engine has to say.
HELD = 24 * MIB


class Firehose:
    """Sends as fast as it is let, and knows how much it got rid of."""

    def __init__(self, first: int = 2, chunk: int = 256 << 10) -> None:
        self.sent = 0
        self.digest = hashlib.sha256()
        self._sizes = [first] + [chunk] * (TOTAL // chunk)

    async def __call__(self, wire: Wire) -> None:
        await wire.open_stream()
        for number, size in enumerate(self._sizes):
            data = (bytes([number % 251]) * size)[:-2] + b"\n\n"
            self.digest.update(data)
            await wire.chunk(data)
            self.sent += size
        self.digest.update(DONE)
        await wire.chunk(DONE)
        await wire.chunk(b"")

    async def stalls(self) -> None:
        """It has begun, and sends nothing for a while."""
        await until(lambda: self.sent > 0)
        before = -1
        while before != self.sent:
            before = self.sent
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("first", [2, 3 * MIB])
async def test_engine_waits_for_a_slow_client(herd: Herd, engine: FakeEngine, first: int) -> None:
    engine.script = hose = Firehose(first)
    async with connected(herd.port, limit=4096) as client:
        await client.send(request(asking(stream=True)))
        await client.head()
        await hose.stalls()
        assert hose.sent < HELD
        digest = hashlib.sha256()
        while chunk := await client.chunk():
            digest.update(chunk)
    assert digest.digest() == hose.digest.digest()
    assert herd.ended("ok") == 1


async def test_engine_waits_while_an_earlier_answer_on_the_connection_is_read(herd: Herd, engine: FakeEngine) -> None:
    hose = Firehose()
    engine.queue = [answers(200, b"y" * (8 * MIB)), hose]
    async with connected(herd.port, limit=4096) as client:
        await client.send(request(asking()) + request(asking(stream=True)))
        await hose.stalls()
        assert hose.sent < HELD
        assert (await client.answer())[2] == b"y" * (8 * MIB)
        digest = hashlib.sha256((await client.answer())[2])
    assert digest.digest() == hose.digest.digest()


class HoldsBack:
    """A reader for whom every piece is too much."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def write(self, _data: bytes) -> None:
        self.answer.pause()


async def test_connection_held_back_to_the_end_of_its_answer_is_fit_for_the_next(engine: FakeEngine) -> None:
    engine.script = says(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole")
    engines = Engines("secret")
    for _ in range(3):
        async with asyncio.timeout(WAIT_S):
            answer = await engines.exchange(Address("127.0.0.1", engine.port), b"POST", b"/", (), b"{}")
            await answer.pipe(HoldsBack(answer))
            answer.close()
    engines.close()
    assert [one.connection for one in engine.requests] == [1, 1, 1]


async def test_slow_client_holds_back_nobody_but_itself(herd: Herd, engine: FakeEngine) -> None:
    """Its stream came over a connection that by now carries the stream of another."""
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    engine.queue = [streams([event()]), steered(pieces), answers(200, b"y" * (16 * MIB))]
    async with connected(herd.port, limit=4096) as slow, connected(herd.port) as other:
        await slow.send(request(asking(stream=True)))
        await slow.answer()
        await other.send(request(asking(stream=True)))
        pieces.put_nowait(event("1"))
        await other.head()
        await slow.send(request(asking()))
        await slow.head()
        for number in range(1, 100):
            pieces.put_nowait(event(str(number + 1)))
            assert await other.chunk() == event(str(number))
    assert [one.connection for one in engine.requests] == [1, 1, 2]

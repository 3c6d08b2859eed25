"""A client slower than its engine: the engine waits, the gateway keeps little, and in the end nothing is missing."""

import asyncio
import hashlib

import pytest

from tests.path.fake_engine import FakeEngine, Wire, answers, streams
from tests.path.herd import Herd, asking, until
from tests.path.wire import connected, request

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1 << 20
TOTAL = 64 * MIB
#: What kernel and event loop hold on both sides of the gateway, and a margin; far below what the engine has to say.
HELD = 24 * MIB


class Firehose:
    """Sends as fast as it is let, and knows how much it got rid of."""

    def __init__(self, first: int = 1, chunk: int = 256 << 10) -> None:
        self.sent = 0
        self.digest = hashlib.sha256()
        self._sizes = [first] + [chunk] * (TOTAL // chunk)

    async def __call__(self, wire: Wire) -> None:
        await wire.open_stream()
        for number, size in enumerate(self._sizes):
            data = bytes([number % 251]) * size
            self.digest.update(data)
            await wire.chunk(data)
            self.sent += size
        await wire.chunk(b"")

    async def stalls(self) -> None:
        """It has begun, and sends nothing for a while."""
        await until(lambda: self.sent > 0)
        before = -1
        while before != self.sent:
            before = self.sent
            await asyncio.sleep(0.2)


@pytest.mark.parametrize("first", [1, 3 * MIB])
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


async def test_connection_of_a_slow_client_is_fit_for_the_next(herd: Herd, engine: FakeEngine) -> None:
    engine.queue = [streams([b"z" * (6 * MIB)])]
    async with connected(herd.port, limit=4096) as client:
        await client.send(request(asking(stream=True)))
        await client.answer()
    assert (await herd.chat()).status_code == 200
    assert {one.connection for one in engine.requests} == {1}

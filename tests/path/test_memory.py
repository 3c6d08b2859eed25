"""How often a body is in memory while its request is under way."""

import asyncio
import gc
import tracemalloc
from collections.abc import Iterator

import pytest

from deployments.wire.client.exchange import Exchange
from deployments.wire.client.listener import Bounds, Listener, sockets
from deployments.wire.engine.client import Engines
from deployments.wire.types import Address
from tests.path.fake_engine import WAIT_S
from tests.path.wire import connected, request

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1 << 20
BODY = b"x" * (16 * MIB)


@pytest.fixture
def _traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_traced")
async def test_body_of_a_client_is_held_once() -> None:
    held: list[int] = []

    async def handler(exchange: Exchange) -> None:
        body = await exchange.body(64, WAIT_S, lambda size: None)
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
        exchange.reply(200, (), b"%d" % len(body))

    found = sockets("127.0.0.1", 0)
    listener = Listener(handler, found, Bounds(), 1)
    try:
        async with connected(found[0].getsockname()[1]) as client:
            await client.send(request(b"", headers=(f"content-length: {len(BODY)}",)))
            before = tracemalloc.get_traced_memory()[0]
            for begin in range(0, len(BODY), MIB):
                await client.send(BODY[begin : begin + MIB])
            assert (await client.answer())[2] == b"%d" % len(BODY)
    finally:
        await listener.stop()
    assert held[0] - before < len(BODY) * 1.4


@pytest.mark.usefixtures("_traced")
async def test_body_that_an_engine_works_on_is_not_copied() -> None:
    arrived, over = asyncio.Event(), asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = len(BODY)
        while left > 0:
            left -= len(await reader.read(MIB))
        arrived.set()
        await over.wait()
        writer.close()

    engines = Engines("key")
    async with await asyncio.start_server(swallow, "127.0.0.1", 0) as server:
        before = tracemalloc.get_traced_memory()[0]
        asked = asyncio.create_task(engines.exchange(Address("127.0.0.1", server.sockets[0].getsockname()[1]), b"POST", b"/", (), BODY))
        async with asyncio.timeout(WAIT_S):
            await arrived.wait()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 4 * MIB
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        over.set()
    engines.close()


@pytest.mark.usefixtures("_traced")
async def test_query_to_an_engine_is_not_remembered() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    engines = Engines("key")
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        address = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        before = tracemalloc.get_traced_memory()[0]
        for number in range(64):
            async with asyncio.timeout(WAIT_S):
                path = b"/-/load?after=%d&poison=" % number + b"x" * (32 << 10)
                (await engines.exchange(address, b"GET", path, (), b"")).close()
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < MIB
    engines.close()

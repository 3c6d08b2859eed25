"""A client that hangs up: its engine hears of it at once and stops generating, and it is counted as such."""

import asyncio
import socket

import pytest

from tests.path.fake_engine import WAIT_S, FakeEngine, answers, steered, streams, then_hangs
from tests.path.herd import Herd, asking
from tests.path.wire import connected, request
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: uvicorn stops reading while it holds this much of a body.
LARGE = {"padding": "x" * 300_000}


@pytest.mark.parametrize("more", [{}, LARGE])
@pytest.mark.parametrize("stream", [False, True])
async def test_before_the_first_byte(herd: Herd, engine: FakeEngine, stream: bool, more: dict[str, str]) -> None:
    engine.script = then_hangs(head=stream)
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=stream, **more)))
        await engine.asked()
        client.hang_up()
        await engine.left()
        await engine.idle()
    await herd.has_ended("cancelled")


@pytest.mark.parametrize("more", [{}, LARGE])
async def test_inside_a_stream(herd: Herd, engine: FakeEngine, more: dict[str, str]) -> None:
    engine.script = then_hangs(event())
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True, **more)))
        assert (await client.head())[0] == 200
        assert await client.chunk() == event()
        client.hang_up()
        await engine.left()
        await engine.idle()
    await herd.has_ended("cancelled")


async def test_inside_a_stream_that_goes_on(herd: Herd, engine: FakeEngine) -> None:
    engine.script = streams((event() for _ in range(1_000_000)), pace_s=0)
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await client.head()
        client.writer.transport.abort()
        await engine.left()
        await engine.idle()
    await herd.has_ended("cancelled")


async def test_while_it_is_slow(herd: Herd, engine: FakeEngine) -> None:
    engine.script = streams(b"x" * (1 << 20) + b"\n\n" for _ in range(1_000))
    async with connected(herd.port, limit=4096) as client:
        await client.send(request(asking(stream=True)))
        await client.head()
        await engine.asked()
        client.hang_up()
        await engine.left()
        await engine.idle()
    await herd.has_ended("cancelled")


async def test_after_its_answer_nothing_is_cancelled(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(200, {})
    async with connected(herd.port) as client:
        await client.send(request(asking()))
        assert (await client.answer())[0] == 200
    assert (await herd.chat()).status_code == 200
    assert (herd.ended("ok"), herd.ended("cancelled")) == (2, 0)
    assert {one.connection for one in engine.requests} == {1}


async def test_one_of_two_that_leaves_takes_nothing_from_the_other(herd: Herd, engine: FakeEngine) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    engine.queue = [steered(pieces), then_hangs(event())]
    async with connected(herd.port) as stays, connected(herd.port) as leaves:
        await stays.send(request(asking(stream=True)))
        await engine.asked()
        await leaves.send(request(asking(stream=True)))
        assert (await leaves.head())[0] == 200
        leaves.hang_up()
        await engine.left()
        for piece in (event(), DONE, b""):
            pieces.put_nowait(piece)
        assert (await stays.answer())[2] == event() + DONE
    await herd.has_ended("cancelled")
    assert herd.ended("ok") == 1


async def test_client_that_leaves_behind_a_body_that_came_in_one_piece_is_noticed(herd: Herd, engine: FakeEngine) -> None:
    engine.script = then_hangs()
    with socket.create_connection(("127.0.0.1", herd.port), timeout=WAIT_S) as client:
        client.sendall(request(asking(stream=True, padding="x" * 100_000)))  # whole in the kernel before the gateway's loop reads on
        await engine.asked()
    await engine.left()
    await herd.has_ended("cancelled")

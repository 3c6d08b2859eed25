"""What is refused for its framing gets an answer in the shape of all errors, and its connection closes."""

import asyncio
import json

import pytest

from tests.path.conftest import Start
from tests.path.fake_engine import FakeEngine, answers, steered
from tests.path.herd import Herd, asking
from tests.path.wire import connected, request
from tests.wire_format import event

pytestmark = pytest.mark.asyncio(loop_scope="session")

MODELS = request(path="/v1/models", method="GET")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (request(headers=("transfer-encoding: chunked",)) + b"+5\r\nabcde\r\n0\r\n\r\n", 400, "invalid_http"),
        (request(headers=("transfer-encoding: chunked",)) + b"5\r\nabcdefg\r\n0\r\n\r\n", 400, "invalid_http"),
        (request(headers=("transfer-encoding: xchunked",)) + b"abc", 501, "unsupported_transfer_encoding"),
        (request(headers=("transfer-encoding: gzip, chunked",)) + b"0\r\n\r\n", 501, "unsupported_transfer_encoding"),
        (request(headers=("host: other",)), 400, "invalid_http"),
        (b"GET /v1/models HTTP/1.1\r\n\r\n", 400, "invalid_http"),
        (b"GET /v1/models HTTP/1.1\nhost: a\n\n", 400, "invalid_http"),
        (request(headers=("content-length: 3", "content-length: 3")) + b"abc", 400, "invalid_http"),
        (b"GET /" + b"a" * 20_000, 414, "url_too_long"),
        (MODELS[:-2] + b"x: y\r\n" * 101 + b"\r\n", 431, "headers_too_large"),
        (MODELS[:-2] + b"a: " + b"y" * 70_000, 431, "headers_too_large"),
    ],
)
async def test_refused_framing_is_told_and_closes(herd: Herd, engine: FakeEngine, data: bytes, status: int, code: str) -> None:
    async with connected(herd.port) as client:
        await client.send(MODELS)
        assert (await client.answer())[0] == 200
        await client.send(data + MODELS)
        found, headers, body = await client.answer()
        assert (found, headers["connection"], json.loads(body)["error"]["code"]) == (status, "close", code)
        assert await client.rest() == b""
    assert not engine.requests


async def test_chunk_that_breaks_while_its_body_is_awaited(herd: Herd) -> None:
    async with connected(herd.port) as client:
        await client.send(request(headers=("transfer-encoding: chunked",)) + b"2\r\n{]\r\n")
        await asyncio.sleep(0.05)
        await client.send(b"?")
        assert (await client.answer())[0] == 400
        assert await client.rest() == b""


async def test_a_head_without_end_takes_no_memory(herd: Herd) -> None:
    async with connected(herd.port) as client:
        await client.send(MODELS[:-2])
        for _ in range(64):
            await client.send(b"a: b\r\n" * 10_000)
        assert (await client.answer())[0] == 431
        assert await client.rest() == b""


async def test_fifty_pipelined_requests_have_fifty_answers(herd: Herd) -> None:
    async with connected(herd.port) as client:
        await client.send(MODELS * 50)
        assert [(await client.answer())[0] for _ in range(50)] == [200] * 50


async def test_requests_ahead_are_not_read_without_bound_and_none_is_lost(herd: Herd, engine: FakeEngine) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    engine.queue = [steered(pieces)]
    engine.script = answers(200, {"id": "2"})
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        sending = asyncio.create_task(client.send(request(asking(pad="x" * 16_000)) * 1000))
        await asyncio.sleep(0.3)
        assert not sending.done(), "the gateway reads no further"
        pieces.put_nowait(event())
        pieces.put_nowait(b"")
        assert (await client.answer())[0] == 200
        assert [(await client.answer())[0] for _ in range(1000)] == [200] * 1000
        await sending


async def test_a_body_that_nobody_asks_for_is_read_no_further(herd: Herd) -> None:
    async with connected(herd.port) as client:
        await client.send(request(path="/v1/none", headers=(f"content-length: {200 << 20}",)))
        assert (await client.answer())[0] == 404
        assert await client.rest() == b""


async def test_upload_in_many_small_chunks_is_refused_before_it_costs_much(limited: Start) -> None:
    herd = await limited(body_mib=64)
    async with connected(herd.port) as client:
        await client.send(request(headers=("transfer-encoding: chunked",)) + b"1;%b\r\n \r\n" % (b"x" * 200) * 4000)
        status, _, body = await client.answer()
        assert (status, "larger chunks" in json.loads(body)["error"]["message"]) == (400, True)

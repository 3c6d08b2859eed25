"""What is refused before any engine hears of it, and how the connection goes on."""

import asyncio
import contextlib
import gzip
import json
import zlib

import pytest
from backports import zstd

from tests.path.conftest import Start
from tests.path.fake_engine import FakeEngine, answers
from tests.path.herd import CHAT, Herd, asking
from tests.path.wire import connected, request

pytestmark = pytest.mark.asyncio(loop_scope="session")

MIB = 1 << 20


@pytest.fixture(autouse=True)
def _engine_is_left_alone(engine: FakeEngine) -> None:
    engine.script = _never


async def _never(_wire: object) -> None:
    raise AssertionError("no engine may be asked")


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_routes_that_are_not_on_the_list_do_not_exist(herd: Herd, engine: FakeEngine, method: str) -> None:
    unlisted = """
        / /pause /resume /sleep /wake_up /abort_requests /update_weights /collective_rpc /reset_prefix_cache /metrics /load /docs
        /openapi.json /v1/load_lora_adapter /v1/unload_lora_adapter /v1/models/ /inference/v1/generate /invocations /ping /version
        /v1/chat/completions/render /v1//chat/completions /V1/chat/completions /v1/chat/completions/ /server_info /is_sleeping
    """
    for path in unlisted.split():
        answer = await herd.http.request(method, path)
        assert answer.status_code == 404, path
        assert answer.json()["error"]["code"] == "unknown_url"
    assert not engine.requests


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("GET", CHAT, "POST"), ("PUT", "/tokenize", "POST"), ("POST", "/v1/models", "GET, HEAD"), ("DELETE", "/health", "GET, HEAD")],
)
async def test_wrong_method_says_which_is_right(herd: Herd, method: str, path: str, allowed: str) -> None:
    answer = await herd.http.request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == allowed
    assert f"It answers to {allowed}." in answer.json()["error"]["message"]


async def test_unknown_model_names_the_known_ones(herd: Herd) -> None:
    answer = await herd.chat(model="gpt-5")
    error = answer.json()["error"]
    assert answer.status_code == 404
    assert (error["code"], error["param"], error["type"]) == ("model_not_found", "model", "invalid_request_error")
    assert "'gpt-5' does not exist. Known models: herd/llama, scout." in error["message"]
    assert herd.ended("client_error", model="unknown") == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'"x"', b"\xff", b'{"model": "herd/llama"', b"[" * 100_000, b'{"messages": []}', b'{"model": 7}', b'{"model": NaN}'],
)
async def test_body_that_is_no_request(herd: Herd, body: bytes) -> None:
    answer = await herd.http.post(CHAT, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert herd.ended("client_error", model="unknown") == 1


async def test_deep_nesting_is_no_defect(herd: Herd) -> None:
    herd.has()
    for depth in range(100, 2000, 100):
        for model in ("herd/llama", "llama"):
            body = b'{"model": "%b", "messages": %b%b}' % (model.encode(), b"[" * depth, b"]" * depth)
            assert (await herd.http.post(CHAT, content=body)).status_code in (400, 503), depth


async def test_body_too_large_by_its_header(limited: Start) -> None:
    herd = await limited(body_mib=1)
    answer = await herd.http.post(CHAT, content=b"x" * (MIB + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "request_too_large"
    assert herd.ended("client_error", model="unknown") == 1


async def test_body_too_large_in_fact(limited: Start) -> None:
    herd = await limited(body_mib=1)
    async with connected(herd.port) as client:
        await client.send(request(headers=("transfer-encoding: chunked",)))
        await client.send(b"%x\r\n%b" % (2 * MIB, b"x" * (MIB + 1)))
        status, headers, body = await client.answer()
        assert (status, headers["connection"], json.loads(body)["error"]["code"]) == (413, "close", "request_too_large")
        assert await client.rest() == b""


async def test_client_that_sends_on_still_reads_its_refusal(limited: Start) -> None:
    herd = await limited(body_mib=1)
    async with connected(herd.port) as client:
        head = request(headers=(f"content-length: {48 * MIB}",))
        await client.send(head + b"x" * (48 * MIB))
        assert (await client.answer())[0] == 413
        await client.send(request(asking()))  # what comes after is no request any more
        assert await client.rest() == b""


async def test_largest_body_is_taken(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(body_mib=1)
    body = request_of(MIB)
    assert (await herd.http.post(CHAT, content=body)).status_code == 404
    assert (await herd.http.post(CHAT, content=body + b" ")).status_code == 413


def request_of(size: int) -> bytes:
    """A body of just this size, for no model."""
    start, end = b'{"model": "', b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


async def test_body_that_does_not_arrive(limited: Start) -> None:
    herd = await limited(body_read_s=0.1)
    async with connected(herd.port) as client:
        await client.send(request(headers=("content-length: 100",)) + b"{")
        status, headers, body = await client.answer()
        assert (status, headers["connection"], json.loads(body)["error"]["code"]) == (408, "close", "timeout")
    assert herd.ended("client_error", model="unknown") == 1


async def test_client_that_leaves_before_its_body_is_whole(herd: Herd, engine: FakeEngine) -> None:
    async with connected(herd.port) as client:
        await client.send(request(headers=("content-length: 100",)) + json.dumps(asking()).encode())
        client.hang_up()
    assert (await herd.http.get("/health")).status_code == 503
    assert not engine.requests


async def test_head_that_does_not_arrive(limited: Start) -> None:
    herd = await limited(header_s=0.5)
    begun = (b"\r\n", b"POST /v1/chat/compl", b"POST / HTTP/1.1\r\nhost: herd\r\nx-slow: ")
    async with contextlib.AsyncExitStack() as stack:
        new = [(head, await stack.enter_async_context(connected(herd.port))) for head in (b"", *begun)]
        kept = [(head, await stack.enter_async_context(connected(herd.port))) for head in begun]
        for _, client in kept:
            await client.send(request(path="/v1/models", method="GET"))
            assert (await client.answer())[0] == 200
        for head, client in (*new, *kept):
            await client.send(head)
        for head, client in (*new, *kept):
            assert await client.rest() == b"", head


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n"]
)
async def test_what_is_no_http_gets_an_error_like_all_others(herd: Herd, garbage: bytes) -> None:
    async with connected(herd.port) as client:
        await client.send(garbage)
        status, _, body = await client.answer()
        assert (status, json.loads(body)["error"]["type"]) == (400, "invalid_request_error")
        assert await client.rest() == b""


async def test_refused_request_leaves_its_connection_for_the_next(herd: Herd) -> None:
    async with connected(herd.port) as client:
        for expected in (404, 400, 404):
            await client.send(request(asking("none") if expected == 404 else b"{"))
            assert (await client.answer())[0] == expected
        async with asyncio.timeout(10):
            await client.send(request(path="/v1/models", method="GET"))
            assert (await client.answer())[0] == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
async def test_compressed_body_is_read_as_what_it_was(herd: Herd, engine: FakeEngine, encoding: str) -> None:
    engine.script = answers(200, {"ok": True})
    said = asking(padding="x" * 300_000)
    data = json.dumps(said).encode()
    body = {"gzip": gzip.compress(data), "deflate": zlib.compress(data), "zstd": zstd.compress(data)}[encoding]
    answer = await herd.http.post(CHAT, content=body, headers={"content-encoding": encoding})
    assert answer.status_code == 200
    assert engine.requests[0].json == said
    assert "content-encoding" not in engine.requests[0].headers


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("br", b"x", 415),
        ("gzip, gzip", b"x", 415),
        ("gzip", b"{}", 400),
        ("gzip", gzip.compress(b"x" * 1000)[:-3], 400),
        ("gzip", gzip.compress(b" " * (2 * MIB)), 413),
    ],
    ids=["unknown", "two", "plain", "cut", "large"],
)
async def test_compressed_body_that_cannot_be_read(limited: Start, encoding: str, body: bytes, status: int) -> None:
    herd = await limited(body_mib=1)
    answer = await herd.http.post(CHAT, content=body, headers={"content-encoding": encoding})
    assert answer.status_code == status
    assert herd.ended("client_error", model="unknown") == 1

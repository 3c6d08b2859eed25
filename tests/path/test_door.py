"""The engine's door, in front of an app that only says what it saw."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import SecretStr

from deployments.engine.front_door import UNCOUNTED, Door, Receive, Scope, Send
from deployments.policy.request.prompt_blocks import in_blocks
from deployments.policy.routing import load_query
from deployments.policy.routing.load_query import LoadQuery
from deployments.policy.routing.prompt_gossip import HEADER, Sent, written

pytestmark = pytest.mark.asyncio(loop_scope="session")

#: The first report of a replica that nobody has asked anything.
NEW: dict[str, Any] = {"state": "ready", "prefill_tokens": None, "last": 0, "prompts": []}
PATHS = ["/v1/chat/completions", "/", "/pause", "/collective_rpc", "/metrics/", "/Metrics", "/health"]


class Behind:
    """An app behind the door."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self.body = b""
        self.said = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.paths.append(scope["path"])
        self.entered.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": self.body, "more_body": bool(self.body)})
        self.said.set()
        if self.body:
            await self.ended.wait()
            await send({"type": "http.response.body", "body": b""})


async def report() -> dict[str, Any]:
    return {"state": "ready"}


@pytest.fixture
def behind() -> Behind:
    return Behind()


@pytest.fixture
def door(behind: Behind) -> Door:
    return Door(behind, SecretStr("right"), report)


TOLD = (HEADER, written(Sent("gateway", 700, in_blocks(b"x" * 4096))))


async def knock(
    door: Door, path: str, authorization: bytes | None = None, *more: tuple[bytes, bytes], query: bytes = b""
) -> list[dict[str, Any]]:
    """What the door sends for a request."""
    sent: list[dict[str, Any]] = []
    headers = [*more] if authorization is None else [(b"authorization", authorization), *more]

    async def receive() -> dict[str, Any]:
        raise AssertionError("nobody reads the body")

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await door({"type": "http", "path": path, "headers": headers, "query_string": query}, receive, send)
    return sent


@pytest.mark.parametrize(
    "authorization", [None, b"", b"Bearer wrong", b"Bearer ", b"right", b"bearer right", b"Bearer right ", b"Bearer \xff"]
)
async def test_wrong_secret_opens_nothing(door: Door, behind: Behind, authorization: bytes | None) -> None:
    for path in PATHS:
        start, body = await knock(door, path, authorization)
        error = json.loads(body["body"])["error"]
        assert (start["status"], error["code"], error["type"]) == (401, "unauthorized", "invalid_request_error")
        assert dict(start["headers"])[b"content-length"] == b"%d" % len(body["body"])
    assert (behind.paths, door.ongoing) == ([], 0)


async def test_right_secret_opens_everything(door: Door, behind: Behind) -> None:
    for path in PATHS:
        assert (await knock(door, path, b"Bearer right"))[0]["status"] == 204
    assert behind.paths == PATHS


async def test_prometheus_needs_no_secret_and_is_not_counted(door: Door, behind: Behind) -> None:
    behind.open.clear()
    scrape = asyncio.create_task(knock(door, "/metrics"))
    await behind.entered.wait()
    assert door.ongoing == 0
    behind.open.set()
    assert (await scrape)[0]["status"] == 204


async def test_who_is_inside_is_counted(door: Door, behind: Behind) -> None:
    behind.open.clear()
    guests = [asyncio.create_task(knock(door, "/v1/completions", b"Bearer right")) for _ in range(3)]
    await behind.entered.wait()
    assert door.ongoing == 3
    behind.open.set()
    await asyncio.gather(*guests)
    assert door.ongoing == 0


async def test_a_canary_is_nobodys_load_and_needs_the_secret_too(door: Door, behind: Behind) -> None:
    assert (await knock(door, "/v1/completions", b"Bearer wrong", (UNCOUNTED, b"1")))[0]["status"] == 401
    behind.open.clear()
    canary = asyncio.create_task(knock(door, "/v1/completions", b"Bearer right", (UNCOUNTED, b"1")))
    await behind.entered.wait()
    assert door.ongoing == 0
    behind.open.set()
    assert (await canary)[0]["status"] == 204


async def test_who_falls_or_is_thrown_out_is_not_counted_on(door: Door, behind: Behind) -> None:
    behind.error = RuntimeError("the engine is dead")
    with pytest.raises(RuntimeError, match="the engine is dead"):
        await knock(door, "/v1/completions", b"Bearer right")
    behind.open.clear()
    guest = asyncio.create_task(knock(door, "/v1/completions", b"Bearer right"))
    await asyncio.sleep(0)
    assert door.ongoing == 1
    guest.cancel()
    with pytest.raises(asyncio.CancelledError):
        await guest
    assert door.ongoing == 0


async def test_a_gateway_asks_how_the_replica_is(door: Door, behind: Behind) -> None:
    sent = await knock(door, "/-/load", b"Bearer right")
    assert (sent[0]["status"], json.loads(sent[1]["body"])) == (200, NEW)
    assert behind.paths == []
    assert door.ongoing == 0


async def load(door: Door, after: int = 0) -> dict[str, Any]:
    _, body = await knock(door, "/-/load", b"Bearer right", query=load_query.written(LoadQuery(after)))
    said: dict[str, Any] = json.loads(body["body"])
    return said


async def test_gateways_hear_what_prompts_came_and_what_of_them_is_to_compute(door: Door, behind: Behind) -> None:
    behind.open.clear()
    guest = asyncio.create_task(knock(door, "/v1/completions", b"Bearer right", TOLD))
    await behind.entered.wait()
    known = NEW | {"prefill_tokens": 700, "last": 1}
    assert await load(door) == known | {"prompts": [TOLD[1].decode()]}
    assert await load(door, after=1) == known
    behind.body = b"first"
    behind.open.set()
    await behind.said.wait()
    assert (await load(door, after=1))["prefill_tokens"] == 0, "its first token is there, its end is not"
    behind.ended.set()
    await guest
    assert (await load(door, after=1))["prefill_tokens"] == 0


async def test_a_prompt_that_nobody_wants_any_more_is_not_to_compute(door: Door, behind: Behind) -> None:
    behind.error = RuntimeError("the engine is dead")
    with pytest.raises(RuntimeError, match="the engine is dead"):
        await knock(door, "/v1/completions", b"Bearer right", TOLD)
    assert (await load(door))["prefill_tokens"] == 0


@contextlib.asynccontextmanager
async def followed(door: Door, query: LoadQuery) -> AsyncIterator["asyncio.Queue[dict[str, Any]]"]:
    """The messages of a stream of reports; afterwards its gateway hangs up, and the stream ends."""
    messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    received: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    received.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    scope = {"type": "http", "path": "/-/load", "headers": [(b"authorization", b"Bearer right")]}
    asked = scope | {"query_string": load_query.written(query)}
    stream = asyncio.create_task(door(asked, received.get, messages.put))
    async with asyncio.timeout(10):
        start = await messages.get()
        assert (start["status"], dict(start["headers"])) == (200, {b"content-type": b"application/x-ndjson"}), "of no length"
        yield messages
        received.put_nowait({"type": "http.disconnect"})
        await stream


async def line(messages: "asyncio.Queue[dict[str, Any]]") -> dict[str, Any]:
    """The next line that says something."""
    while (body := (await messages.get())["body"]) == b"\n":
        pass
    said: dict[str, Any] = json.loads(body)
    return said


FAST = LoadQuery(every_s=0.02, quiet_s=0.06)


async def test_stream_begins_with_everything_and_goes_on_with_what_is_new(behind: Behind) -> None:
    known: dict[str, Any] = {"state": "ready", "ongoing": 0, "ready_s": 100.0}
    readings = itertools.count(1)

    async def reads() -> dict[str, Any]:
        return known | {"number": next(readings)}

    door = Door(behind, SecretStr("right"), reads)
    async with followed(door, FAST) as messages:
        said = [await line(messages)]
        assert said[-1] == NEW | known | {"number": 1}
        known |= {"state": "sick", "ready_s": 101.0}
        said.append(await line(messages))
        assert said[-1] == {"state": "sick", "ready_s": 101.0, "number": said[-1]["number"]}
        known["ready_s"] = 102.0  # its age is not news
        await knock(door, "/v1/completions", b"Bearer right", TOLD)
        said.append(await line(messages))
        assert (said[-1]["last"], said[-1]["prompts"], said[-1]["prefill_tokens"]) == (1, [TOLD[1].decode()], 0)
        await knock(door, "/v1/completions", b"Bearer right")
        said.append(await line(messages))
        assert said[-1].keys() == {"number"}, "a request that came and went between two readings is news"
        await knock(door, "/-/load", b"Bearer right", query=load_query.written(LoadQuery(poison=f"{'a' * 32}.60")))
        said.append(await line(messages))
        digest, _, left_s = said[-1]["poison"].partition(".")
        assert digest == "a" * 32
        assert 30 < int(left_s) < 60
        assert all(one["number"] < other["number"] for one, other in itertools.pairwise(said))


async def test_who_begins_to_follow_hears_the_number_of_a_reading_of_now(behind: Behind) -> None:
    """Ray may have told it a later one than that in which something last changed."""
    readings = itertools.count(1)

    async def reads() -> dict[str, Any]:
        return {"state": "ready", "number": next(readings)}

    door = Door(behind, SecretStr("right"), reads)
    for _ in range(3):
        await load(door)
    told = next(readings)  # by Ray
    async with followed(door, FAST) as messages:
        assert (await line(messages))["number"] > told


async def test_idle_replica_speaks_seldom_and_one_with_requests_at_every_tick(behind: Behind) -> None:
    ongoing, readings = 0, 0

    async def reads() -> dict[str, Any]:
        nonlocal readings
        readings += 1
        return {"state": "ready", "ongoing": ongoing}

    door = Door(behind, SecretStr("right"), reads)

    async with followed(door, LoadQuery(every_s=0.02, quiet_s=1.0)) as messages:
        await line(messages)
        await asyncio.sleep(0.5)
        assert messages.qsize() <= 2
        assert (await messages.get())["body"] == b"\n"
        ongoing = 1
        assert (await line(messages))["ongoing"] == 1
        # Twenty of the seldom words would take longer than these messages are waited for.
        assert {(await messages.get())["body"] for _ in range(20)} == {b"\n"}


async def test_many_gateways_share_one_reading_and_one_line(behind: Behind) -> None:
    readings = 0

    async def reads() -> dict[str, Any]:
        nonlocal readings
        readings += 1
        return {"state": "ready", "ongoing": readings}

    door = Door(behind, SecretStr("right"), reads)
    query = LoadQuery(every_s=0.1, quiet_s=1.0)
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(followed(door, query)) for _ in range(8)]
        for messages in streams:
            await line(messages)
        readings = 0
        bodies = [[(await messages.get())["body"] for _ in range(5)] for messages in streams]
        assert readings <= 10, "40 lines"
        assert len({id(body) for said in bodies for body in said}) <= 10


async def test_streams_end_when_the_replica_lets_go_of_them(door: Door) -> None:
    async with followed(door, FAST) as messages:
        await line(messages)
        door.end_reports()
        while (last := await messages.get()).get("more_body"):
            pass
        assert last == {"type": "http.response.body", "body": b""}

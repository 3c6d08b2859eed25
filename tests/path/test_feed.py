"""The load feed over real sockets: what replicas report is what a gateway routes by, and silence has consequences."""

import asyncio
import contextlib
import itertools
import json
import socket
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from deployments.engine.front_door import Door, Receive, Scope, Send
from deployments.gateway.replicas.load_feed import Feed
from deployments.gateway.replicas.report_stream import ANSWER_PERIODS
from deployments.gateway.replicas.roster import Roster
from deployments.policy.request.poison import Poison
from deployments.policy.request.prompt_blocks import in_blocks
from deployments.policy.routing.prompt_gossip import Sent, written
from deployments.policy.routing.replica_report import GIVEN_UP_AFTER
from deployments.policy.routing.types import Ask, ReplicaState, ReplicaView, Trust
from deployments.wire.asgi_server import Server
from deployments.wire.engine.client import Engines
from deployments.wire.sockets import listen
from deployments.wire.types import Address
from tests.path.fake_engine import FakeEngine, Wire, answers, fake_engine, then_breaks, then_hangs
from tests.path.herd import LLAMA, until
from tests.wire_format import chunk

pytestmark = pytest.mark.asyncio(loop_scope="session")

PERIOD_S = 0.02


def view(engine: FakeEngine) -> ReplicaView:
    return ReplicaView(f"replica-{engine.port}", LLAMA, "127.0.0.1", engine.port, ReplicaState.READY, 0)


def reporting(engine: FakeEngine, **more: Any) -> Callable[[Wire], Awaitable[None]]:
    known = {"id": f"replica-{engine.port}", "model": LLAMA, "host": "127.0.0.1", "port": engine.port, "state": "ready", "ongoing": 1}
    return answers(200, known | more)


@contextlib.asynccontextmanager
async def fed(*engines: FakeEngine) -> AsyncIterator[Roster]:
    roster, upstream = Roster([LLAMA]), Engines("secret")
    roster.update(LLAMA, [view(engine) for engine in engines])
    feed = Feed(roster, upstream, "own", PERIOD_S)
    try:
        yield roster
        assert feed.alive
    finally:
        await feed.stop()
        upstream.close()


def seen(roster: Roster, engine: FakeEngine) -> ReplicaView:
    return next(one for one in roster.replicas(LLAMA) if one.port == engine.port)


async def test_what_a_replica_reports_is_what_is_known(engine: FakeEngine) -> None:
    engine.script = reporting(engine, running=5, waiting=2, kv_usage=0.75)
    async with fed(engine) as roster:
        await until(lambda: seen(roster, engine).running == 5)
        assert (seen(roster, engine).waiting, seen(roster, engine).kv_usage) == (2, 0.75)
        asked = engine.requests[0]
        assert (asked.method, asked.path, asked.headers["authorization"]) == (
            "GET",
            f"/-/load?after=0&every={PERIOD_S}&quiet=1",
            "Bearer secret",
        )
        engine.script = reporting(engine, state="dead")
        await until(lambda: seen(roster, engine).state is ReplicaState.DEAD)
    assert {one.connection for one in engine.requests} == {1}


async def test_what_other_gateways_have_sent_is_learned_once_and_ones_own_is_known(engine: FakeEngine) -> None:
    prompts = {by: in_blocks(by.encode() * 4096) for by in ("own", "other")}
    told = [written(Sent(by, 1, prompt)).decode() for by, prompt in prompts.items()]
    async with fake_engine() as idle:
        engine.script, idle.script = reporting(engine, last=2, prompts=[*told, "nonsense", 7]), reporting(idle)
        async with fed(engine, idle) as roster:
            await until(lambda: seen(roster, engine).ongoing == 1 and any("after=2" in one.path for one in engine.requests))
            hits = {}
            for by, prompt in prompts.items():
                pick = roster.choose(LLAMA, Ask(prompt))
                assert pick is not None
                hits[by] = pick.replica.port, pick.hit_tokens
    assert hits["other"] == (engine.port, prompts["other"].tokens)
    assert hits["own"][1] == 0


async def test_a_replica_that_is_gone_is_doubted_then_given_up_and_holds_up_nobody(engine: FakeEngine) -> None:
    engine.script = then_breaks(head=False)
    async with fake_engine() as other:
        other.script = reporting(other, running=1)
        async with fed(engine, other) as roster:
            await until(lambda: seen(roster, engine).trust is Trust.AVOIDED)
            await until(lambda: seen(roster, engine).state is ReplicaState.DEAD)
            roster.update(LLAMA, [view(engine), view(other)])
            assert seen(roster, engine).state is ReplicaState.DEAD, "that Ray reaches it is not enough"
            assert seen(roster, other).trust is Trust.TRUSTED


async def test_a_replica_that_is_too_busy_to_answer_is_avoided_and_not_given_up(engine: FakeEngine) -> None:
    engine.script = then_hangs(head=False)
    async with fake_engine() as other:
        other.script = reporting(other, running=1)
        async with fed(engine, other) as roster:
            await until(lambda: seen(roster, engine).trust is Trust.AVOIDED)
            await asyncio.sleep((GIVEN_UP_AFTER + ANSWER_PERIODS) * PERIOD_S)
            assert (seen(roster, engine).state, seen(roster, engine).trust) == (ReplicaState.READY, Trust.AVOIDED)
            await until(lambda: seen(roster, other).trust is Trust.TRUSTED)  # where the test itself stood still, both were silent
            picked = roster.choose(LLAMA)
            assert picked is not None
            assert picked.replica.port == other.port
            roster.update(LLAMA, [view(engine)])
            alone = roster.choose(LLAMA)
            assert alone is not None
            assert alone.replica.port == engine.port, "the only one is better than none"
            engine.script = reporting(engine, running=1)
            await until(lambda: seen(roster, engine).trust is Trust.TRUSTED)


async def test_a_machine_that_takes_no_connection_is_given_up(engine: FakeEngine) -> None:
    """A listener whose queue is full answers no new connection, as a machine that is lost."""
    with socket.socket() as lost:
        lost.bind(("127.0.0.1", 0))
        lost.listen(0)
        port = lost.getsockname()[1]
        with contextlib.ExitStack() as queued:
            for _ in range(4):
                one = queued.enter_context(socket.socket())
                one.setblocking(False)
                one.connect_ex(("127.0.0.1", port))
            roster, upstream = Roster([LLAMA]), Engines("secret")
            roster.update(LLAMA, [ReplicaView("lost", LLAMA, "127.0.0.1", port, ReplicaState.READY, 0)])
            feed = Feed(roster, upstream, "own", PERIOD_S)
            await until(lambda: roster.replicas(LLAMA)[0].state is ReplicaState.DEAD)
            await feed.stop()
            upstream.close()


@pytest.mark.parametrize("body", [b"not json", b"[]", b"{}", b'{"state": "ready"}', b'{"state": "odd"}'])
async def test_nonsense_is_silence_and_forgiven(engine: FakeEngine, body: bytes) -> None:
    engine.script = answers(200, body)
    async with fed(engine) as roster:
        await until(lambda: seen(roster, engine).trust is not Trust.TRUSTED)
        engine.script = reporting(engine, running=1)
        await until(lambda: seen(roster, engine).trust is Trust.TRUSTED)


async def test_replicas_that_come_and_go(engine: FakeEngine) -> None:
    engine.script = reporting(engine)
    async with fake_engine() as other, fed(engine) as roster:
        other.script = reporting(other, running=9)
        await engine.asked()
        roster.update(LLAMA, [view(other)])
        await until(lambda: seen(roster, other).running == 9)
        before = len(engine.requests)
        await asyncio.sleep(5 * PERIOD_S)
        assert len(engine.requests) <= before + 1
        assert roster.replicas(LLAMA) == (seen(roster, other),), "who has gone is not taken in by a late report"


class Replica:
    """A replica with production's door, behind production's server."""

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {"state": "ready", "ongoing": 0, "ready_s": 100.0}
        self.readings = 0
        self.read_at: list[float] = []
        self.held = asyncio.Event()
        """While it is not set, the replica is too busy to read itself."""
        self.held.set()
        self.listener = listen("127.0.0.1", 0)
        self.port: int = self.listener.getsockname()[1]
        self.door = Door(_nothing, SecretStr("secret"), self._report)
        self.server = Server(self.door, self.listener, "httptools", 1.0)

    async def _report(self) -> dict[str, Any]:
        self.readings += 1
        self.read_at.append(time.monotonic())
        await self.held.wait()
        return {"id": f"replica-{self.port}", "model": LLAMA, "host": "127.0.0.1", "port": self.port, "number": self.readings} | self.fields

    async def stop(self) -> None:
        self.held.set()
        self.door.end_reports()
        await self.server.stop()


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("nobody asks for more than reports")


@contextlib.asynccontextmanager
async def replica() -> AsyncIterator[Replica]:
    one = Replica()
    try:
        yield one
    finally:
        await one.stop()


@contextlib.asynccontextmanager
async def following(*replicas: Replica, period_s: float = 0.05, **more: Any) -> AsyncIterator[tuple[Roster, Feed]]:
    """A feed of these replicas, each of which has been heard of."""
    roster, upstream = Roster([LLAMA]), Engines("secret")
    views = [ReplicaView(f"replica-{one.port}", LLAMA, "127.0.0.1", one.port, ReplicaState.READY, 0) for one in replicas]
    roster.update(LLAMA, views)
    feed = Feed(roster, upstream, "own", period_s, **more)
    try:
        await until(lambda: all(view.ready_s == 100 for view in roster.replicas(LLAMA)))
        yield roster, feed
        assert feed.alive
    finally:
        await feed.stop()
        upstream.close()


async def test_replica_that_only_says_that_nothing_has_changed_is_trusted() -> None:
    async with replica() as one, following(one, period_s=0.5) as (roster, _):
        before = roster.replicas(LLAMA)
        await asyncio.sleep(1.5)
        assert roster.replicas(LLAMA) is before, "the roster is not told that nothing has changed"
        one.fields["ongoing"] = 5
        await until(lambda: roster.replicas(LLAMA)[0].ongoing == 5)
        one.fields["state"] = "sick"
        await until(lambda: roster.replicas(LLAMA)[0].state is ReplicaState.SICK)


async def test_replica_that_a_request_has_made_suspect_is_asked_at_once_how_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.policy.routing.report_stream.HEARTBEAT_S", 3600.0)  # none comes in between
    async with replica() as one, following(one) as (roster, _):
        roster.suspect(roster.replicas(LLAMA)[0])
        await until(lambda: roster.ready(LLAMA) == 1)


async def test_replica_that_is_held_up_is_doubted_and_trusted_when_it_speaks_again() -> None:
    async with replica() as one, following(one) as (roster, _):
        one.fields["ongoing"] = 1
        await until(lambda: roster.replicas(LLAMA)[0].ongoing == 1)
        one.held.clear()
        await until(lambda: roster.replicas(LLAMA)[0].trust is Trust.SUSPECTED)
        roster.update(LLAMA, [replace(view, number=view.number + 1000) for view in roster.replicas(LLAMA)])  # Ray has heard of it since
        one.held.set()  # nothing has changed meanwhile
        await until(lambda: roster.replicas(LLAMA)[0].trust is Trust.TRUSTED)
        one.held.clear()
        await until(lambda: roster.replicas(LLAMA)[0].trust is Trust.AVOIDED)
        await asyncio.sleep(GIVEN_UP_AFTER * 0.05 + 0.5)
        assert roster.ready(LLAMA) == 1, "its machine takes connections"
        one.held.set()
        await until(lambda: roster.replicas(LLAMA)[0].trust is Trust.TRUSTED)


async def test_gateway_that_was_held_up_itself_gives_nobody_up_before_it_has_asked() -> None:
    """Where a machine has much else to do, gateway and replica stand still together, and the gateway may be the first to go on."""
    async with replica() as one, following(one, period_s=0.02) as (roster, _):
        one.fields["ongoing"] = 1
        await until(lambda: roster.replicas(LLAMA)[0].ongoing == 1)
        seen_as = set[tuple[ReplicaState, Trust]]()
        roster.listen(lambda model: seen_as.update((view.state, view.trust) for view in roster.replicas(model)))
        time.sleep(2 * GIVEN_UP_AFTER * 0.02)  # noqa: ASYNC251 (another process has the processor)
        await until(lambda: any(trust is not Trust.TRUSTED for _, trust in seen_as) and roster.replicas(LLAMA)[0].trust is Trust.TRUSTED)
        assert {state for state, _ in seen_as} == {ReplicaState.READY}


async def test_process_that_ends_is_out_at_once_and_its_model_is_looked_for() -> None:
    open_now: list[asyncio.StreamWriter] = []

    async def streams(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        said = json.dumps({"id": "a", "model": LLAMA, "host": "127.0.0.1", "port": port, "state": "ready", "ongoing": 0, "ready_s": 100})
        writer.write(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(said[:20].encode()) + chunk(said[20:].encode() + b"\n\n")
        )
        open_now.append(writer)

    server = await asyncio.start_server(streams, "127.0.0.1", 0)
    port: int = server.sockets[0].getsockname()[1]
    roster, upstream, broken = Roster([LLAMA]), Engines("secret"), list[str]()
    roster.update(LLAMA, [ReplicaView("a", LLAMA, "127.0.0.1", port, ReplicaState.READY, 0)])
    feed = Feed(roster, upstream, "own", 1.0)
    feed.listen(broken.append)
    try:
        await until(lambda: roster.replicas(LLAMA)[0].ready_s == 100)
        server.close()
        for writer in open_now:
            writer.transport.abort()
        began = asyncio.get_running_loop().time()
        await until(lambda: roster.replicas(LLAMA)[0].state is ReplicaState.DEAD)
        assert asyncio.get_running_loop().time() - began < GIVEN_UP_AFTER, "before its silence would tell"
        assert set(broken) == {LLAMA}
    finally:
        await feed.stop()
        upstream.close()


async def apart_s(one: Replica) -> float:
    """How far a replica's readings are apart in the middle, whatever holds the machine up once or twice."""
    del one.read_at[:]
    await until(lambda: len(one.read_at) > 8)
    return statistics.median(after - before for before, after in itertools.pairwise(one.read_at))


async def test_pace_of_every_stream_follows_the_number_of_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployments.policy.routing.report_stream.MOST_PER_S", 10)
    async with replica() as one, replica() as other, following(one) as (roster, _):
        one.fields["ongoing"] = other.fields["ongoing"] = 1
        await until(lambda: roster.replicas(LLAMA)[0].ongoing == 1)
        assert 0.05 < await apart_s(one) < 0.15
        views = [ReplicaView(f"replica-{each.port}", LLAMA, "127.0.0.1", each.port, ReplicaState.READY, 0) for each in (one, other)]
        roster.update(LLAMA, views)
        await until(lambda: all(seen.ongoing for seen in roster.replicas(LLAMA)))
        assert 0.15 < await apart_s(one) < 0.3


async def test_replicas_are_told_which_requests_are_refused_as_soon_as_one_is() -> None:
    refused = Poison()
    async with replica() as one, following(one, refused=refused):
        refused.learn({"a" * 32: 60}, asyncio.get_running_loop().time())
        asked = Engines("secret")

        async def condemned() -> bool:
            answer = await asked.exchange(Address("127.0.0.1", one.port), b"GET", b"/-/load", (), b"")
            told = b"a" * 32 in await answer.read()
            answer.close()
            return told

        async with asyncio.timeout(10):
            while not await condemned():  # noqa: ASYNC110 (a memory sets no event)
                await asyncio.sleep(0.05)
        asked.close()

"""The load feed over real sockets: what replicas report is what a gateway routes by, and silence has consequences."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from deployments.gateway.replicas.load_feed import Feed
from deployments.gateway.replicas.report_stream import ANSWER_PERIODS
from deployments.gateway.replicas.roster import Roster
from deployments.policy.request.prompt_blocks import in_blocks
from deployments.policy.routing.prompt_gossip import Sent, written
from deployments.policy.routing.replica_report import GIVEN_UP_AFTER
from deployments.policy.routing.types import Ask, ReplicaState, ReplicaView, Trust
from deployments.wire.engine.client import Engines
from tests.path.fake_engine import FakeEngine, Wire, answers, fake_engine, then_breaks, then_hangs
from tests.path.herd import LLAMA, until

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


async def test_every_replica_is_told_how_many_wait_for_its_model(engine: FakeEngine) -> None:
    line = {LLAMA: 3}
    async with fake_engine() as other:
        engine.script, other.script = reporting(engine), reporting(other)
        roster, upstream = Roster([LLAMA]), Engines("secret")
        roster.update(LLAMA, [view(engine), view(other)])
        feed = Feed(roster, upstream, "own", PERIOD_S, waiting=lambda model: line[model])
        for one in (engine, other):
            await until(lambda one=one: any("waiting=own.3" in asked.path for asked in one.requests))  # type: ignore[misc]
        line[LLAMA] = 0
        await until(lambda: "waiting=own.0" in engine.requests[-1].path)
        await feed.stop()
        upstream.close()


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

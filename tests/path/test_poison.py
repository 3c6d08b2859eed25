"""Requests under which engines die: one more engine is asked, and then none, here and at other gateways."""

import asyncio
import json
import threading
import time
from typing import Any

import pytest
from msgspec.structs import replace
from pydantic import SecretStr

from deployments.engine.front_door import Door
from deployments.gateway.replicas.load_feed import Feed
from deployments.policy.request.poison import Death, Poison, digest_of
from deployments.policy.routing.replica_report import view_of
from deployments.policy.routing.types import ReplicaState, Trust
from deployments.wire.asgi_server import Server
from deployments.wire.engine.client import Engines
from deployments.wire.sockets import listen
from tests.path.begun import WHOLE, answer, breaking
from tests.path.conftest import Start
from tests.path.fake_engine import WAIT_S, FakeEngine, Script, Wire, answers, fake_engine, streams, then_breaks
from tests.path.herd import CHAT, LLAMA, SCOUT, SECRET, Herd, asking, until
from tests.path.test_choice import declares
from tests.wire_format import vllm_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

DEATHS: dict[str, Script] = {
    "broken connection": then_breaks(head=False),
    "broken after the head": then_breaks(),
    "told by vLLM": answers(500, vllm_error(500, "EngineCore encountered an issue. See stack trace (above) for the root cause.")),
    "told by the replica": answers(500, {"error": {"message": "gone", "type": "EngineDeadError", "param": None, "code": 500}}),
}


@pytest.mark.parametrize("death", DEATHS.values(), ids=DEATHS)
@pytest.mark.parametrize("stream", [False, True])
async def test_request_that_kills_engines_is_asked_of_two_and_then_of_none(
    herd: Herd, engine: FakeEngine, death: Script, stream: bool
) -> None:
    async with fake_engine() as second, fake_engine() as third:
        engines = (engine, second, third)
        herd.has(*engines)
        for one in engines:
            one.script = death
        got = await herd.chat(stream=stream, seed=1)
        assert (got.status_code, got.json()["error"]["code"]) == (400, "request_kills_engines")
        assert [herd.state(one) for one in engines].count(ReplicaState.DEAD) == 2
        herd.has(*engines)  # the dead ones are back
        again = await herd.chat(stream=stream, seed=1)
        assert (again.status_code, again.json()["error"]["code"]) == (400, "request_kills_engines")
        assert sum(len(one.requests) for one in engines) == 2
        for one in engines:
            one.script = answers(200, {"id": "1"})
        assert (await herd.chat(stream=False, seed=2)).status_code == 200, "another request is served"


async def test_engine_that_was_not_reached_says_nothing_against_a_request(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(attempts=3)
    async with fake_engine() as gone, fake_engine() as gone_too:
        pass
    herd.has(gone, gone_too)
    got = await herd.chat()
    assert (got.status_code, got.json()["error"]["code"]) == (503, "engine_gone")
    herd.has(engine)
    assert (await herd.chat()).status_code == 200


async def test_innocent_request_that_lost_an_engine_is_served_by_the_next_and_may_lose_others_later(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as second, fake_engine() as third:
        herd.has(engine, second, third)
        for _ in range(2):
            scripts = [then_breaks(head=False), answers(200, {"id": "1"})]

            async def script(wire: Wire, scripts: list[Script] = scripts) -> None:
                await scripts.pop(0)(wire)

            engine.script = second.script = third.script = script
            assert (await herd.chat()).status_code == 200
            herd.has(engine, second, third)
        scripts[:] = [then_breaks(head=False), then_breaks(head=False), answers(200, {"id": "1"})]
        assert (await herd.chat()).status_code == 200, "an engine has answered it before, so it is no engine's end"


async def test_two_suspects_at_the_replica_that_dies_are_told_to_come_again(herd: Herd, engine: FakeEngine) -> None:
    """It cannot be known which of them it dies of, so neither is refused for good."""
    both, second_is_there = asyncio.Barrier(2), asyncio.Event()

    async def dies_when_another_can_be_asked(wire: Wire) -> None:
        await second_is_there.wait()
        wire.writer.close()

    async def dies_under_both(wire: Wire) -> None:
        async with asyncio.timeout(WAIT_S):
            await both.wait()
        wire.writer.close()

    async with fake_engine() as second, fake_engine() as third:
        engine.script, second.script = dies_when_another_can_be_asked, dies_under_both
        herd.has(engine)
        first = [asyncio.create_task(herd.chat(seed=seed)) for seed in (1, 2)]
        await until(lambda: len(engine.requests) == 2)
        herd.has(engine, second)
        second_is_there.set()
        got = await asyncio.gather(*first)
        assert [(one.status_code, one.json()["error"]["code"]) for one in got] == [(503, "engine_gone")] * 2
        third.script = answers(200, {"id": "1"})
        herd.has(third)
        assert (await herd.chat(seed=1)).status_code == 200
        third.script = then_breaks(head=False)
        assert (await herd.chat(seed=2)).json()["error"]["code"] == "request_kills_engines"


async def test_identical_requests_whose_replicas_die_together_are_both_answered_elsewhere(herd: Herd, engine: FakeEngine) -> None:
    """Neither was on trial: one node that goes takes many of a probe's requests with it."""
    third_is_there = asyncio.Event()

    async def script(wire: Wire) -> None:
        await third_is_there.wait()
        wire.writer.close()

    async with fake_engine() as second, fake_engine() as third:
        engine.script = second.script = script
        third.script = answers(200, {"id": "1"})
        herd.has(engine)
        one = asyncio.create_task(herd.chat())
        await engine.asked()
        herd.has(second)
        other = asyncio.create_task(herd.chat())
        await second.asked()
        herd.has(third)
        third_is_there.set()
        assert [got.status_code for got in await asyncio.gather(one, other)] == [200, 200]
        assert (await herd.chat()).status_code == 200


async def test_suspect_whose_replica_dies_of_a_request_that_just_came_is_told_to_come_again(herd: Herd, engine: FakeEngine) -> None:
    """The one that came is no suspect yet, and it may be what the replica died of."""
    both = asyncio.Barrier(2)

    async def script(wire: Wire) -> None:
        async with asyncio.timeout(5):
            await both.wait()
        wire.writer.close()

    engine.script = then_breaks(head=False)
    async with fake_engine() as second, fake_engine() as third:
        second.script = script
        third.script = answers(200, {"id": "1"})
        herd.has(engine)
        assert (await herd.chat(seed=1)).status_code == 503
        herd.has(second)
        suspect = asyncio.create_task(herd.chat(seed=1))
        await second.asked()
        killer = asyncio.create_task(herd.chat(seed=2))
        await until(lambda: len(second.requests) == 2)
        got = [(await one).json()["error"]["code"] for one in (suspect, killer)]
        assert got == ["engine_gone", "engine_gone"]
        herd.has(third)
        assert (await herd.chat(seed=1)).status_code == 200


def busy(herd: Herd, engines: tuple[FakeEngine, ...], model: str = LLAMA, **said: Any) -> None:
    """These are the replicas, and each has reported a request of another gateway's."""
    herd.has(*engines, model=model)
    herd.roster.update(model, [replace(view, **{"ongoing": 1, **said}) for view in herd.roster.replicas(model)])


@pytest.mark.parametrize("said", [{}, {"ongoing": 0, "trust": Trust.SUSPECTED}], ids=["busy", "silent"])
async def test_killer_in_company_ends_two_engines_and_then_one_and_then_none(herd: Herd, engine: FakeEngine, said: dict[str, Any]) -> None:
    """Of another gateway's request, or of what a silent replica has, it is not known whether the replica died of it."""
    async with fake_engine() as second, fake_engine() as third:
        engines = (engine, second, third)
        engine.script = second.script = third.script = then_breaks(head=False)
        codes = []
        for _ in range(3):
            busy(herd, tuple(one for one in engines if not one.requests), **said)
            codes.append((await herd.chat()).json()["error"]["code"])
            codes.append(str(sum(len(one.requests) for one in engines)))
        assert codes == ["engine_gone", "2", "request_kills_engines", "3", "request_kills_engines", "3"]


@pytest.mark.parametrize("replicas", [1, 2])
async def test_request_under_which_two_engines_died_is_given_to_no_fallback(herd: Herd, engine: FakeEngine, replicas: int) -> None:
    declares(herd, SCOUT)
    async with fake_engine() as second, fake_engine() as scout, fake_engine() as other_scout:
        engines = (engine, second, scout, other_scout)
        for one in engines:
            one.script = then_breaks(head=False)
        busy(herd, engines[:replicas])
        busy(herd, engines[2:], SCOUT)
        got = await herd.chat()
        assert (got.status_code, got.json()["error"]["code"]) == (503, "engine_gone")
        assert sum(len(one.requests) for one in engines) == 2


async def test_body_is_hashed_only_after_a_death_and_in_a_thread_where_it_is_large(
    herd: Herd, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[tuple[int, bool]] = []

    def seen(path: str, body: bytes) -> str:
        hashed.append((len(body) >> 20, threading.current_thread() is threading.main_thread()))
        return digest_of(path, body)

    monkeypatch.setattr("deployments.gateway.suspicion.digest_of", seen)
    engine.script = answers(200, {"id": "1"})
    large = json.dumps(asking()).encode() + b" " * (1 << 20)
    assert (await herd.chat()).status_code == 200
    assert hashed == []
    engine.script = then_breaks(head=False)
    assert (await herd.http.post(CHAT, content=large)).status_code == 503
    engine.script = answers(200, {"id": "1"})
    herd.has(engine)
    assert (await herd.chat()).status_code == 200
    assert hashed == [(1, False), (0, True)]


async def test_stream_that_got_further_is_no_suspect(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as second, fake_engine() as third:
        scripts = [breaking(2), then_breaks(head=False), streams(answer(created=3))]
        herd.has(engine, second, third)

        async def script(wire: Any) -> None:
            await scripts.pop(0)(wire)

        engine.script = second.script = third.script = script
        assert (await herd.chat(stream=True)).content == WHOLE


async def test_other_gateways_hear_of_it_from_the_replicas(herd: Herd, engine: FakeEngine) -> None:
    """A gateway's question carries what it refuses, and a replica's report hands it on."""
    refused, other = Poison(), Poison()
    digest = digest_of("/v1/chat/completions", b"{}")
    for replica in ("1", "2"):
        now_s = time.monotonic()
        refused.died(digest, Death(replica, now_s, now_s, alone=True))

    async def report() -> dict[str, Any]:
        return {"id": "r", "model": LLAMA, "host": "127.0.0.1", "port": port, "state": "ready", "ongoing": 0}

    async def app(*_: Any) -> None:
        raise AssertionError("no request comes this far")

    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    door = Server(Door(app, SecretStr(SECRET), report), listener, "httptools", stop_s=1)
    herd.roster.update(LLAMA, [view_of(await report())])
    engines = Engines(SECRET)
    feeds = [Feed(herd.roster, engines, name, 0.02, memory) for name, memory in (("one", refused), ("two", other))]
    try:
        await until(lambda: other.is_condemned(digest, time.monotonic()))
    finally:
        for feed in feeds:
            await feed.stop()
        engines.close()
        await door.stop()

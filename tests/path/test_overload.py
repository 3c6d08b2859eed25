"""More requests than replicas can run: they wait, in order and within bounds, and what is refused is refused politely."""

import asyncio
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from configs.scaling import Slo
from deployments.policy.queue import slots as queue_slots
from tests.path.begun import WHOLE, answer, breaking
from tests.path.conftest import Start
from tests.path.fake_engine import FakeEngine, Wire, answers, fake_engine, streams, then_hangs
from tests.path.herd import CHAT, LLAMA, Herd, asking, until
from tests.path.wire import connected, request
from tests.wire_format import LAST

pytestmark = pytest.mark.asyncio(loop_scope="session")


class Gate:
    """Holds every request until it is let go, and knows in which order they came."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.most = self.inside = 0
        self._turns = asyncio.Semaphore(0)

    async def __call__(self, wire: Wire) -> None:
        self.names.append(wire.received.json["messages"][0]["content"])
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self._turns.acquire()
        self.inside -= 1
        await answers(200, {"id": "1"})(wire)

    def let_go(self, count: int = 1) -> None:
        for _ in range(count):
            self._turns.release()


def slots(herd: Herd, count: int, **more: Any) -> None:
    """Each replica now says how many requests it runs at once."""
    herd.roster.update(LLAMA, [replace(view, slots=count, **more) for view in herd.roster.replicas(LLAMA)])


def asks(herd: Herd, name: str, **headers: str) -> "asyncio.Task[httpx.Response]":
    body = asking() | {"messages": [{"role": "user", "content": name}]}
    return asyncio.create_task(herd.http.post(CHAT, json=body, headers={key.replace("_", "-"): value for key, value in headers.items()}))


async def waiting(herd: Herd, count: int) -> None:
    await until(lambda: herd.count("herd_queue_requests", model=LLAMA) == count)


async def test_no_replica_gets_more_than_it_runs_and_all_get_their_turn(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=30)
    engine.script = gate = Gate()
    slots(herd, 3)
    asked = [asks(herd, str(number)) for number in range(10)]
    await waiting(herd, 7)
    await until(lambda: gate.inside == 3)
    gate.let_go(10)
    assert {(await one).status_code for one in asked} == {200}
    assert gate.most == 3
    await waiting(herd, 0)
    assert herd.count("herd_queue_seconds_count", model=LLAMA) == 7


async def test_two_replicas_take_what_they_can(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=30)
    async with fake_engine() as other:
        herd.has(engine, other)
        engine.script, other.script = first, second = Gate(), Gate()
        slots(herd, 2)
        asked = [asks(herd, str(number)) for number in range(6)]
        await waiting(herd, 2)
        await until(lambda: (first.inside, second.inside) == (2, 2))
        first.let_go(6)
        second.let_go(6)
        assert {(await one).status_code for one in asked} == {200}


async def test_who_is_in_a_hurry_goes_before_batches_and_finds_a_place_kept_free(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=30)
    engine.script = gate = Gate()
    slots(herd, 2)
    asked = [asks(herd, "batch 1", x_priority="batch")]
    await until(lambda: gate.inside == 1)
    asked.append(asks(herd, "batch 2", x_priority="batch"))
    await waiting(herd, 1)
    asked.append(asks(herd, "hurry 1"))
    await until(lambda: gate.inside == 2)
    asked.append(asks(herd, "hurry 2"))
    await waiting(herd, 2)
    gate.let_go(4)
    await asyncio.gather(*asked)
    assert gate.names == ["batch 1", "hurry 1", "hurry 2", "batch 2"]
    assert [one.json.get("priority") for one in engine.requests] == [1, None, None, 1]


async def test_request_that_is_in_time_goes_before_one_that_is_too_late(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=30)
    engine.script = gate = Gate()
    slots(herd, 1)
    asked = [asks(herd, "first"), asks(herd, "late")]
    await waiting(herd, 1)
    await asyncio.sleep((1 - queue_slots.LEFT_LEAST) * Slo().ttft_s + 0.1)
    asked.append(asks(herd, "soon"))
    await waiting(herd, 2)
    gate.let_go(3)
    assert {(await one).status_code for one in asked} == {200}
    assert gate.names == ["first", "soon", "late"]


async def test_a_full_line_is_429_at_once(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=30, queue_requests=1)
    engine.script = gate = Gate()
    slots(herd, 1)
    asked = [asks(herd, "a"), asks(herd, "b")]
    await waiting(herd, 1)
    refused = await herd.chat()
    assert (refused.status_code, refused.json()["error"]["code"], refused.headers["retry-after"]) == (429, "overloaded", "1")
    assert herd.ended("overloaded") == 1
    gate.let_go(2)
    await asyncio.gather(*asked)


async def test_who_has_waited_long_enough_is_told(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=0.1)
    engine.script = gate = Gate()
    slots(herd, 1)
    first = asks(herd, "a")
    await until(lambda: gate.inside == 1)
    assert (await herd.chat()).status_code == 429
    await waiting(herd, 0)
    gate.let_go()
    assert (await first).status_code == 200


async def test_who_would_wait_too_long_is_told_at_once_by_how_long_others_stayed(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=0.3)
    engine.script = gate = Gate()
    slots(herd, 1)
    for done in range(2):
        asked = asks(herd, str(done))
        await until(lambda: gate.inside == 1)
        await asyncio.sleep(0.5)
        gate.let_go()
        assert (await asked).status_code == 200
    asked = asks(herd, "a")
    await until(lambda: gate.inside == 1)
    refused = await herd.chat()
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert herd.count("herd_queue_seconds_count", model=LLAMA) == 0, "it was not let into the line"
    gate.let_go()
    assert (await asked).status_code == 200


async def test_who_hangs_up_leaves_the_line(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=30)
    engine.script = gate = Gate()
    slots(herd, 1)
    first = asks(herd, "a")
    await until(lambda: gate.inside == 1)
    async with connected(herd.port) as client:
        await client.send(request(asking()))
        await waiting(herd, 1)
        client.hang_up()
        await waiting(herd, 0)
    gate.let_go()
    assert (await first).status_code == 200
    assert len(engine.requests) == 1


async def test_a_replica_with_full_memory_takes_nothing_until_it_says_otherwise(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=30)
    engine.script = answers(200, {})
    slots(herd, 64, kv_usage=0.99, waiting=3)
    asked = asks(herd, "a")
    await waiting(herd, 1)
    slots(herd, 64, kv_usage=0.5, waiting=0)
    assert (await asked).status_code == 200


async def test_a_broken_stream_waits_for_a_replica_and_others_do_not_wait_for_it(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(resume_s=30)
    engine.script = breaking(3)
    async with fake_engine() as other, connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await client.head()
        await waiting(herd, 1)
        assert (await herd.chat()).status_code == 503, "who has nothing yet is told at once"
        other.script = streams(answer())
        herd.has(other)
        assert b"".join(await client.chunks()) == WHOLE
    assert herd.ended("ok") == 1


async def test_a_broken_stream_waits_longer_than_others_however_long_the_line_is(limited: Start, engine: FakeEngine) -> None:
    """The only engine of a large model takes minutes to be back."""
    herd = await limited(queue_s=0.1, queue_requests=0, resume_s=30)
    engine.script = breaking(3)
    async with fake_engine() as other, connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await client.head()
        await waiting(herd, 1)
        await asyncio.sleep(0.3)
        other.script = streams(answer())
        herd.has(other)
        assert b"".join(await client.chunks()) == WHOLE


async def test_a_broken_stream_goes_on_at_its_only_replica_where_just_the_connection_broke(
    limited: Start, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network between them has cut it: the replica goes on reporting that it is ready."""
    monkeypatch.setattr(queue_slots, "LOST_S", 0.2)
    herd = await limited(resume_s=30)
    engine.queue = [breaking(3)]
    engine.script = streams(answer())
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await client.head()
        reports = asyncio.create_task(reporting(herd, engine))
        try:
            assert b"".join(await client.chunks()) == WHOLE
        finally:
            reports.cancel()
    assert len(engine.requests) == 2
    assert herd.ended("ok") == 1


async def reporting(herd: Herd, engine: FakeEngine) -> None:
    """Has a replica say again and again that it is ready."""
    while True:
        herd.has(engine)
        await asyncio.sleep(0.05)


async def test_a_broken_stream_does_not_wait_for_a_model_that_is_no_longer_served(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(resume_s=30)
    engine.script = breaking(3)
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await client.head()
        await waiting(herd, 1)
        herd.roster.keep([])
        assert b'"code":"engine_gone"' in b"".join(await client.chunks())


async def test_when_all_replicas_go_those_who_wait_are_told(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=30)
    engine.script = gate = Gate()
    slots(herd, 1)
    asked = [asks(herd, "a"), asks(herd, "b")]
    await waiting(herd, 1)
    herd.roster.update(LLAMA, [])
    assert (await asked[1]).status_code == 503
    gate.let_go()
    assert (await asked[0]).status_code == 200


async def test_batch_stream_makes_way_at_once_and_goes_on_later(herd: Herd, engine: FakeEngine) -> None:
    slots(herd, 1)
    engine.queue = [then_hangs(*answer()[:3]), answers(200, {"id": "hurry"}), streams(answer())]
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True), headers=("x-priority: batch",)))
        status, _ = await client.head()
        begun = [await client.chunk() for _ in range(3)]
        assert (await herd.chat()).json() == {"id": "hurry"}
        assert (status, b"".join([*begun, *await client.chunks()])) == (200, WHOLE)
    assert engine.requests[2].json["vllm_xargs"]["herd_tokens"] == [0, 1, 2]
    assert [one.json.get("priority") for one in engine.requests] == [1, None, 1]
    assert herd.count("herd_retries_total", model=LLAMA, kind="made_way") == 1
    assert herd.state(engine).value == "ready", "it did not fail"
    assert herd.ended("ok") == 2


async def test_batch_stream_that_made_way_waits_longer_than_others(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(queue_s=0.1, queue_requests=0)
    slots(herd, 1)
    hurry = Gate()
    engine.queue = [then_hangs(*answer()[:3]), hurry, streams(answer())]
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True), headers=("x-priority: batch",)))
        await client.head()
        await client.chunk()
        herd.apply_limits(queue_requests=1)
        asked = asks(herd, "hurry")
        await until(lambda: hurry.inside == 1)
        await asyncio.sleep(0.3)
        hurry.let_go()
        assert (await asked).status_code == 200
        assert b"".join(await client.chunks()).endswith(LAST)


async def test_what_could_not_go_on_later_keeps_its_place(herd: Herd, engine: FakeEngine) -> None:
    slots(herd, 1)
    engine.script = gate = Gate()
    batch = asks(herd, "batch", x_priority="batch")
    await until(lambda: gate.inside == 1)
    hurry = asks(herd, "hurry")
    await waiting(herd, 1)
    gate.let_go(2)
    assert [(await one).status_code for one in (batch, hurry)] == [200, 200]
    assert gate.names == ["batch", "hurry"]

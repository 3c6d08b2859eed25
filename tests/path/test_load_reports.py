"""What a gateway tells of its models' load, for whoever scales them."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from configs.schema import Model
from deployments.gateway.replicas.load_reporting import engines_of
from deployments.policy.queue import load_record
from deployments.policy.queue.load_record import EngineLoads, LoadRecord
from deployments.policy.records import verdict as verdicts
from deployments.policy.records.verdict import Verdict
from deployments.policy.routing.types import ReplicaState, RunsAtOnce
from tests.path.fake_engine import FakeEngine, answers, streams
from tests.path.herd import CHAT, LLAMA, MODELS, SCOUT, Herd, asking, herd_of, limits, until
from tests.path.test_overload import Gate
from tests.unit.samples import replica
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCALED = (Model.model_validate(MODELS[0].model_dump(exclude_unset=True) | {"scaling": {"min_replicas": 1, "max_replicas": 3}}), MODELS[1])
NAME = load_record.key(LLAMA, "own")


def told(herd: Herd) -> LoadRecord:
    """The newest record of the scaled model."""
    found = load_record.read(herd.kept[NAME])
    assert found is not None
    return found


def requests(herd: Herd) -> float:
    return sum(one.requests for one in told(herd).buckets) if NAME in herd.kept else -1


def has_room(herd: Herd, slots: int) -> None:
    herd.roster.update(LLAMA, [replace(view, slots=slots) for view in herd.roster.replicas(LLAMA)])


async def test_answered_request_is_told_with_its_size_and_no_word_of_it(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), models=SCALED) as herd:
        engine.script = answers(200, {"usage": {"prompt_tokens": 30, "completion_tokens": 7}})
        assert (await herd.chat(messages=[{"role": "user", "content": "a secret llama"}])).status_code == 200
        await until(lambda: requests(herd) == 1 and told(herd).usual.requests == 1)
        record = told(herd)
        assert (record.gateway, record.waiting, record.running, record.engines.ready) == ("own", 0, 0, 1)
        assert (record.usual.answer_tokens, sum(one.answer_tokens for one in record.buckets)) == (7, 7)
        assert 0 < record.usual.dwell_s < 10
        assert record.usual.token_ratio > 0
        assert "llama" not in herd.kept[NAME].replace(LLAMA, "")
        assert json.loads(herd.kept[NAME])["release"]


async def test_stream_without_usage_has_a_token_in_each_piece(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), models=SCALED) as herd:
        engine.script = streams([event("a"), event("b"), DONE])
        assert (await herd.chat(stream=True)).status_code == 200
        await until(lambda: NAME in herd.kept and told(herd).usual.requests == 1)
        assert told(herd).usual.answer_tokens >= 1
        assert told(herd).usual.token_ratio == 1


async def test_fixed_number_of_replicas_needs_no_record(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), models=SCALED) as herd:
        await until(lambda: NAME in herd.kept)
        assert list(herd.kept) == [NAME], "nothing of the model whose number is the operator's"
        herd.apply(models=MODELS)
        assert herd.kept == {}
        herd.apply(models=(MODELS[0], SCALED[0].model_copy(update={"id": SCOUT, "aliases": ()})))
        await until(lambda: list(herd.kept) == [load_record.key(SCOUT, "own")])


async def test_tokens_that_are_only_counted_are_no_work(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), models=SCALED) as herd:
        engine.script = answers(200, {"count": 3})
        assert (await herd.http.post("/tokenize", json={"model": LLAMA, "prompt": "x"})).status_code == 200
        engine.script = answers(200, {"usage": {"prompt_tokens": 3, "completion_tokens": 1}})
        await herd.chat()
        await until(lambda: requests(herd) == 1)


async def test_trap_25_and_26_what_waits_and_what_is_refused_is_told_and_a_retry_is_not_another_request(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(queue_s=30, queue_requests=1), models=SCALED) as herd:
        engine.script = gate = Gate()
        has_room(herd, 1)

        def asks(name: str) -> "asyncio.Task[httpx.Response]":
            return asyncio.create_task(herd.http.post(CHAT, json=asking() | {"messages": [{"role": "user", "content": name}]}))

        first = asks("first")
        await until(lambda: gate.inside == 1)
        second = asks("second")
        await until(lambda: herd.count("herd_queue_requests", model=LLAMA) == 1)
        for _ in range(3):
            assert (await asks("third")).status_code == 429
        await until(lambda: requests(herd) == 3 and told(herd).waiting >= 2)
        assert told(herd).running == 1
        assert told(herd).waiting_tokens > 0
        gate.let_go(2)
        assert [(await one).status_code for one in (first, second)] == [200, 200]
        await until(lambda: told(herd).running == 0)


async def test_trap_5_requests_of_a_model_without_replicas_are_told(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), models=SCALED) as herd:
        herd.has()
        assert (await herd.chat()).status_code == 503
        await until(lambda: requests(herd) == 1)
        assert told(herd).engines == EngineLoads()


async def test_gateway_that_stops_leaves_no_record(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), models=SCALED) as herd:
        await until(lambda: NAME in herd.kept)
    await until(lambda: herd.kept == {})


async def test_model_whose_record_cannot_be_made_does_not_end_the_telling(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    async with herd_of([engine], limits(), models=SCALED) as herd:
        await until(lambda: NAME in herd.kept)
        broken: list[int] = []

        def fails(_views: Any, _rooms: Any) -> Any:
            broken.append(1)
            raise ValueError

        with monkeypatch.context() as patched:
            patched.setattr("deployments.gateway.replicas.load_reporting.engines_of", fails)
            await until(lambda: len(broken) > 1)
        herd.kept.clear()
        await until(lambda: NAME in herd.kept)


async def test_replicas_reports_are_put_together() -> None:
    views = [
        replace(replica("a"), slots=8, waiting=1, prefill_tokens=100, prefix_hit_rate=0.5, ready_s=40.0, about={"made_of": "1"}),
        replace(replica("b"), slots=16, prefill_tokens=None, prefix_hit_rate=0.1, ready_s=9.0, about={"made_of": "1"}),
        replace(replica("c", ReplicaState.LEAVING), waiting=2, prefill_tokens=50, about={"made_of": "2"}),
        replace(replica("d", ReplicaState.DEAD), waiting=9, prefill_tokens=900, about={"made_of": "3"}),
    ]
    rooms = {view.id: RunsAtOnce() for view in views}
    assert engines_of(views, rooms) == EngineLoads(2, 1, 3, 150.0, 0.3, 9.0, 8, 2)
    assert engines_of([replica("a")], rooms).youngest_s == 0, "it has not said when it became ready"
    assert engines_of([], rooms) == EngineLoads()


async def test_replica_whose_memory_is_full_has_room_for_what_it_runs_also_afterwards() -> None:
    full, rooms = replace(replica("a", ongoing=5), slots=16, waiting=2, kv_usage=0.99), {"a": RunsAtOnce()}
    assert engines_of([full], rooms).room == 3
    assert engines_of([replace(full, ongoing=1, waiting=0, kv_usage=0.2)], rooms).room == 3


async def test_what_autoscaling_decided_is_among_the_metrics(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), models=SCALED) as herd:
        first = Verdict(5.0, 2, 1, "a reason", demand=1.2, expected=1.5, wanted=2.5, binds="gpus")
        herd.kept[verdicts.key(LLAMA)] = verdicts.written(first)
        await until(lambda: herd.count("herd_scaling_decided_timestamp_seconds", model=LLAMA) == 5)
        figures = {figure: herd.count("herd_scaling_replicas", model=LLAMA, figure=figure) for figure in ("target", "now", "wanted")}
        assert figures == {"target": 2, "now": 1.2, "wanted": 2.5}
        assert herd.count("herd_scaling_bound", model=LLAMA, limit="gpus") == 1
        herd.kept[verdicts.key(LLAMA)] = verdicts.written(Verdict(6.0, 2, 2, "another", held="no report"))
        await until(lambda: herd.count("herd_scaling_held", model=LLAMA, why="no report") == 1)
        assert herd.count("herd_scaling_bound", model=LLAMA, limit="gpus") == 0, "it is not shown"

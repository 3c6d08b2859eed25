"""A model that has no replica while nobody asks for it: its first requests wait in line, and none of them fails."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from configs.schema import Scaling
from deployments.policy.routing.types import ReplicaState
from tests.path.fake_engine import FakeEngine, Wire, answers, fake_engine, streams, then_breaks, then_hangs
from tests.path.herd import LLAMA, MODELS, SCOUT, Herd, asking, herd_of, limits, until
from tests.path.wire import connected, request
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")

ON_DEMAND = MODELS[0].model_copy(update={"scaling": Scaling(min_replicas=0, max_replicas=4)})
GENERATED = {"id": "1", "choices": []}
#: A body for each endpoint that goes to an engine.
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": asking(),
    "/v1/completions": {"model": "llama", "prompt": "Hi"},
    "/v1/responses": {"model": LLAMA, "input": "Hi"},
    "/v1/messages": {"model": LLAMA, "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/messages/count_tokens": {"model": LLAMA, "messages": [{"role": "user", "content": "Hi"}]},
    "/v1/embeddings": {"model": LLAMA, "input": "Hi"},
    "/tokenize": {"model": LLAMA, "prompt": "Hi"},
    "/detokenize": {"model": LLAMA, "tokens": [1, 2]},
}


class Coming:
    """What Ray Serve would say: how many replicas there are or will be."""

    def __init__(self) -> None:
        self.replicas = 0
        self.asked = 0
        self.is_away = False

    async def __call__(self, model: str) -> int:
        assert model == LLAMA
        self.asked += 1
        if self.is_away:
            raise OSError("the head is away")
        return self.replicas


@asynccontextmanager
async def at_zero(coming: Coming | None = None, models: Sequence[Any] = (ON_DEMAND, MODELS[1]), **changed: float) -> AsyncIterator[Herd]:
    """A gateway whose first model has no replica."""
    wanted = limits(**{"start_wait_s": 30, "total_s": 60, "queue_s": 10, **changed})
    async with herd_of([], wanted, models=models, coming=coming) as herd:
        yield herd


def waiting(herd: Herd) -> int:
    return herd.serving.pipeline.waiting(LLAMA)


async def asked(herd: Herd, count: int, **body: Any) -> list["asyncio.Task[httpx.Response]"]:
    """So many requests, all of which wait in the line."""
    before = waiting(herd)
    tasks = [asyncio.create_task(herd.chat(**body)) for _ in range(count)]
    await until(lambda: waiting(herd) == before + count)
    return tasks


async def test_requests_of_every_endpoint_wait_until_a_replica_has_started(engine: FakeEngine) -> None:
    engine.script = answers(200, GENERATED)
    async with at_zero() as herd:
        tasks = [asyncio.create_task(herd.http.post(path, json=body)) for path, body in BODIES.items()]
        await until(lambda: waiting(herd) == len(BODIES))
        herd.has(engine)
        assert [answer.status_code for answer in await asyncio.gather(*tasks)] == [200] * len(BODIES)
        assert (await herd.chat()).status_code == 200, "who comes later does not wait"
    assert {one.path for one in engine.requests} == set(BODIES)


async def test_waiting_requests_are_spread_over_the_replicas_that_start() -> None:
    coming = Coming()
    coming.replicas = 2
    async with AsyncExitStack() as stack:
        first, second = [await stack.enter_async_context(fake_engine()) for _ in range(2)]
        herd = await stack.enter_async_context(at_zero(coming))
        whole, streamed = await asked(herd, 6), await asked(herd, 6, stream=True)
        for engine in (first, second):
            engine.script = answers(200, GENERATED)
        herd.has(first)
        await until(lambda: len(first.requests) == 6)
        assert waiting(herd) == 6, "the other half is for the second replica"
        herd.has(first, second)
        assert {answer.status_code for answer in await asyncio.gather(*whole, *streamed)} == {200}
        assert (len(first.requests), len(second.requests)) == (6, 6)


async def test_first_replica_gets_all_where_nobody_knows_of_others(engine: FakeEngine) -> None:
    coming = Coming()
    coming.is_away = True
    async with at_zero(coming) as herd:
        tasks = await asked(herd, 4)
        herd.has(engine)
        assert {answer.status_code for answer in await asyncio.gather(*tasks)} == {200}
    assert coming.asked == 1


async def test_share_of_a_replica_that_does_not_come_goes_to_the_first(engine: FakeEngine) -> None:
    coming = Coming()
    coming.replicas = 2
    async with at_zero(coming) as herd:
        tasks = await asked(herd, 2)
        herd.has(engine)
        assert {answer.status_code for answer in await asyncio.gather(*tasks)} == {200}
        await until(lambda: not herd.serving.pipeline.waiting(LLAMA))
    assert coming.asked > 1, "it is asked again while requests wait"


async def test_stream_waits_longer_than_an_engine_has_to_begin(engine: FakeEngine) -> None:
    engine.script = streams([event(), DONE])
    async with at_zero(first_byte_s=0.3) as herd:
        (task,) = await asked(herd, 1, stream=True)
        await asyncio.sleep(0.8)
        herd.has(engine)
        answer = await task
        assert (answer.status_code, answer.content) == (200, event() + DONE)


async def test_engine_that_does_not_begin_after_a_start_is_late_as_ever() -> None:
    async with at_zero(first_byte_s=0.3) as herd, fake_engine() as engine:
        hangs = asyncio.Event()
        engine.script = lambda _: hangs.wait()  # type: ignore[assignment,return-value]
        (task,) = await asked(herd, 1, stream=True)
        await asyncio.sleep(0.5)
        herd.has(engine)
        assert (await task).status_code == 504


async def test_client_whose_patience_is_over_is_told_when_the_model_should_be_there(engine: FakeEngine) -> None:
    async with at_zero(start_wait_s=0.2) as herd:
        herd.roster.update(LLAMA, [replace(one, start_s=40.0) for one in _seen(herd, engine)])
        herd.has()
        answers_ = await asyncio.gather(herd.chat(), herd.chat(stream=True), herd.http.post("/v1/messages", json=BODIES["/v1/messages"]))
        assert [one.status_code for one in answers_] == [503, 503, 503]
        assert all(30 <= int(one.headers["retry-after"]) <= 40 for one in answers_)
        assert answers_[0].json()["error"]["code"] == "engine_starting"
        assert waiting(herd) == 3, "whose clients will come again"
    assert not engine.requests


async def died(herd: Herd, engine: FakeEngine) -> None:
    await until(lambda: herd.state(engine) is ReplicaState.DEAD)


def _seen(herd: Herd, engine: FakeEngine) -> Any:
    herd.has(engine)
    return herd.roster.replicas(LLAMA)


async def test_config_says_how_long_the_first_start_takes() -> None:
    slow = ON_DEMAND.model_copy(update={"scaling": Scaling(min_replicas=0, max_replicas=4, start_s=300)})
    async with at_zero(models=[slow], start_wait_s=0.2) as herd:
        answer = await herd.chat()
        assert answer.status_code == 503
        assert 290 <= int(answer.headers["retry-after"]) <= 300
        assert (await herd.http.get(f"/v1/models/{LLAMA}")).json()["start_s"] == 300.0


async def test_request_for_which_the_line_has_no_place_is_refused(engine: FakeEngine) -> None:
    async with at_zero(queue_requests=2) as herd:
        tasks = await asked(herd, 2)
        refused = await herd.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
        assert int(refused.headers["retry-after"]) >= 1
        assert "starting" in refused.json()["error"]["message"]
        herd.has(engine)
        assert {answer.status_code for answer in await asyncio.gather(*tasks)} == {200}


async def test_client_that_hangs_up_leaves_the_line(engine: FakeEngine) -> None:
    async with at_zero() as herd:
        async with connected(herd.port) as client:
            await client.send(request(asking()))
            await until(lambda: waiting(herd) == 1)
            client.hang_up()
            await herd.has_ended("cancelled")
        assert waiting(herd) == 0
        herd.has(engine)
        assert (await herd.chat()).status_code == 200
    assert len(engine.requests) == 1


async def test_pages_tell_that_a_model_is_at_zero_and_how_long_it_takes(engine: FakeEngine) -> None:
    async with at_zero() as herd:

        async def cards() -> dict[str, Any]:
            return {one["id"]: one for one in (await herd.http.get("/v1/models")).json()["data"]}

        said = await cards()
        assert (said[LLAMA]["at_zero"], said[LLAMA]["start_s"], said["llama"]["at_zero"]) == (True, 120.0, True), "as the config says"
        assert "at_zero" not in said[SCOUT], "a model that always has replicas is as it was"
        assert (await herd.http.get("/-/status")).json()["at_zero"] == [LLAMA]
        herd.apply([ON_DEMAND])
        health = await herd.http.get("/health?generate=true")
        assert (health.status_code, health.json()["status"], health.json()["ready"]) == (200, "ok", {LLAMA: 0})
        (task,) = await asked(herd, 1)
        await asyncio.sleep(0.2)
        herd.has(engine)
        assert (await task).status_code == 200
        card = (await herd.http.get(f"/v1/models/{LLAMA}")).json()
        assert card["at_zero"] is False
        assert card["start_s"] >= 0.2
        assert (await herd.http.get("/-/status")).json()["at_zero"] == []
        herd.has(engine, state=ReplicaState.LEAVING)
        assert (await herd.http.get("/health")).status_code == 200, "it goes to zero"
        herd.has(engine, state=ReplicaState.DEAD)
        assert (await herd.http.get("/health")).status_code == 503, "it should have a replica"


async def test_model_that_is_stopped_refuses_and_waits_for_nobody() -> None:
    async with at_zero(models=[ON_DEMAND.model_copy(update={"stopped": True})]) as herd:
        assert (await herd.chat()).json()["error"]["code"] == "model_stopped"
        assert (await herd.http.get("/v1/models")).json()["data"][0]["at_zero"] is False


async def test_other_model_answers_at_once_and_the_model_starts_meanwhile(engine: FakeEngine) -> None:
    async with fake_engine() as scout:
        scout.script = answers(200, GENERATED)
        async with at_zero(models=[ON_DEMAND.model_copy(update={"fallbacks": (SCOUT,)}), MODELS[1]]) as herd:
            herd.has(scout, model=SCOUT)
            assert (await herd.chat()).headers["x-fallback-from"] == LLAMA
            assert waiting(herd) == 1, "it is demand for the model that was asked for"
            herd.has(model=SCOUT)
            task = asyncio.create_task(herd.chat())
            await until(lambda: herd.serving.pipeline.waiting(LLAMA) > 2)
            herd.has(engine)
            assert (await task).status_code == 200, "where no other model answers, it waits"


async def test_config_says_from_now_on_that_a_model_may_be_at_zero(engine: FakeEngine) -> None:
    async with at_zero(models=MODELS) as herd:
        assert (await herd.chat()).status_code == 503
        herd.apply([ON_DEMAND])
        (task,) = await asked(herd, 1)
        herd.has(engine)
        assert (await task).status_code == 200
        herd.apply([MODELS[0]])
        herd.has()
        assert (await herd.chat()).status_code == 503


async def gone() -> FakeEngine:
    """Returns an engine that listens no more."""
    async with fake_engine() as one:
        return one


@pytest.mark.parametrize("stream", [False, True])
async def test_first_replica_that_cannot_be_reached_is_waited_for_on(engine: FakeEngine, stream: bool) -> None:
    engine.script = streams([event(), DONE]) if stream else answers(200, GENERATED)
    async with at_zero() as herd:
        tasks, lost = await asked(herd, 3, stream=stream), await gone()
        herd.has(lost)
        await until(lambda: herd.state(lost) is ReplicaState.DEAD and waiting(herd) == 3)
        herd.has(engine)
        assert {answer.status_code for answer in await asyncio.gather(*tasks)} == {200}


async def test_first_replica_that_breaks_a_connection_is_asked_again_when_it_says_that_it_is_ready(engine: FakeEngine) -> None:
    engine.queue, engine.script = [then_breaks(head=False)], answers(200, GENERATED)
    async with at_zero() as herd:
        (task,) = await asked(herd, 1)
        herd.has(engine)
        await until(lambda: herd.state(engine) is ReplicaState.DEAD and waiting(herd) == 1)
        herd.has(engine)
        assert (await task).status_code == 200
    assert len(engine.requests) == 2


async def test_request_that_waits_for_room_elsewhere_waits_for_a_start_where_all_replicas_go(engine: FakeEngine) -> None:
    async with at_zero() as herd, fake_engine() as full:
        ends = asyncio.Event()

        async def held(wire: Wire) -> None:
            await ends.wait()
            await answers(200, GENERATED)(wire)

        full.script, engine.queue, engine.script = held, [then_breaks(head=False)], answers(200, GENERATED)
        herd.has(full)
        herd.roster.update(LLAMA, [replace(one, slots=1) for one in herd.roster.replicas(LLAMA)])
        first = asyncio.create_task(herd.chat())
        await full.asked()
        (busy,) = herd.roster.replicas(LLAMA)
        herd.roster.update(LLAMA, [busy, replace(busy, id="new", port=engine.port)])
        (second,) = await asked(herd, 1)
        assert len(engine.requests) == 1, "it was lost there, and the other one is full"
        herd.has()
        await asyncio.sleep(0.05)
        assert waiting(herd) == 1
        herd.has(engine)
        assert (await second).status_code == 200
        ends.set()
        assert (await first).status_code == 200


async def test_request_under_which_replicas_die_is_not_waited_with_for_ever(engine: FakeEngine) -> None:
    async with fake_engine() as next_one, at_zero() as herd:
        (task,) = await asked(herd, 1)
        for one in (engine, next_one):
            one.script = then_breaks(head=False)
            herd.has(one)
            await died(herd, one)
        answer = await task
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "request_kills_engines")
    assert (len(engine.requests), len(next_one.requests)) == (1, 1)


async def test_replica_that_is_never_reached_is_tried_as_often_as_any_other_and_no_longer_than_a_start_is_waited_for() -> None:
    async with at_zero(attempts=3) as herd:
        (task,), lost = await asked(herd, 1), await gone()
        for _ in range(3):
            herd.has(lost)
            await until(lambda: herd.state(lost) is ReplicaState.DEAD)
        assert (await task).json()["error"]["code"] == "engine_gone"
    async with at_zero(start_wait_s=6) as herd:
        (task,), lost = await asked(herd, 1), await gone()
        await asyncio.sleep(3)
        herd.has(lost)
        async with asyncio.timeout(5.5):  # what is left, and not all of it again
            assert (await task).json()["error"]["code"] == "engine_gone"


async def test_waits_for_a_start_that_was_lost_and_for_another_do_not_put_the_end_of_a_request_off(engine: FakeEngine) -> None:
    engine.script = then_hangs(head=False)
    async with at_zero(start_wait_s=1.9, first_byte_s=1, total_s=2) as herd:
        began_s = time.monotonic()
        (task,), lost = await asked(herd, 1, stream=True), await gone()
        for one in (lost, engine):
            await asyncio.sleep(0.8)
            herd.has(one)
        assert (await task).status_code == 504
        assert time.monotonic() - began_s < 2.4

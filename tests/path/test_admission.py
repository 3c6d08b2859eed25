"""`deployments.gateway.admission`: futures and a clock around the queue; a roster's news and ends wake those that wait."""

import asyncio

import pytest
from msgspec.structs import replace

from configs.schema import Limits
from deployments.gateway.admission import Admission, Place
from deployments.gateway.replicas.roster import Roster
from deployments.policy.errors.client_errors import Overloaded
from deployments.policy.routing.types import Ask
from monitoring.export import Meter
from tests.path.herd import until
from tests.unit.samples import replica

pytestmark = pytest.mark.asyncio(loop_scope="session")

LLAMA = "llama"
LIMITS = Limits(queue_s=30)


def full() -> Roster:
    """One replica that has as many requests as it can run, of others."""
    roster = Roster([LLAMA])
    roster.update(LLAMA, [replace(replica("a", ongoing=1), slots=1)])
    return roster


def empties(roster: Roster) -> None:
    roster.update(LLAMA, [replace(replica("a"), slots=1)])


def wants(admission: Admission, limits: Limits = LIMITS) -> "asyncio.Task[Place]":
    return asyncio.create_task(admission.place(LLAMA, Ask(), limits))


async def test_every_admission_over_a_roster_hears_its_news() -> None:
    roster = full()
    roster.update(LLAMA, [replace(one, slots=2, ongoing=2) for one in roster.replicas(LLAMA)])
    admissions = [Admission(roster, Meter()) for _ in range(2)]
    waiting = [wants(admission) for admission in admissions]
    await until(lambda: [admission.demand(LLAMA) for admission in admissions] == [1, 1])
    roster.update(LLAMA, [replace(one, ongoing=0) for one in roster.replicas(LLAMA)])
    async with asyncio.timeout(5):
        for place in await asyncio.gather(*waiting):
            with place:
                pass
    assert [admission.demand(LLAMA) for admission in admissions] == [0, 0]


async def test_place_that_is_left_goes_to_the_next() -> None:
    roster = full()
    admission = Admission(roster, Meter())
    empties(roster)
    with await wants(admission) as first:
        assert (first.pick.replica.id, first.gave_way) == ("a", False)
        second = wants(admission)
        await until(lambda: admission.demand(LLAMA) == 1)
    async with asyncio.timeout(5):
        with await second:
            pass


async def test_refused_requests_are_demand_as_those_that_wait_are() -> None:
    admission = Admission(full(), Meter())
    assert admission.demand(LLAMA) == 0
    with pytest.raises(Overloaded):
        await wants(admission, LIMITS.model_copy(update={"queue_requests": 0}))
    with pytest.raises(Overloaded):
        await wants(admission, Limits(queue_s=0.01))
    assert admission.demand(LLAMA) == 2


async def test_client_that_hangs_up_as_its_turn_comes_takes_no_slot() -> None:
    roster = full()
    admission = Admission(roster, Meter())
    waiting = wants(admission)
    await until(lambda: admission.demand(LLAMA) == 1)
    empties(roster)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(5):
        with await wants(admission):
            pass


async def test_request_that_is_displaced_hears_of_it_at_once() -> None:
    admission, limits = Admission(full(), Meter()), Limits(queue_s=30, queue_requests=2)
    late = [asyncio.create_task(admission.place(LLAMA, Ask(ttft_s=0.001), limits)) for _ in range(2)]
    await until(lambda: admission.demand(LLAMA) == 2)
    await asyncio.sleep(0.01)
    soon = asyncio.create_task(admission.place(LLAMA, Ask(ttft_s=60.0), limits))
    async with asyncio.timeout(5):
        with pytest.raises(Overloaded):
            await late[1]
    assert [late[0].done(), soon.done()] == [False, False]
    for task in (late[0], soon):
        task.cancel()

"""Replicas start, serve, drain and go, and hold GPUs all the while."""

from random import Random

import pytest

from deployments.simulation.engine.clocked import ClockedEngine
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.scheduler import Scheduler
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes
from deployments.simulation.fleet import Fleet, Pool, Stage, StartTimes

TIMES = StepTimes(SCOUT_ON_H100)


def engine() -> ClockedEngine:
    return ClockedEngine(Scheduler(Size(10_000), TIMES))


def fleet(pool: Pool, until_s: float = float("inf")) -> Fleet:
    return Fleet(pool, engine, Random(1), until_s)


def test_gpu_seconds_count_starting_ready_and_draining_replicas() -> None:
    one = fleet(Pool(gpus_per_replica=2))
    (member,) = one.grow(1, 10.0)
    assert one.started(member, 110.0)
    one.grow(0, 150.0)
    assert one.shrink(150.0) == [member]
    one.gone(member, 170.0)
    one.count(999.0)
    assert one.gpu_s == 2 * (170.0 - 10.0)


def test_gpu_seconds_are_counted_until_their_end_only() -> None:
    one = fleet(Pool(), until_s=60.0)
    one.begin(2)
    one.count(50.0)
    one.count(100.0)
    assert one.gpu_s == 120.0


def test_newest_replicas_go_first_and_starts_before_them() -> None:
    one = fleet(Pool())
    one.begin(2)
    (third,) = one.grow(3, 0.0)
    one.grow(1, 5.0)
    assert [member.name for member in one.shrink(5.0)] == ["replica-2"]
    assert third.stage is Stage.GONE
    assert (list(one.ready), list(one.starting), list(one.draining)) == (["replica-1"], [], ["replica-2"])


def test_starts_wait_while_drains_hold_the_last_gpus() -> None:
    one = fleet(Pool(most_gpus=5, gpus_per_replica=2))
    one.begin(2)
    one.grow(1, 0.0)
    (draining,) = one.shrink(0.0)
    assert one.grow(2, 1.0) == []
    one.gone(draining, 2.0)
    assert len(one.grow(3, 2.0)) == 1


def test_failed_start_is_gone_and_the_next_is_another_attempt_of_the_same() -> None:
    one = fleet(Pool(StartTimes(failing=1.0)))
    (first,) = one.grow(1, 3.0)
    assert not one.started(first, 103.0)
    (second,) = one.grow(1, 103.0)
    assert (second.asked_s, second.failures, first.stage) == (3.0, 1, Stage.GONE)
    assert one.start_times_s == []


def test_start_times_are_drawn_by_seed_and_phases_add_up() -> None:
    times = StartTimes((("node", 60.0), ("weights", 40.0)), spread=0.2)
    drawn = [times.draw(dice) for dice in (Random(1), Random(1), Random(2))]
    assert drawn[0] == drawn[1] != drawn[2]
    one = fleet(Pool(times))
    (member,) = one.grow(1, 0.0)
    assert [name for name, _ in member.phases] == ["node", "weights"]
    assert member.start_s == pytest.approx(100, rel=0.6)


def test_report_tells_what_the_engine_has_and_how_long_it_has_been_ready() -> None:
    one = fleet(Pool())
    (member,) = one.grow(1, 0.0)
    one.started(member, 100.0)
    view = member.view(130.0, slots=256)
    assert (view.ready_s, view.start_s, view.number, view.slots, view.ongoing) == (30.0, 100.0, 1, 256, 0)
    assert member.view(131.0, slots=0).number == 2

"""`tests.bench.scaling`: plans of one who knows the load, and the search for cheaper ones."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scaling.work import Slo
from deployments.simulation.autoscaling.rules import Static
from deployments.simulation.cluster import Simulation
from deployments.simulation.loads.traces import Traced
from deployments.simulation.outcome import Outcome
from tests.bench.scaling import knowing, oracle
from tests.bench.scaling.knowing import Bar, Search
from tests.bench.scaling.oracle import Spans, plan_of, spans_of
from tests.bench.scaling.scenarios import Scenario, scenarios

NUMBERS = st.lists(st.integers(1, 6), min_size=1, max_size=12)


def test_need_of_half_a_minute_is_the_work_that_comes_in_it() -> None:
    requests = [Traced(at / 10, 1, 1, ()) for at in range(600)] + [Traced(60 + at / 40, 1, 1, ()) for at in range(2400)]
    assert oracle.needs(requests, lambda _: 0.1) == pytest.approx([1, 1, 4, 4])


def test_plan_asks_a_start_ahead_and_lets_go_late() -> None:
    needed = [1.0, 1.0, 3.2, 0.5]
    assert oracle.plan(needed, 0.0, 0.0, (1, 16)) == ((0.0, 1), (30.0, 1), (60.0, 4), (90.0, 1))
    assert [number for _, number in oracle.plan(needed, 30.0, 0.0, (1, 16))] == [1, 4, 4, 1]
    assert [number for _, number in oracle.plan(needed, 0.0, 45.0, (1, 3))] == [1, 1, 3, 3, 3, 1]


@given(NUMBERS)
def test_spans_are_the_plan(numbers: list[int]) -> None:
    plan = tuple((30.0 * at, number) for at, number in enumerate(numbers))
    until_s = 30.0 * len(numbers)
    spans = spans_of(plan, 1, until_s)
    again = plan_of(spans, 1)
    assert [next(number for from_s, number in reversed(again) if from_s <= at_s) for at_s, _ in plan] == numbers
    assert sum(end_s - begin_s for begin_s, end_s in spans) == sum(30.0 * (number - 1) for number in numbers)


@given(NUMBERS, st.booleans())
def test_spans_are_cut_as_far_as_they_still_do(numbers: list[int], is_begin_free: bool) -> None:
    spans = spans_of(tuple((30.0 * at, number) for at, number in enumerate(numbers)), 0, 30.0 * len(numbers))

    def does(shorter: Spans) -> bool:
        return any(begin_s <= 50.0 and end_s >= 150.0 for begin_s, end_s in shorter)

    cut = oracle.trimmed(spans, does, is_begin_free)
    assert cut == (((50.0 if is_begin_free else 0.0, 150.0),) if len(numbers) >= 5 else spans)


def _steady(load_s: float = 60.0) -> Scenario:
    steady = next(one for one in scenarios() if one.name == "steady")
    return replace(steady, setup=replace(steady.setup, until_s=load_s), requests=lambda _: _load(load_s))


def _load(load_s: float) -> list[Traced]:
    return [Traced(at / 12, 2000, 300, ()) for at in range(round(12 * load_s))]


class _Sent(list[Traced]):
    """A load that knows how far it was sent."""

    last_s = 0.0

    def __iter__(self) -> Iterator[Traced]:
        for each in super().__iter__():
            self.last_s = each.at_s
            yield each


def _with(one: Scenario, replicas: int) -> Outcome:
    setup = replace(one.setup, replicas=replicas)
    return Simulation(setup, Static(replicas), 1).run(one.requests(1))


def test_plan_that_misses_the_bar_is_none_and_one_that_meets_it_has_an_outcome() -> None:
    one = _steady()
    served = _with(one, 3)
    search = Search(one, one.requests(1), 1, knowing.bar_of(served, one.slo))
    assert search.outcome(()) is None  # of three replicas two go at once
    outcome = search.outcome(((0.0, 60.0), (0.0, 60.0)))
    assert outcome is not None
    assert outcome.gpu_s == served.gpu_s
    search.outcome(((0.0, 60.0), (0.0, 60.0)))
    assert search.plans == 2


def test_search_ends_a_simulation_once_the_bar_is_missed_for_sure() -> None:
    one = _steady(300.0)
    sent = _Sent(_load(300.0))
    search = Search(one, sent, 1, Bar(0.0, 1.0, inf))
    assert search.outcome(()) is None
    assert sent.last_s < 200


def test_late_is_what_no_future_mends() -> None:
    outcome, slo = Outcome(), Slo(3.0, 0.1, 0.9)
    for at_s in (1.0, 11.0, 12.0, 21.0):
        outcome.requests.arrived(at_s, 10, 11)
    outcome.requests.answered(0, 2.0, 0)
    outcome.requests.ended(0, 2.5)
    outcome.requests.answered(1, 14.5, 0)  # 3.5 s after it came
    assert knowing.late(outcome, slo, 22.0) == (10.0, 2)  # the third has waited too long by now, and the last one may still be in time
    assert knowing.late(outcome, slo, 25.0) == (10.0, 3)  # its bin goes on


def test_oracles_are_never_dearer_than_ours_and_serve_as_well() -> None:
    one = _steady(120.0)
    ours = _with(one, 3)
    now, known = knowing.oracles(one, 1, ours)
    assert known.outcome.gpu_s <= now.outcome.gpu_s <= ours.gpu_s
    bar = knowing.bar_of(ours, one.slo)
    assert bar.is_met(now.outcome, one.slo)
    assert bar.is_met(known.outcome, one.slo)

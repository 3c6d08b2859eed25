"""Observations for tests: a model whose replica does one request a second, with a steady load unless told otherwise."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cluster.scaling.decide import decide
from cluster.scaling.decision import Decision
from cluster.scaling.limits import Limits, Tuning
from cluster.scaling.observation import Bucket, Observation, Report, Start
from cluster.scaling.state import State
from cluster.scaling.work import Pace, Work

PACE = Pace(10_000.0, 1000.0, 100_000.0)
#: One request: half of a replica's second is its prompt, half its answer, and a fifth of a KV cache for it.
EACH = Work(5000, 500, 20_000)
LIMITS = Limits(PACE, 1, 100, expected_start_s=100.0)
FRESH = State()
#: The moment of all observations, long after 1970.
NOW = 1_750_000_000.0
#: A rule without margin and noise: what is seen is what is needed.
PLAIN = Tuning(forecast="none", jump=0.0, spare=0.0)


def buckets(rates: Sequence[float], each: Work = EACH, until: float = NOW, cached: float = 0.0) -> tuple[Bucket, ...]:
    """Buckets of 10 s with so many requests a second, the last of which ends at `until`."""
    begun = until - 10 * len(rates)
    return tuple(Bucket(begun + 10 * index, 10, 10 * rate, each.times(10 * rate), 10 * rate * cached) for index, rate in enumerate(rates))


def report(rates: Sequence[float] = (4.0,) * 60, waiting: float = 0.0, now: float = NOW, **more: Any) -> Report:
    known = Report(now, buckets(rates, until=now), EACH.times(waiting), waiting, start_times_s=(100.0,) * 10)
    return replace(known, **more)


def seen(target: int = 5, at: Report | None = None, starting: Sequence[Start] = (), **more: Any) -> Observation:
    known = Observation(target, target - len(starting), tuple(starting), report=report() if at is None else at)
    return replace(known, **more)


def settled(observation: Observation, limits: Limits, seconds: int = 60, state: State = FRESH, step: int = 5) -> Decision:
    """The decision after the same load has been seen for a while, and the observation's target has not moved."""
    found = decide(observation, limits, state, NOW)
    for second in range(step, seconds + 1, step):
        found = decide(shifted(observation, second), limits, found.state, NOW + second)
    return found


def shifted(observation: Observation, seconds: float) -> Observation:
    """The same observation, later: its newest buckets stand for what came meanwhile."""
    old = observation.report
    if old is None:
        return observation
    moved = tuple(replace(one, begun_s=one.begun_s + seconds) for one in old.arrivals)
    return replace(observation, report=replace(old, taken_s=old.taken_s + seconds, arrivals=moved))

"""Plans of one who knows the load, and the search for a cheaper one. Everything here is pure; `knowing.py` simulates.

A plan is looked at as spans, one for each replica beyond the fewest: it is asked for at the begin, and let go at the end. The search cuts
spans shorter, as long as somebody says that the plan still does. It proves nothing: what it finds costs as much as the best plan, or more.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from deployments.simulation.loads.traces import Traced

#: Arrivals are looked at over so many seconds.
SPAN_S = 30.0
#: Spans are cut by so many seconds, first by much.
STEPS_S = (160.0, 40.0, 10.0)

Plan = tuple[tuple[float, int], ...]
"""From when on how many replicas; the first from 0 on."""
Span = tuple[float, float]
"""From when until when one more replica is wanted."""
Spans = tuple[Span, ...]


def needs(requests: Sequence[Traced], work: Callable[[Traced], float]) -> list[float]:
    """Returns for each `SPAN_S` the replicas that the requests that come in it keep busy.

    Args:
        requests: all of them.
        work: the seconds that a replica takes for a request.
    """
    spans = [0.0] * (int(requests[-1].at_s // SPAN_S) + 1)
    for one in requests:
        spans[int(one.at_s // SPAN_S)] += work(one) / SPAN_S
    return spans


def plan(needed: Sequence[float], ahead_s: float, after_s: float, bounds: tuple[int, int]) -> Plan:
    """Returns a plan that has for each moment what any need from `after_s` before until `ahead_s` after it asks for.

    Args:
        needed: replicas, for each `SPAN_S`.
        ahead_s: seconds in which a need is foreseen.
        after_s: seconds for which what was needed stays.
        bounds: fewest and most replicas.
    """
    ahead, after = (math.ceil(seconds / SPAN_S) for seconds in (ahead_s, after_s))
    wanted = (max(needed[max(0, at - after) : at + ahead + 1], default=0.0) for at in range(len(needed) + after))
    return tuple((at * SPAN_S, max(bounds[0], min(bounds[1], math.ceil(one - 1e-9)))) for at, one in enumerate(wanted))


def spans_of(a_plan: Plan, least: int, until_s: float) -> Spans:
    """Returns the spans of a plan, those of the first replica beyond the fewest before those of the second one."""
    changes = [*(one for one in a_plan if one[0] < until_s), (until_s, least)]
    found: list[Span] = []
    for level in range(least, max(replicas for _, replicas in changes)):
        begun_s: float | None = None
        for at_s, replicas in changes:
            if replicas > level and begun_s is None:
                begun_s = at_s
            elif replicas <= level and begun_s is not None:
                found.append((begun_s, at_s))
                begun_s = None
    return tuple(found)


def plan_of(spans: Iterable[Span], least: int) -> Plan:
    """Returns the plan of spans."""
    kept = [(begin_s, end_s) for begin_s, end_s in spans if begin_s < end_s]
    times = sorted({0.0, *(at_s for span in kept for at_s in span)})
    numbers = [(at_s, least + sum(begin_s <= at_s < end_s for begin_s, end_s in kept)) for at_s in times]
    return (numbers[0], *(after for before, after in pairwise(numbers) if after[1] != before[1]))


def replica_s(spans: Spans) -> float:
    """Returns the seconds of all spans, which are those of GPUs but for drains."""
    return sum(end_s - begin_s for begin_s, end_s in spans)


def trimmed(spans: Spans, does: Callable[[Spans], bool], is_begin_free: bool) -> Spans:
    """Returns the spans cut as far as it still does, each by as much as the largest step allows before the next one is tried.

    Args:
        spans: that do.
        does: whether others do too.
        is_begin_free: a replica may be asked for later, too.
    """
    sides = (False, True) if is_begin_free else (True,)
    for step_s in STEPS_S:
        for number in reversed(range(len(spans))):
            for is_end in sides:
                while (shorter := _cut(spans, number, is_end, step_s)) != spans and does(shorter):
                    spans = shorter
    return tuple((begin_s, end_s) for begin_s, end_s in spans if begin_s < end_s)


def _cut(spans: Spans, number: int, is_end: bool, by_s: float) -> Spans:
    """Returns the spans with one of them shorter, and not below nothing."""
    begin_s, end_s = spans[number]
    cut = (begin_s, max(begin_s, end_s - by_s)) if is_end else (min(end_s, begin_s + by_s), end_s)
    return (*spans[:number], cut, *spans[number + 1 :])

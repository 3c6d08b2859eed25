"""A rule that knows the trace and pays the cold start: as few replicas as the arrivals of each moment need, asked for a start ahead.

It is no bound by proof: of all plans of this kind the one with the fewest GPU hours is taken that keeps the objectives, by bisection over
the rate that one replica is trusted with.
"""

import math
from collections.abc import Callable, Sequence

from cluster.scaling.work import Slo
from deployments.simulation.autoscaling.rules import Planned
from deployments.simulation.loads.traces import Traced
from deployments.simulation.outcome import Outcome

#: Arrivals are looked at over so many seconds.
_SPAN_S = 30.0

Plan = tuple[tuple[float, int], ...]
"""From when on how many replicas."""


def plan(requests: Sequence[Traced], work: Callable[[Traced], float], start_s: float, bounds: tuple[int, int]) -> Plan:
    """From when on how many replicas: for each span the most that any span from now until a start later needs.

    Args:
        requests: all of them.
        work: the share of one replica-second that a request takes.
        start_s: seconds of a start.
        bounds: fewest and most replicas.
    """
    spans = [0.0] * (int(requests[-1].at_s // _SPAN_S) + 1)
    for one in requests:
        spans[int(one.at_s // _SPAN_S)] += work(one) / _SPAN_S
    ahead = math.ceil(start_s / _SPAN_S) + 1
    wanted = [max(bounds[0], min(bounds[1], math.ceil(max(spans[at : at + ahead + 1]) - 1e-9))) for at in range(len(spans))]
    return tuple((at * _SPAN_S, number) for at, number in enumerate(wanted))


def best(run: Callable[[Planned], Outcome], plan_for: Callable[[float], Plan], slo: Slo, share: float) -> Outcome | None:
    """Returns the outcome with the fewest GPU hours of those that keep the objectives for that share of the requests; None: none does."""
    low, high = 0.0, 0.0
    found: Outcome | None = None
    for trust in (1.0, 0.5, 0.25, 2.0):
        outcome = run(Planned(plan_for(trust)))
        if outcome.attainment(slo) >= share and (found is None or outcome.gpu_s < found.gpu_s):
            found, low = outcome, trust
        high = max(high, trust)
    for _ in range(5):
        middle = (low + high) / 2
        outcome = run(Planned(plan_for(middle)))
        if outcome.attainment(slo) >= share:
            low = middle
            found = outcome if found is None or outcome.gpu_s < found.gpu_s else found
        else:
            high = middle
    return found

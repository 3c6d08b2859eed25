"""Rules that know the load, for what any rule could save: the fewest GPU-hours at no worse service than ours, by a search over plans.

Both must have no more time out of SLO and no smaller share in SLO than ours on the same load and seed, and answer the last request at most
10 s later: what is left undone at the end costs no GPU-hours. They begin with as many replicas as any rule, pay starts and drains, and
cannot ask before the load begins. The **oracle** asks whenever it wants. The **oracle of the present** knows the load of the half minute
that goes on, and no more: a replica is asked for when a need with some margin shows, or when ours did; margin, number, and when it goes are
chosen in hindsight. Between the two lies what only the future tells.

The search begins with plans by need over several margins, and ours, and cuts the cheapest of these that do. It stops at 10 s, in one place
that no single cut makes cheaper; so the best plan of all may cost less than what is found.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from math import inf
from typing import NamedTuple

import numpy as np

from cluster.scaling.work import Slo
from deployments.simulation.autoscaling.rules import Planned
from deployments.simulation.cluster import Simulation
from deployments.simulation.loads.traces import Traced
from deployments.simulation.outcome import Outcome
from tests.bench.scaling import oracle
from tests.bench.scaling.oracle import Plan, Spans
from tests.bench.scaling.scenarios import Scenario

#: A replica is trusted with so much of the usual pace.
TRUSTS = (0.35, 0.5, 0.6, 0.7, 0.85, 1.0, 1.4, 2.0)
#: Of the plans to begin with, so many of the cheapest that do are cut.
CUT = 2
#: Seconds of a bin in which service is in or out of SLO; and between two looks at a simulation that goes on.
BIN_S, LOOK_S = 10.0, 30.0


class Bar(NamedTuple):
    """The service that a plan must have."""

    out_of_slo_s: float
    attainment: float
    end_s: float
    """When the last answer has ended."""

    def is_met(self, outcome: Outcome, slo: Slo) -> bool:
        """Tells whether an outcome is no worse."""
        return (
            outcome.out_of_slo_s(slo, BIN_S) <= self.out_of_slo_s
            and outcome.attainment(slo) >= self.attainment
            and ended_s(outcome) <= self.end_s
        )


class Found(NamedTuple):
    """The cheapest plan that was found."""

    spans: Spans
    outcome: Outcome
    plans: int
    """Plans that were simulated, in part at least."""


class _MissedError(Exception):
    """The bar is missed for sure."""


def ended_s(outcome: Outcome) -> float:
    """Returns when the last answer has ended."""
    return float(np.max(np.array(outcome.requests.at_s) + np.array(outcome.requests.end_s), initial=0.0))


def late(outcome: Outcome, slo: Slo, now_s: float) -> tuple[float, int]:
    """Returns the seconds out of SLO, and the requests that have missed it, that are sure while a simulation goes on."""
    requests = outcome.requests
    at_s, first_s, end_s = (np.array(of) for of in (requests.at_s, requests.first_s, requests.end_s))
    missed = np.where(np.isinf(first_s), now_s - at_s, first_s) > slo.ttft_s
    missed |= np.isfinite(end_s) & (outcome.per_token_s > slo.itl_s)
    bins, whole = (at_s / BIN_S).astype(np.int64), int(now_s // BIN_S)
    several, many = np.bincount(bins)[:whole], np.bincount(bins, weights=missed)[:whole]
    return BIN_S * float(np.count_nonzero(many > (1 - slo.quantile) * several + 1e-9)), int(np.count_nonzero(missed))


class Search:
    """Plans for one load and seed, and what became of them."""

    def __init__(self, one: Scenario, requests: Sequence[Traced], seed: int, bar: Bar) -> None:
        self.plans = 0
        self._one, self._requests, self._seed, self._bar = one, requests, seed, bar
        self._known: dict[Plan, Outcome | None] = {}

    def outcome(self, spans: Spans) -> Outcome | None:
        """Returns the outcome of a plan; None where it misses the bar."""
        plan = oracle.plan_of(spans, self._one.bounds[0])
        if plan not in self._known:
            self.plans += 1
            self._known[plan] = self._simulated(plan)
        return self._known[plan]

    def _simulated(self, plan: Plan) -> Outcome | None:
        simulation = Simulation(self._one.herd, Planned(plan), self._seed)
        try:
            outcome = simulation.run(self._watched(simulation.outcome))
        except _MissedError:
            return None
        return outcome if self._bar.is_met(outcome, self._one.slo) else None

    def _watched(self, outcome: Outcome) -> Iterator[Traced]:
        """Yields the requests.

        Raises:
            _MissedError: whatever comes, the plan will miss the bar.
        """
        look_s, most = LOOK_S, (1 - self._bar.attainment) * len(self._requests) + 1e-6
        for one in self._requests:
            if one.at_s >= look_s:
                look_s = one.at_s + LOOK_S
                out_s, missed = late(outcome, self._one.slo, one.at_s)
                if out_s > self._bar.out_of_slo_s or missed > most:
                    raise _MissedError
            yield one

    def cheapest(self, begins: Sequence[Spans], known: Found, is_begin_free: bool) -> Found:
        """Returns the cheapest that comes of cutting the cheapest of these plans that do; what is known where that is no dearer."""
        does = islice((spans for spans in sorted(begins, key=oracle.replica_s) if self.outcome(spans)), CUT)
        found = [known, *(self._cut(spans, is_begin_free) for spans in does)]
        return min(found, key=lambda each: each.outcome.gpu_s)._replace(plans=self.plans)

    def _cut(self, spans: Spans, is_begin_free: bool) -> Found:
        best_s = inf

        def is_cheaper(shorter: Spans) -> bool:
            nonlocal best_s
            outcome = self.outcome(shorter)
            if outcome is None or outcome.gpu_s >= best_s:
                return False
            best_s = outcome.gpu_s
            return True

        is_cheaper(spans)
        spans = oracle.trimmed(spans, is_cheaper, is_begin_free)
        outcome = self.outcome(spans)
        assert outcome is not None
        return Found(spans, outcome, self.plans)


def _pace(one: Scenario) -> Callable[[Traced], float]:
    pace = one.limits.pace
    return lambda request: request.prompt_tokens / pace.prefill_tokens_s + request.output_tokens / pace.decode_tokens_s


def bar_of(outcome: Outcome, slo: Slo) -> Bar:
    """Returns the service of an outcome as a bar for others."""
    return Bar(outcome.out_of_slo_s(slo, BIN_S), outcome.attainment(slo), ended_s(outcome) + BIN_S)


def oracles(one: Scenario, seed: int, ours: Outcome) -> tuple[Found, Found]:
    """Returns what the oracle of the present finds, and what the oracle does: never dearer than ours, nor than the one before."""
    requests, start_s, until_s = list(one.requests(seed)), one.limits.expected_start_s, one.setup.until_s
    needed = oracle.needs(requests, _pace(one))
    search = Search(one, requests, seed, bar_of(ours, one.slo))

    def by_need(ahead_s: float, afters_s: tuple[float, ...]) -> list[Spans]:
        plans = (
            oracle.plan([each / trust for each in needed], ahead_s, after_s, one.bounds) for trust, after_s in product(TRUSTS, afters_s)
        )
        return list(dict.fromkeys(oracle.spans_of(plan, one.bounds[0], until_s) for plan in plans))

    asked = oracle.spans_of(((0.0, one.setup.replicas), *((each.at_s, each.after) for each in ours.decided)), one.bounds[0], until_s)
    now = search.cheapest([asked, *by_need(0.0, (start_s, 2 * start_s + 60))], Found(asked, ours, 0), is_begin_free=False)
    dying = tuple((max(0.0, at_s - start_s), at_s) for at_s in one.setup.deaths)
    foreseen = ((*spans, *dying) for spans in by_need(start_s + oracle.SPAN_S, (0.0, 60.0)))
    return now, search.cheapest([now.spans, *foreseen], now, is_begin_free=True)

"""How a simulation went over time, in spans of equal length: the load, the replicas, the latencies and what they cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from cluster.scaling.work import Slo
from deployments.simulation import nearest_rank
from deployments.simulation.outcome import Change, Outcome

#: A page has room for so many points beside each other.
MOST_SPANS = 240
#: Spans are at least so long: shorter ones hold too few requests for percentiles.
LEAST_S = 10.0

Values = tuple[float | None, ...]
"""One for each span; None where there is nothing to tell, or no end to it."""


@dataclass(frozen=True, slots=True)
class Series:
    """One simulation over time. Each tuple has one value for each span."""

    span_s: float
    requests_s: Values
    """Requests that came, in a second."""
    prompt_tokens_s: Values
    wanted: Values
    """Replicas that the rule wanted; these four are those at the end of the span."""
    starting: Values
    ready: Values
    draining: Values
    ttft_p50_s: Values
    """Of the requests that came in the span, as all that follow."""
    ttft_p90_s: Values
    ttft_p99_s: Values
    itl_p50_s: Values
    itl_p90_s: Values
    attainment: Values
    """Share of the requests within both objectives."""
    gpu_hours: Values
    """Held since the begin."""


def series(outcome: Outcome, slo: Slo) -> Series:
    """Returns an outcome over time."""
    requests = outcome.requests
    until_s = max(outcome.until_s, max(requests.at_s, default=0.0), LEAST_S)
    spans = max(1, min(MOST_SPANS, int(until_s / LEAST_S)))
    span_s = until_s / spans
    at = np.minimum((np.array(requests.at_s) / span_s).astype(np.int64), spans - 1)
    counts = np.bincount(at, minlength=spans)
    first = _quantiles(np.array(requests.first_s), at, counts, (50, 90, 99))
    between = _quantiles(outcome.per_token_s, at, counts, (50, 90))
    kept = np.bincount(at, weights=outcome.kept(slo), minlength=spans)
    changes = [Change(0.0, outcome.begun_with, 0, outcome.begun_with, 0), *outcome.changes]
    fleet = _fleet(changes, spans, span_s)
    wanted, starting, ready, draining = (tuple(float(change[place]) for change in fleet) for place in (1, 2, 3, 4))
    return Series(
        span_s=span_s,
        requests_s=tuple(float(count) / span_s for count in counts),
        prompt_tokens_s=tuple(
            float(tokens) / span_s for tokens in np.bincount(at, weights=np.array(requests.prompt_tokens), minlength=spans)
        ),
        wanted=wanted,
        starting=starting,
        ready=ready,
        draining=draining,
        ttft_p50_s=first[0],
        ttft_p90_s=first[1],
        ttft_p99_s=first[2],
        itl_p50_s=between[0],
        itl_p90_s=between[1],
        attainment=tuple(float(good / count) if count else None for good, count in zip(kept, counts, strict=True)),
        gpu_hours=_gpu_hours(changes, outcome.gpus_per_replica, spans, span_s),
    )


def _fleet(changes: Sequence[Change], spans: int, span_s: float) -> list[Change]:
    """Returns the replicas at the end of each span."""
    found, place = [], 0
    for span in range(spans):
        while place + 1 < len(changes) and changes[place + 1].at_s <= (span + 1) * span_s:
            place += 1
        found.append(changes[place])
    return found


def _gpu_hours(changes: Sequence[Change], gpus: int, spans: int, span_s: float) -> Values:
    """Returns the GPU hours held from the begin to the end of each span."""
    ends = (np.arange(spans) + 1) * span_s
    times = np.array([change.at_s for change in changes])
    held = np.array([change.starting + change.ready + change.draining for change in changes]) * gpus
    until = np.concatenate(([0.0], np.cumsum(held[:-1] * np.diff(times))))
    last = np.searchsorted(times, ends, side="right") - 1
    return tuple(float(value) / 3600 for value in until[last] + held[last] * (ends - times[last]))


def _quantiles(values: NDArray[np.float64], at: NDArray[np.int64], counts: NDArray[np.int64], percents: Sequence[int]) -> list[Values]:
    """Returns percentiles of the values of each span, by nearest rank. What never came counts as later than all others."""
    order = np.lexsort((values, at))
    begins = np.cumsum(counts) - counts
    ordered = values[order]
    found: list[Values] = []
    for percent in percents:
        ranks = begins + nearest_rank.places(counts, percent)
        told = [float(ordered[rank]) if count else None for rank, count in zip(ranks, counts, strict=True)]
        found.append(tuple(one if one is not None and isfinite(one) else None for one in told))
    return found

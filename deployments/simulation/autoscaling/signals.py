"""Signals that rules make of samples: latencies lately, as Prometheus would tell them, and the time between tokens now."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise

from deployments.simulation.autoscaling.observation import Observation, Sample
from monitoring.quantiles import quantile

#: Upper bounds of the router's histograms (llm-d-router, `metrics.go`: `GeneralLatencyBuckets`, `TPOTBuckets`).
TTFT_BUCKETS_S = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120, 180, 240, 300)
TPOT_BUCKETS_S = (0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 2)


def histogram_quantile(share: float, values: Iterable[float], bounds: Sequence[float]) -> float | None:
    """Returns what PromQL's function of that name does.

    Within a bucket it takes values for evenly spread, so a narrow distribution reads as far up in its bucket as the share says. None where
    there is no value.
    """
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    return quantile(bounds, counts, share)


def ttfts_s(samples: Sequence[Sample]) -> list[float]:
    """Returns seconds to the first tokens that came lately."""
    return [seconds for sample in samples for seconds in sample.ttft_s]


def itls_by_replica(samples: Sequence[Sample]) -> dict[str, float]:
    """Returns seconds between two tokens at each replica that runs something, on average over the samples."""
    old = {one.name: one.decoded_tokens for one in samples[0].replicas}
    made = {one.name: one.decoded_tokens - old[one.name] for one in samples[-1].replicas if one.name in old and one.running}
    seconds = samples[-1].at_s - samples[0].at_s
    running = {one.name: one.running for one in samples[-1].replicas}
    return {name: running[name] * seconds / tokens for name, tokens in made.items() if tokens}


def itls_s(samples: Sequence[Sample]) -> list[float]:
    """Returns seconds between two tokens lately: of each replica the mean between two samples, as often as it has running requests."""
    told: list[float] = []
    for pair in pairwise(samples):
        running = {one.name: one.running for one in pair[1].replicas}
        for name, seconds in itls_by_replica(pair).items():
            told += [seconds] * running[name]
    return told


def provisioned(seen: Observation) -> int:
    """Returns the number of replicas that are ready or start."""
    return seen.ready + len(seen.starting)

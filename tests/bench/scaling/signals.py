"""What rules make of samples: latencies lately, as Prometheus would tell them, and the time between tokens that engines have now."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from deployments.simulation.autoscaling.observation import Observation, Sample

#: Upper bounds of the router's histograms (llm-d-router, `metrics.go`: `GeneralLatencyBuckets`, `TPOTBuckets`).
TTFT_BUCKETS_S = (0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1, 1.25, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 120, 180, 240, 300)
TPOT_BUCKETS_S = (0.0005, 0.00205, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.125, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 2)


def histogram_quantile(share: float, values: Iterable[float], bounds: Sequence[float]) -> float | None:
    """PromQL's function of that name: within a bucket it takes values for evenly spread, so a narrow distribution reads as far up in its
    bucket as the share says. None where there is no value."""
    counts = [0] * (len(bounds) + 1)
    for value in values:
        counts[bisect_left(bounds, value)] += 1
    total = sum(counts)
    if not total:
        return None
    below = list(accumulate(counts))
    place = bisect_left(below, share * total)
    if place == len(bounds):
        return bounds[-1]
    low, before = (bounds[place - 1], below[place - 1]) if place else (0.0, 0)
    return low + (bounds[place] - low) * (share * total - before) / counts[place]


def ttfts_s(samples: Sequence[Sample]) -> list[float]:
    """Seconds to the first tokens that came lately."""
    return [seconds for sample in samples for seconds in sample.ttft_s]


def itls_s(samples: Sequence[Sample]) -> list[float]:
    """Seconds between two tokens lately: of each replica the mean between two samples, as often as it has running requests."""
    told: list[float] = []
    for before, after in zip(samples, samples[1:], strict=False):
        old = {one.name: one.decoded_tokens for one in before.replicas}
        for one in after.replicas:
            made = one.decoded_tokens - old.get(one.name, one.decoded_tokens)
            if made and one.running:
                told += [one.running * (after.at_s - before.at_s) / made] * one.running
    return told


def provisioned(seen: Observation) -> int:
    """Replicas that are ready or start."""
    return seen.ready + len(seen.starting)

"""llm-d's rules, from llm-d/llm-d `guides/workload-autoscaling` (July 2026): SLO-aware, token-aware and queue, each by KEDA and an HPA."""

import math
from collections import deque

from deployments.simulation.autoscaling.observation import Lag, Observation
from deployments.simulation.autoscaling.rules import Wanted
from deployments.simulation.outcome import Slo
from tests.bench.scaling import signals
from tests.bench.scaling.hpa import Behaviour, Hpa, Policy

#: KEDA polls every 15 s, and so does the HPA; Prometheus scrapes as often.
LAG = Lag(sample_s=15.0, sync_s=15.0)


class SloAware:
    """`slo-aware` (#2011): the worse of both P90 latencies as a share of its objective, clamped at 2, as a mean over 45 s. Above 0.55 it asks
    for more with credit for what starts, below 0.40 for less. Latency is what is measured, their documented fallback where none is predicted.
    """

    def __init__(self, slo: Slo, least: int, most: int, high: float = 0.55, low: float = 0.40) -> None:
        self.lag = Lag(sample_s=5.0, sync_s=15.0)
        self._slo, self._high, self._low = slo, high, low
        behaviour = Behaviour(Policy(4, 1.0, 60.0), Policy(1, 0.0, 120.0), 30.0, 180.0, tolerance=0.0)
        self._hpa = Hpa(behaviour, least, most)
        self._seen: deque[tuple[float, float]] = deque()

    def wanted(self, seen: Observation) -> Wanted:
        """The rule's number."""
        now_s, n = seen.now_s, seen.target
        score = self._score(seen)
        if score is None:
            return Wanted(n, "no latency is measured")
        self._seen.append((now_s, score))
        while self._seen[0][0] <= now_s - 45.0:
            self._seen.popleft()
        s = sum(value for _, value in self._seen) / len(self._seen)
        wanted = n
        if s > self._high:
            credit = seen.ready / max(1, signals.provisioned(seen))
            wanted = n + max(0, math.ceil(n * (s * credit / self._high - 1)))
        elif s < self._low:
            wanted = n - math.floor(n * (1 - s / self._low))
        return Wanted(self._hpa.limited(now_s, n, wanted), f"s = {s:.2f}")

    def _score(self, seen: Observation) -> float | None:
        samples = seen.last(60.0)
        first = signals.histogram_quantile(0.9, signals.ttfts_s(samples), signals.TTFT_BUCKETS_S)
        between = signals.histogram_quantile(0.9, signals.itls_s(samples), signals.TPOT_BUCKETS_S)
        told = [value / limit for value, limit in ((first, self._slo.ttft_s), (between, self._slo.itl_s)) if value is not None]
        return min(2.0, max(told)) if told else None

"""llm-d's rules, from llm-d/llm-d `guides/workload-autoscaling` (July 2026): SLO-aware, token-aware and queue, each by KEDA and an HPA."""

import math
from collections import deque

from cluster.scaling.work import Slo
from deployments.simulation.autoscaling import signals
from deployments.simulation.autoscaling.hpa import Behaviour, Hpa, Policy
from deployments.simulation.autoscaling.observation import Lag, Observation
from deployments.simulation.autoscaling.rules import Wanted

#: KEDA polls every 15 s, and so does the HPA; Prometheus scrapes as often.
LAG = Lag(sample_s=15.0, sync_s=15.0)


class SloAware:
    """`slo-aware` (#2011): the worse of both P90 latencies as a share of its objective, clamped at 2, as a mean over 45 s. Above 0.55 it
    asks for more with credit for what starts, below 0.40 for less. Latency is what is measured, their documented fallback where none is
    predicted; a P90 is read off the buckets of their router's histograms.
    """

    def __init__(self, slo: Slo, least: int, most: int, high: float = 0.55, low: float = 0.40) -> None:
        self.lag = Lag(sample_s=5.0, sync_s=15.0)
        self._slo, self._high, self._low = slo, high, low
        behaviour = Behaviour(Policy(4, 1.0, 60.0), Policy(1, 0.0, 120.0), 30.0, 180.0, tolerance=0.0)
        self._hpa = Hpa(behaviour, least, most)
        self._seen: deque[tuple[float, float]] = deque()

    def wanted(self, seen: Observation) -> Wanted:
        """Returns the rule's number."""
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


class TokenAware:
    """`keda-epp-token-aware` (experimental), co-located: prompt tokens that are not computed, in seconds of one replica, over 1.5 s; and
    the sum of the KV usages over 0.8; the larger one."""

    def __init__(self, prefill_tokens_s: float, least: int, most: int, seconds: float = 1.5, kv_usage: float = 0.8) -> None:
        """Args:
        prefill_tokens_s: their V_P, calibrated.
        least: fewest replicas.
        most: most replicas.
        seconds: of backlog for each replica.
        kv_usage: for each replica.
        """
        self.lag = LAG
        self._prefill_tokens_s, self._seconds, self._kv_usage = prefill_tokens_s, seconds, kv_usage
        self._hpas = [Hpa(Behaviour(), least, most), Hpa(Behaviour(), least, most)]

    def wanted(self, seen: Observation) -> Wanted:
        """Returns the HPA's number."""
        if not seen.samples:
            return Wanted(seen.target)
        last = seen.samples[-1]
        backlog_s = (last.line_tokens + sum(one.wait_tokens for one in last.replicas)) / self._prefill_tokens_s
        kv_usage = sum(one.kv_usage for one in last.replicas)
        asked = ((backlog_s, self._seconds), (kv_usage, self._kv_usage))
        numbers = [hpa.by_average(seen.now_s, seen.target, *one) for hpa, one in zip(self._hpas, asked, strict=True)]
        return Wanted(max(numbers), f"{backlog_s:.1f} s, {kv_usage:.2f} caches")

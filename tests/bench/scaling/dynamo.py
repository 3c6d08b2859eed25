"""NVIDIA Dynamo's planner, by its documentation (`docs/planner/planner-design.md`, 1.x): a floor by throughput, and steps by load.

Throughput, every 180 s: requests of the last interval, as the forecast of the next (`constant`, its default), over what one engine takes by
its profile. Load, every 5 s: one more only if every engine misses an objective, and none starts; one less only if the others would keep
them with N / (N - 1) times their load (#9294).
"""

import math

from cluster.scaling.work import Slo
from deployments.simulation.autoscaling import signals
from deployments.simulation.autoscaling.observation import Lag, Observation
from deployments.simulation.autoscaling.rules import Wanted


class DynamoPlanner:
    """Both of its parts, for engines that prefill and decode."""

    def __init__(self, slo: Slo, requests_s: float, prefill_tokens_s: float, least: int, most: int) -> None:
        """Args:
        slo: the objectives.
        requests_s: what one engine takes, by its profile.
        prefill_tokens_s: prompt tokens that one engine computes in a second.
        least: fewest replicas.
        most: most replicas.
        """
        self.lag = Lag(sample_s=5.0, sync_s=5.0)
        self._slo, self._requests_s, self._prefill_tokens_s = slo, requests_s, prefill_tokens_s
        self._least, self._most = least, most
        self._floor, self._looked_s = least, 0.0

    def wanted(self, seen: Observation) -> Wanted:
        """The larger of both."""
        if seen.now_s - self._looked_s >= 180.0:
            self._looked_s = seen.now_s
            arrived = sum(one.arrived for one in seen.last(180.0))
            self._floor = math.ceil(arrived / 180.0 / self._requests_s)
        number = max(self._floor, self._by_load(seen))
        return Wanted(max(self._least, min(self._most, number)), f"floor {self._floor}")

    def _by_load(self, seen: Observation) -> int:
        samples = seen.last(15.0)
        if len(samples) < 2 or not seen.ready or seen.starting:
            return seen.target
        between = signals.itls_by_replica(samples)
        last = samples[-1].replicas
        shares = [
            max(one.wait_tokens / self._prefill_tokens_s / self._slo.ttft_s, between.get(one.name, 0.0) / self._slo.itl_s) for one in last
        ]
        if all(share > 1 for share in shares):
            return seen.target + 1
        fewer = seen.target - 1
        if fewer and all(share * seen.target / fewer < 1 for share in shares) and self._fits(seen, fewer):
            return fewer
        return seen.target

    def _fits(self, seen: Observation, replicas: int) -> bool:
        """Whether the rest would run what runs now."""
        return sum(one.kv_usage for one in seen.samples[-1].replicas) < 0.9 * replicas

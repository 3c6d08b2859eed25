"""Ray Serve's rules: its default, whose own functions run, and its rule for the time to the first token.

The default is Ray 2.60's `ray/serve/autoscaling_policy.py`, called with what its controller would know: the mean over 30 s of requests in
flight, sampled every 6 s (0.2 times the look-back) and pushed every 10 s. The other is `TTFTAutoscalingPolicy` by the description of
ray-project/ray#64725, which is not in 2.60: it adds one to the running replicas while the P99 of a minute is above its target.
"""

import math
from types import SimpleNamespace
from typing import Any

from ray.serve.autoscaling_policy import _apply_delay_logic, _apply_scaling_factors, _core_replica_queue_length_policy
from ray.serve.config import AutoscalingConfig

from deployments.simulation.autoscaling.observation import Lag, Observation
from deployments.simulation.autoscaling.rules import Wanted
from tests.bench.scaling import signals

#: 0.2 × `look_back_period_s`, and `metrics_interval_s`.
LAG = Lag(sample_s=6.0, push_s=10.0, sync_s=1.0)


class _Delayed:
    """Ray's scaling factors and delays around a number."""

    def __init__(self, config: AutoscalingConfig) -> None:
        self.lag = LAG
        self._config = config
        self._state: dict[str, Any] = {}

    def _after_delays(self, desired: float, seen: Observation) -> int:
        scaled = _apply_scaling_factors(desired, seen.ready, self._config)
        number, self._state = _apply_delay_logic(scaled, seen.target, self._config, self._state, seen.now_s)
        return int(max(self._config.min_replicas, min(self._config.max_replicas, number)))


class RayDefault(_Delayed):
    """Requests in flight over `target_ongoing_requests`."""

    def __init__(self, target: float, least: int, most: int, **config: float) -> None:
        super().__init__(AutoscalingConfig(target_ongoing_requests=target, min_replicas=least, max_replicas=most, **config))

    def wanted(self, seen: Observation) -> Wanted:
        """Ray's number."""
        samples = seen.last(30.0)
        if not samples:
            return Wanted(seen.target)
        requests = sum(one.line + sum(each.running + each.waiting for each in one.replicas) for one in samples) / len(samples)
        context = SimpleNamespace(
            current_num_replicas=seen.ready, config=self._config, target_num_replicas=seen.target, total_num_requests=requests
        )
        return Wanted(self._after_delays(_core_replica_queue_length_policy(context)[0], seen), f"{requests:.0f} requests")


class RayTtft(_Delayed):
    """One more while the P99 is above the target, one less while it is below and replicas have less than one request each."""

    def __init__(self, target_s: float, least: int, most: int, **config: float) -> None:
        super().__init__(AutoscalingConfig(min_replicas=least, max_replicas=most, **config))
        self._target_s = target_s

    def wanted(self, seen: Observation) -> Wanted:
        """Ray's number, made of the running replicas as theirs is: while some start, it asks for fewer."""
        samples = seen.last(60.0)
        told = sorted(signals.ttfts_s(samples))
        if not told:
            return Wanted(self._after_delays(seen.ready, seen), "no data")
        p99 = told[math.ceil(0.99 * len(told)) - 1]
        ongoing = sum(one.running + one.waiting for one in samples[-1].replicas)
        desired = seen.ready + 1 if p99 > self._target_s else seen.ready - (ongoing < seen.ready)
        return Wanted(self._after_delays(desired, seen), f"P99 {p99:.1f} s")

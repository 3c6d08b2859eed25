"""Ray Serve's rule for the time to the first token, and its default without one.

`TTFTAutoscalingPolicy` by the description of ray-project/ray#64725, which is not in 2.60: it adds one to the running replicas while the
P99 of a minute is above its target.
"""

import math

from deployments.commands.simulating.peers import LAG
from deployments.ray_calls.scaling_rules.default import DefaultScaling
from deployments.simulation.autoscaling import signals
from deployments.simulation.autoscaling.observation import Observation
from deployments.simulation.autoscaling.rules import Wanted


class RayTtft:
    """One more while the P99 is above the target, one less while it is below and replicas have less than one request each."""

    def __init__(self, target_s: float, least: int, most: int, **config: float) -> None:
        self.lag = LAG
        self._rays = DefaultScaling(least, most, **config)
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

    def _after_delays(self, desired: int, seen: Observation) -> int:
        return self._rays.after_delays(desired, seen.ready, seen.target, seen.now_s)

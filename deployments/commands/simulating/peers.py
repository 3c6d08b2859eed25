"""Ray Serve's default rule of scaling over a simulated cluster. Imports Ray, so it is imported only when somebody compares with it."""

from deployments.ray_calls.scaling_rules.default import LOOK_BACK_S, PUSH_S, SAMPLE_S, DefaultScaling
from deployments.simulation.autoscaling.observation import Lag, Observation
from deployments.simulation.autoscaling.rules import Wanted

#: Ray's controller decides ten times a second; nothing that it sees changes as often.
LAG = Lag(sample_s=SAMPLE_S, push_s=PUSH_S, sync_s=1.0)


class RayDefault:
    """Requests in flight over `target_ongoing_requests`."""

    def __init__(self, target: float, least: int, most: int, **config: float) -> None:
        """Args:
        target: requests in flight for each replica.
        least: fewest replicas.
        most: most replicas.
        **config: further fields of Ray's `AutoscalingConfig`.
        """
        self.lag = LAG
        self._rays = DefaultScaling(least, most, target_ongoing_requests=target, **config)

    def wanted(self, seen: Observation) -> Wanted:
        """Returns Ray's number."""
        samples = seen.last(LOOK_BACK_S)
        if not samples:
            return Wanted(seen.target, "no metrics")
        requests = sum(one.line + sum(each.running + each.waiting for each in one.replicas) for one in samples) / len(samples)
        return Wanted(self._rays.by_requests(requests, seen.ready, seen.target, seen.now_s), f"{requests:.0f} requests")

"""Ray Serve's default rule of scaling, for simulations: Ray's own functions, called with what its controller would know.

Ray 2.60, `ray/serve/autoscaling_policy.py`: requests in flight over `target_ongoing_requests`, then its factors and its delays.
"""

from types import SimpleNamespace
from typing import Any

from ray.serve.autoscaling_policy import _apply_delay_logic, _apply_scaling_factors, _core_replica_queue_length_policy
from ray.serve.config import AutoscalingConfig

#: Seconds between two samples of a replica (0.2 times the look-back), between two pushes to the controller, and over which it averages.
SAMPLE_S, PUSH_S, LOOK_BACK_S = 6.0, 10.0, 30.0


class DefaultScaling:
    """The rule of one deployment, and what it remembers."""

    def __init__(self, least: int, most: int, **config: float) -> None:
        """Args:
        least: fewest replicas.
        most: most replicas.
        **config: further fields of Ray's `AutoscalingConfig`.
        """
        self._config = AutoscalingConfig(min_replicas=least, max_replicas=most, **config)
        self._state: dict[str, Any] = {}

    def by_requests(self, requests: float, running: int, target: int, now_s: float) -> int:
        """Returns Ray's number for requests in flight, averaged over its look-back."""
        context = SimpleNamespace(
            current_num_replicas=running, config=self._config, target_num_replicas=target, total_num_requests=requests
        )
        return self.after_delays(_core_replica_queue_length_policy(context)[0], running, target, now_s)

    def after_delays(self, desired: float, running: int, target: int, now_s: float) -> int:
        """Returns what Ray's factors, delays and bounds make of a number."""
        scaled = _apply_scaling_factors(desired, running, self._config)
        number, self._state = _apply_delay_logic(scaled, target, self._config, self._state, now_s)
        return int(max(self._config.min_replicas, min(self._config.max_replicas, number)))

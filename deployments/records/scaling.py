"""The herd's policy for Ray Serve's autoscaling, which also tells when the number of replicas that there should be has changed.

Decides nothing about the number: that is `deployments.ray_calls.scaling_policy`'s. Runs in Ray Serve's controller, which must not wait: the
event is kept by a thread of its own.
"""

from collections.abc import Callable
from typing import Any

from deployments.policy.fleet.events import Kind
from deployments.ray_calls.scaling_policy import ByOngoingRequests
from deployments.records.event_log import Teller


class Scaling(ByOngoingRequests):
    """A model's policy, which remembers what Ray Serve last moved to."""

    def __init__(self, ranks: int = 1, teller: Callable[[str], Teller] = Teller) -> None:
        """Args:
        ranks: of data-parallel attention, which Ray counts as replicas.
        teller: makes what keeps the events, from the name of this process's kind.
        """
        super().__init__(ranks)
        self._ranks_each = ranks
        self._target: int | None = None
        self._events: Teller | None = None
        self._teller = teller

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 (ray.serve.config.AutoscalingContext)
        """Returns the number that Ray Serve should move to, and tells where it has moved since the last call."""
        before, self._target = self._target, int(context.target_num_replicas)
        if before is not None and before != self._target:
            model = str(context.app_name).removeprefix("model.").replace("~", "/")
            self._tell(f"Ray Serve now wants {self._whole(self._target)} replicas instead of {self._whole(before)}", model)
        return super().__call__(context)

    def _whole(self, ranks: int) -> int:
        return -(-ranks // self._ranks_each)

    def _tell(self, words: str, model: str) -> None:
        if self._events is None:  # not in the constructor: Ray pickles the policy
            self._events = self._teller("autoscaling")
        self._events.tell(Kind.SCALE, words, model)

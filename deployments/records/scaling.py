"""The herd's policy for Ray Serve's autoscaling: returns the number that a thread beside it has decided on.

Ray Serve calls it in its controller's loop, ten times a second, for one model after the other: it never waits and never raises. As Ray
pickles this module by value, other modules are imported when they are needed, and where they are another release's nothing is decided.
"""

import logging
from typing import Any

logger = logging.getLogger("ray.serve")


class Scaling:
    """A model's policy. Ray Serve makes a new one with each `herd up`."""

    def __init__(
        self, ranks: int = 1, release: str = "", wanted: dict[str, Any] | None = None, place: dict[str, Any] | None = None
    ) -> None:
        """Args:
        ranks: of data-parallel attention, which Ray counts as replicas.
        release: that has declared the model.
        wanted: what the decision is told (`deployments.policy.scaling.wanted`); None: the number is the operator's.
        place: of the model among all that want GPUs (`deployments.policy.scaling.sharing`); None: it takes none.
        """
        self._ranks = ranks
        self._release = release
        self._wanted = wanted
        self._place = place
        self._follower: Any = None
        self._trouble = ""

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 (ray.serve.config.AutoscalingContext)
        """Returns the number that Ray Serve should move to: its own, while no other is decided."""
        held = context.target_num_replicas
        try:
            return self._number(context), {}
        except Exception as error:  # noqa: BLE001 (Ray Serve would not scale any other model in this turn)
            self._say(f"{type(error).__name__}: {error}")
            return held, {}

    def _number(self, context: Any) -> int:  # noqa: ANN401
        if self._follower is None:
            self._follower = self._followed(context)
        return int(self._follower.number(context))

    def _followed(self, context: Any) -> Any:  # noqa: ANN401
        from deployments.ray_calls.scaling_policy import RELEASE

        if self._release != RELEASE:
            raise RuntimeError(f"the controller has loaded release {RELEASE}, and {self._release} has declared the model")
        from deployments.records.scaling_follower import follower

        return follower(context, self._ranks, self._wanted, self._place)

    def _say(self, trouble: str) -> None:
        """Logs what is wrong, once: a controller's turn comes ten times a second."""
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning("scaling_held %s", trouble)

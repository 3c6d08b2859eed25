"""The herd's policy for Ray Serve's autoscaling: returns the number that a thread beside it has decided on.

Ray Serve calls it in its controller's loop, ten times a second, for one model after the other: it never waits and never raises. As Ray
pickles this module by value, other modules are imported when they are needed, and where they are another release's nothing is decided.
"""

import json
import logging
from typing import Any

logger = logging.getLogger("ray.serve")


class Scaling:
    """A model's policy. Its arguments are in the cluster's store (`deployments.policy.scaling.policy_arguments`), and may change."""

    def __init__(self, arguments: Any = None) -> None:  # noqa: ANN401 (deployments.records.policy_arguments.Arguments)
        """Args:
        arguments: what this policy is told; None: what the store has for the application that Ray Serve asks about.
        """
        self._arguments = arguments
        self._told = ""
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
        if self._arguments is None:
            from deployments.records.policy_arguments import Arguments

            self._arguments = Arguments(context.app_name)
        told = self._arguments.text()
        if told is None:
            return int(context.target_num_replicas)
        if self._follower is None or told != self._told:
            self._follower, self._told = self._followed(context, json.loads(told)), told
        return int(self._follower.number(context))

    def _followed(self, context: Any, told: dict[str, Any]) -> Any:  # noqa: ANN401
        from deployments.ray_calls.scaling_policy import RELEASE

        if told["release"] != RELEASE:
            raise RuntimeError(f"the controller has loaded release {RELEASE}, and {told['release']} has declared the model")
        from deployments.records.scaling_follower import follower

        return follower(context, told["ranks"], told["wanted"], told["place"])

    def _say(self, trouble: str) -> None:
        """Logs what is wrong, once: a controller's turn comes ten times a second."""
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning("scaling_held %s", trouble)

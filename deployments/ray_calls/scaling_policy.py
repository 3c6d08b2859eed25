"""Ray Serve's autoscaling hook → `cluster.scaling.ongoing_requests`.

Requests reach engines past Ray Serve's routers, which therefore count none: each engine says itself how many it has, how many it can run,
and how many the gateways have told it of that wait (`record_autoscaling_stats`). Ray pickles this module by value into its controller, so
it imports only what is installed there.
"""

from typing import Any

from cluster.scaling.ongoing_requests import desired_replicas

ONGOING, WAITING, ROOM = "ongoing_requests", "waiting_requests", "requests_at_once"


class ByOngoingRequests:
    """A model's policy for Ray Serve. Where its attention is data parallel, Ray counts ranks: they come and go as whole replicas."""

    def __init__(self, ranks: int = 1) -> None:
        self._ranks = ranks

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401 (ray.serve.config.AutoscalingContext)
        """The number that Ray Serve should move to; it applies the range and the delays."""
        metrics = context.aggregated_metrics or {}
        ongoing, waiting, room = (metrics.get(name, {}).values() for name in (ONGOING, WAITING, ROOM))
        return desired_replicas(ongoing, context.config.target_ongoing_requests, self._ranks, waiting, room), {}

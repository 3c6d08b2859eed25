"""Looks where Ray has placed an engine: GPUs of a tensor parallel group that are on several nodes would make it slow."""

from cluster.planner.placement import straddled
from deployments.ray_calls.nodes import of_own_bundles


class PlacementError(RuntimeError):
    """Ray has placed the engine where it would be slow; the message says what to do."""


def together(tensor: int | None) -> None:
    """Checks where Ray has placed this engine.

    Raises:
        PlacementError: a tensor parallel group is on several nodes.
    """
    if tensor is not None and (why := straddled(of_own_bundles(), tensor)):
        raise PlacementError(why)

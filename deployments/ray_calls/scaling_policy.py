"""Ray Serve's autoscaling context → two plain numbers, and this release as Ray's controller has it.

Ray pickles the policy (`deployments.records.scaling`) by value, and everything that it imports by name. A controller that has lived through
an upgrade has the modules of the release before: this one is among them, so its `RELEASE` says which they are.
"""

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

#: Of the modules that this process has loaded.
RELEASE = version("llama-herd")


@dataclass(frozen=True, slots=True)
class Told:
    """The usable part of Ray Serve's context. Its numbers count ranks."""

    model: str
    target: int
    running: int


def told(context: Any) -> Told:  # noqa: ANN401 (ray.serve.config.AutoscalingContext)
    """Returns what a context says."""
    model = str(context.app_name).removeprefix("model.").replace("~", "/")
    return Told(model, int(context.target_num_replicas), int(context.current_num_replicas))

"""Where an engine's GPUs are: a model's parallelism as Ray placement-group bundles and a strategy, as data.

Decides the shape only. That a shape is legal and fits is for `cluster.models` and the planner.
"""

from dataclasses import dataclass
from typing import Any, Literal

from configs.schema import Accelerator, Parallelism

Strategy = Literal["PACK", "STRICT_PACK"]

#: GPUs that NVLink joins in one DGX or HGX node. Tensor parallel beyond it would all-reduce over the network twice per layer.
GPUS_PER_NODE = 8


@dataclass(frozen=True, slots=True)
class Placement:
    """One replica's bundles: one per worker of the engine."""

    bundles: tuple[dict[str, float], ...]
    strategy: Strategy

    def as_ray(self) -> dict[str, Any]:
        """The form that `ray.serve.llm.LLMConfig.placement_group_config` takes."""
        return {"bundles": [dict(bundle) for bundle in self.bundles], "strategy": self.strategy}


def placement(parallel: Parallelism, accelerator: Accelerator) -> Placement:
    """The bundles of one replica.

    A replica that fits one node must be on one (STRICT_PACK): split by chance, its tensor parallel ranks would talk over the network.
    """
    if accelerator == "cpu":
        return Placement(({"CPU": 1.0},) * parallel.gpus, "PACK")
    strategy: Strategy = "STRICT_PACK" if parallel.gpus <= GPUS_PER_NODE else "PACK"
    return Placement(({"CPU": 1.0, "GPU": 1.0},) * parallel.gpus, strategy)

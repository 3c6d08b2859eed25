"""Where an engine's GPUs are: a model's parallelism as Ray placement-group bundles and a strategy, as data.

Decides the shape only. That a shape is legal is for `cluster.planner.legality`, that it fits for `cluster.planner.capacity`.
"""

from dataclasses import dataclass
from typing import Any, Literal

from configs.names import Accelerator
from configs.parallelism import Parallelism

Strategy = Literal["PACK", "STRICT_PACK"]

#: GPUs that NVLink joins in one DGX or HGX node. Tensor parallel beyond it would all-reduce over the network twice per layer.
GPUS_PER_NODE = 8


@dataclass(frozen=True, slots=True)
class Placement:
    """One placement group: a bundle per worker of the engine. Ranks of data-parallel attention have a group each."""

    bundles: tuple[dict[str, float], ...]
    strategy: Strategy
    ranks: int = 1

    def as_ray(self) -> dict[str, Any]:
        """The form that `ray.serve.llm.LLMConfig.placement_group_config` takes."""
        return {"bundles": [dict(bundle) for bundle in self.bundles], "strategy": self.strategy}


def placement(parallel: Parallelism, accelerator: Accelerator, gpus_per_node: int = GPUS_PER_NODE) -> Placement:
    """The bundles of one replica: tensor parallel ranks next to each other, one pipeline stage after the other (vLLM's order).

    A rank of data-parallel attention that fits one node must be on one (STRICT_PACK): split by chance, its tensor parallel workers would
    talk over the network. One that does not is packed on as few nodes as there is room on, so a stage of 8 takes a node of 8.
    """
    workers = parallel.gpus // parallel.data
    if accelerator == "cpu":
        return Placement(({"CPU": 1.0},) * workers, "PACK", parallel.data)
    strategy: Strategy = "STRICT_PACK" if workers <= gpus_per_node else "PACK"
    return Placement(({"CPU": 1.0, "GPU": 1.0},) * workers, strategy, parallel.data)


def blocks(parallel: Parallelism, gpus_per_node: int) -> dict[int, int]:
    """The GPUs of one replica in pieces that must each be on one node, and how many of each: its ranks, or their pipeline stages."""
    workers = parallel.gpus // parallel.data
    if workers <= gpus_per_node:
        return {workers: parallel.data}
    if parallel.tensor <= gpus_per_node:
        return {parallel.tensor: parallel.pipeline * parallel.data}
    return {1: parallel.gpus}

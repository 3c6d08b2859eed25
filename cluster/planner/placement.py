"""Where an engine's GPUs are: a model's parallelism as Ray placement-group bundles and a strategy, as data.

Decides the shape only. That a shape is legal is for `cluster.planner.legality`, that it fits for `cluster.planner.capacity`.
"""

from collections import Counter
from collections.abc import Sequence
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
    talk over the network. One that does not is packed on as few nodes as there is room on, so a stage of 8 takes a node of 8 where one is
    empty; `straddled` tells where Ray has placed it otherwise.
    """
    workers = parallel.gpus // parallel.data
    if accelerator == "cpu":
        return Placement(({"CPU": 1.0},) * workers, "PACK", parallel.data)
    strategy: Strategy = "STRICT_PACK" if workers <= gpus_per_node else "PACK"
    return Placement(({"CPU": 1.0, "GPU": 1.0},) * workers, strategy, parallel.data)


def straddled(nodes: Sequence[str], tensor: int) -> str | None:
    """Returns a sentence if a tensor parallel group is spread over several nodes; None if each has a node for itself.

    Ray has no group of groups: a pipeline's stages, and the ranks of data-parallel attention, are one placement group that is packed.

    Args:
        nodes: the node of each bundle of the placement group.
        tensor: GPUs of a tensor parallel group. vLLM sorts workers by node, so a node with whole groups splits none.
    """
    counts = Counter(nodes)
    if all(count % tensor == 0 for count in counts.values()):
        return None
    return (
        f"its {len(nodes)} GPUs were placed as {' + '.join(str(count) for count in sorted(counts.values(), reverse=True))} on "
        f"{len(counts)} nodes, so GPUs of a tensor parallel group of {tensor} would talk over the network twice per layer. Make room for "
        f"{tensor} GPUs on one node (move smaller models away), or set parallel.across_nodes: true"
    )


def blocks(parallel: Parallelism, gpus_per_node: int) -> dict[int, int]:
    """The GPUs of one replica in pieces that must each be on one node, and how many of each: its ranks, or their pipeline stages."""
    workers = parallel.gpus // parallel.data
    if workers <= gpus_per_node:
        return {workers: parallel.data}
    if parallel.tensor <= gpus_per_node:
        return {parallel.tensor: parallel.pipeline * parallel.data}
    return {1: parallel.gpus}

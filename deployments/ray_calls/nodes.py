"""The nodes of a Ray cluster. Needs a connection to Ray.

Decides nothing. Ray describes nodes and placement groups in mappings whose names it does not document; only this file knows them. Ray is
imported when a function is called: most of the herd's commands run without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments.policy.monitoring.cluster_facts import Node

#: A resource that Ray gives to the node of its head, and to no other.
HEAD = "node:__internal_head__"


@dataclass(frozen=True, slots=True)
class RayNode:
    """A node that lives."""

    id: str
    address: str
    resources: Mapping[str, float]
    labels: Mapping[str, str]

    @property
    def is_head(self) -> bool:
        """Tells whether Ray's head runs there."""
        return HEAD in self.resources


def living() -> tuple[RayNode, ...]:
    """Returns the nodes that live, in Ray's order."""
    import ray

    return tuple(
        RayNode(node["NodeID"], node["NodeManagerAddress"], node["Resources"], dict(node.get("Labels") or {}))
        for node in ray.nodes()
        if node["Alive"]
    )


#: Why a node is dead, where somebody ended it: told to end, drained for its machine's owner, idle (`NodeDeathInfo.Reason` of Ray).
TOLD_TO_END = (1, 3, 4)


def table() -> tuple[Node, ...]:
    """Returns all nodes that Ray knows, dead ones too, with their GPUs and the ports of their metrics. Asks the GCS three times."""
    import ray

    from deployments.ray_calls.drain import draining

    leaving, left = draining(), free()
    return tuple(_node(node, leaving, left.get(node["NodeID"], {})) for node in ray.nodes())


def _node(node: Mapping[str, Any], leaving: frozenset[str], left: Mapping[str, float]) -> Node:
    alive = bool(node["Alive"])
    return Node(
        id=node["NodeID"],
        address=node["NodeManagerAddress"],
        name=node["NodeManagerHostname"] or node["NodeManagerAddress"],
        alive=alive,
        draining=alive and node["NodeID"] in leaving,
        told_to_end=node.get("DeathReason") in TOLD_TO_END,
        metrics_port=max(0, node["MetricsExportPort"]),
        gpus=node["Resources"].get("GPU", 0.0),
        free_gpus=left.get("GPU", 0.0),
    )


def gone() -> tuple[str, ...]:
    """Returns the addresses of nodes that were a part of this cluster, and are none now."""
    import ray

    there = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
    return tuple(sorted({node["NodeManagerAddress"] for node in ray.nodes()} - there))


def own() -> str:
    """Returns the id of the node that this process runs on."""
    import ray

    return str(ray.get_runtime_context().get_node_id())


def free() -> dict[str, dict[str, float]]:
    """Returns what Ray has left to give on each node, by the node's id; a resource of which nothing is left is missing."""
    from ray._private.state import available_resources_per_node

    found: dict[str, dict[str, float]] = available_resources_per_node()
    return found


def of_own_bundles() -> list[str]:
    """Returns the id of the node of each bundle of this process's placement group; its own node's where it has no group."""
    import ray

    group = ray.util.get_current_placement_group()
    return [own()] if group is None else list(ray.util.placement_group_table(group)["bundles_to_node_id"].values())


def of_own_placement_group() -> list[str]:
    """Returns the ids of the nodes that this process's placement group is spread over, in order; its own node's where it has no group."""
    return sorted(set(of_own_bundles()))


def logs_folder() -> Path:
    """Returns the folder in which the Ray of this process's node writes its logs. Ray has no public name for it."""
    from ray._private import worker

    return Path(worker._global_node.get_logs_dir_path())  # noqa: SLF001 (Ray Serve finds its folder so, too)

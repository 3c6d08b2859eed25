"""Nodes that leave: Ray gives them no new work, moves what can be moved, and ends there. Needs a connection to Ray.

Decides nothing.
"""

import time
from typing import Any

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # what `ray drain-node` uses; there is no public name
from ray.core.generated import autoscaler_pb2

ANSWER_S = 10.0


def draining() -> frozenset[str]:
    """The nodes that Ray gives no new work, by their id."""
    return frozenset(_gcs().get_draining_nodes(timeout=ANSWER_S))


def drain(node_id: str, why: str, within_s: float) -> str | None:
    """Has Ray drain a node: nothing new is placed there, Ray Serve moves its replicas, and Ray there ends when nothing is left.

    Args:
        node_id: which.
        why: for Ray's log.
        within_s: by then replicas go that have found no other place.

    Returns:
        Why Ray would not, if so.
    """
    reason = autoscaler_pb2.DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")  # the one that is not refused
    accepted, refusal = _gcs().drain_node(node_id, reason, why, int((time.time() + within_s) * 1000))
    return None if accepted else str(refusal)


def _gcs() -> Any:  # noqa: ANN401 (Ray's C++ client)
    return GcsClient(address=ray.get_runtime_context().gcs_address)

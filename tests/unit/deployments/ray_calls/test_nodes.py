"""`ray_calls.nodes`: Ray's words about a node, as values of ours."""

from typing import Any

import pytest

from deployments.policy.monitoring.cluster_facts import Node
from deployments.ray_calls.nodes import _node

#: As Ray 2.60 tells it, with the fields that are not read left out.
TOLD: dict[str, Any] = {
    "NodeID": "n1",
    "Alive": True,
    "NodeManagerAddress": "10.0.0.1",
    "NodeManagerHostname": "dgx-1",
    "MetricsExportPort": 6000,
    "Resources": {"CPU": 4.0, "GPU": 8.0},
    "DeathReason": 0,
}


def test_node_that_lives() -> None:
    assert _node(TOLD, frozenset(), {"GPU": 3.0}) == Node("n1", "10.0.0.1", "dgx-1", metrics_port=6000, gpus=8, free_gpus=3)
    assert _node(TOLD, frozenset({"n1"}), {}) == Node("n1", "10.0.0.1", "dgx-1", draining=True, metrics_port=6000, gpus=8)


@pytest.mark.parametrize(("reason", "told_to_end"), [(0, False), (1, True), (2, False), (3, True), (4, True)])
def test_node_that_is_dead(reason: int, told_to_end: bool) -> None:
    dead = TOLD | {"Alive": False, "Resources": {}, "MetricsExportPort": -1, "NodeManagerHostname": "", "DeathReason": reason}
    assert _node(dead, frozenset({"n1"}), {}) == Node("n1", "10.0.0.1", "10.0.0.1", alive=False, told_to_end=told_to_end)

"""`ray_calls.nodes`: Ray's words about a node, as values of ours."""

from typing import Any

import pytest
import ray
from ray._private import state

from deployments.policy.monitoring.cluster_facts import Node
from deployments.ray_calls import nodes
from deployments.ray_calls.nodes import Gpus, _node

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


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "NodeManagerAddress": "10.0.0.1", "Resources": resources, "Labels": {}, "Alive": alive}


def test_gpus_are_those_of_nodes_that_live(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [node("a", GPU=8.0), node("b", GPU=4.0), node("c", CPU=1.0), node("d", alive=False, GPU=8.0)]
    monkeypatch.setattr(ray, "nodes", lambda: there)
    monkeypatch.setattr(state, "available_resources_per_node", lambda: {"a": {"GPU": 2.5}, "b": {"CPU": 1.0}, "d": {"GPU": 8.0}})
    assert nodes.gpus() == Gpus(12.0, 2.5)

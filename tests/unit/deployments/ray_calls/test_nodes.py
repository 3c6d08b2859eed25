"""What Ray says of its nodes."""

from typing import Any

import pytest
import ray
from ray._private import state

from deployments.ray_calls import nodes
from deployments.ray_calls.nodes import Gpus


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "NodeManagerAddress": "10.0.0.1", "Resources": resources, "Labels": {}, "Alive": alive}


def test_gpus_are_those_of_nodes_that_live(monkeypatch: pytest.MonkeyPatch) -> None:
    there = [node("a", GPU=8.0), node("b", GPU=4.0), node("c", CPU=1.0), node("d", alive=False, GPU=8.0)]
    monkeypatch.setattr(ray, "nodes", lambda: there)
    monkeypatch.setattr(state, "available_resources_per_node", lambda: {"a": {"GPU": 2.5}, "b": {"CPU": 1.0}, "d": {"GPU": 8.0}})
    assert nodes.gpus() == Gpus(12.0, 2.5)

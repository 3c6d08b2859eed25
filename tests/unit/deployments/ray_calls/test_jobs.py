"""Programs that are connected to Ray: which of them still run, by Ray's table of jobs and its nodes."""

from typing import Any

import pytest
import ray
from ray._private.state import state

from deployments.ray_calls import jobs


def job(address: str, dead: bool) -> dict[str, Any]:
    return {"JobID": "02", "DriverIPAddress": address, "IsDead": dead}


def node(address: str, alive: bool) -> dict[str, Any]:
    return {"NodeID": address, "NodeManagerAddress": address, "Alive": alive}


@pytest.mark.parametrize(
    ("table", "lives"),
    [
        ([job("10.0.0.1", dead=False)], True),
        ([job("10.0.0.1", dead=True)], False),
        ([job("10.0.0.2", dead=False)], False),
        ([job("10.0.0.3", dead=False)], True),
        ([job("10.0.0.9", dead=False)], True),
        ([], False),
    ],
    ids=["runs", "has ended", "its node is gone", "its node has come back", "its node is not known", "is not known"],
)
def test_program_lives_until_ray_says_that_it_or_its_node_is_gone(
    table: list[dict[str, Any]], lives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "job_table", lambda: table)
    nodes = [node("10.0.0.1", True), node("10.0.0.2", False), node("10.0.0.3", False), node("10.0.0.3", True)]
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    assert jobs.lives("02") is lives

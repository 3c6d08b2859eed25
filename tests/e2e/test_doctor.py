"""`herd doctor` on a real Ray cluster of two nodes, on this machine: what it finds, what it drains, and who gets no replica."""

import json
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.cluster_utils import Cluster
from ray.util import placement_group, remove_placement_group

from cluster.nodes import Finding, Level
from cluster.quarantine import NOT_SICK, labels
from tests.e2e.conftest import HERD, wait_for

MODEL = {"id": "a", "kind": "llama-3-8b", "checkpoint": "small:none", "context_tokens": 512}
NODE: dict[str, Any] = {"object_store_memory": 100 << 20, "num_cpus": 1}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without GPU, and a worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # what the start commands do, with `ulimit`
    running = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        running.add_node(**NODE)
        yield running
    finally:
        running.shutdown()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def doctor(cluster: Cluster, folder: Path, config: dict[str, Any], *words: str) -> "subprocess.CompletedProcess[str]":
    path = folder / "herd.yaml"
    path.write_text(yaml.safe_dump({"ray": {"address": cluster.address}, "models": [MODEL], **config}), encoding="utf-8")
    env = os.environ | {"HERD_STATE": str(folder), "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run([HERD, "doctor", str(path), *words], env=env, capture_output=True, text=True, timeout=300, check=False)


def findings(report: dict[str, Any], node: int) -> dict[str, str]:
    return {one["check"]: one["level"] for one in report["nodes"][node]["findings"]}


def test_nodes_that_may_serve_and_what_goes_between_them(cluster: Cluster, tmp_path: Path) -> None:
    done = doctor(cluster, tmp_path, {}, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert [node["head"] for node in report["nodes"]] == [True, False]
    for node in range(2):
        found = findings(report, node)
        assert (found["GPUs"], found["versions"], found["all-reduce"]) == ("not checked", "ok", "ok")
    assert findings(report, 1)["clock skew"] == "ok", "both nodes have the same clock"
    (pair,) = report["pairs"]
    assert pair["backend"] == "gloo"
    assert pair["gbyte_s"] > 0.01


def test_labelled_node_gets_nothing_that_asks_for_health(cluster: Cluster) -> None:
    sick = labels([Finding("ECC", Level.FAIL, "")])
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        cluster.add_node(**NODE, resources={"place": 1}, labels=sick)
        group = placement_group([{"place": 1}], bundle_label_selector=[NOT_SICK])
        assert not group.wait(3), "the only place is on a sick node"
        free = placement_group([{"place": 1}])
        assert free.wait(30), "the place is free for who does not ask"
        remove_placement_group(free)
        unlabelled = cluster.add_node(**NODE, resources={"place": 1})
        assert group.wait(30), "a node that nobody examined may serve"
        assert set(ray.util.placement_group_table(group)["bundles_to_node_id"].values()) == {unlabelled.node_id}
        cluster.remove_node(unlabelled)
    finally:
        ray.shutdown()


def test_sick_nodes_are_told_and_drained(cluster: Cluster, tmp_path: Path) -> None:
    promised = {"hardware": {"node": "dgx-h100", "nodes": 3}}
    done = doctor(cluster, tmp_path, promised, "--no-pairs", "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert [findings(report, node)["GPUs"] for node in range(3)] == ["not checked", "fail", "fail"], "a head need not have GPUs"
    assert sorted(findings(report, node).get("label", "") for node in (1, 2)) == ["", "warn"], "one says so itself"
    assert [(one["check"], one["level"]) for one in report["findings"]] == [("nodes", "fail")]
    assert done.stdout.count("nvidia-smi is not installed") == 2

    drained = doctor(cluster, tmp_path, promised, "--no-pairs", "--drain")
    assert drained.returncode == 1
    assert "Draining: " in drained.stdout
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        wait_for("the sick nodes' Ray ends", lambda: sum(node["Alive"] for node in ray.nodes()) == 1, within_s=60, every_s=0.5)
    finally:
        ray.shutdown()

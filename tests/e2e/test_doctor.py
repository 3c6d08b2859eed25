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

from cluster.doctor.facts import Finding, Level
from cluster.doctor.quarantine import NOT_SICK, labels
from tests.e2e.conftest import HERD, wait_for

MODEL = {"id": "a", "kind": "llama-3-8b", "checkpoint": "small:none", "context_tokens": 512}
#: Longest wait for Ray to give what is there.
PLACED_S = 120
NODE: dict[str, Any] = {"object_store_memory": 100 << 20, "num_cpus": 1}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without GPU, and a worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # what the start commands do, with `ulimit`
    running = _started()
    try:
        running.add_node(**NODE)
        yield running
    finally:
        running.shutdown()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _started() -> Cluster:
    """Ray gives a node half a minute to start, which a machine that does much else at the time may not keep."""
    for last in (False, False, True):
        try:
            return Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
        except Exception as error:  # Ray's own has no other type
            if last or "timed out during startup" not in str(error):
                raise
    raise AssertionError("unreachable")


def doctor(cluster: Cluster, folder: Path, config: dict[str, Any], *words: str) -> "subprocess.CompletedProcess[str]":
    path = folder / "herd.yaml"
    path.write_text(
        yaml.safe_dump({"ray": {"address": cluster.address, "require_token": False}, "models": [MODEL], **config}), encoding="utf-8"
    )
    env = os.environ | {"HERD_STATE": str(folder)}
    return subprocess.run([HERD, "doctor", str(path), *words], env=env, capture_output=True, text=True, timeout=300, check=False)


def findings(report: dict[str, Any], node: int) -> dict[str, str]:
    return {one["check"]: one["level"] for one in report["nodes"][node]["findings"]}


def living() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def test_nodes_that_may_serve_and_what_goes_between_them(cluster: Cluster, tmp_path: Path) -> None:
    done = doctor(cluster, tmp_path, {}, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert [node["head"] for node in report["nodes"]] == [True, False]
    for node in range(2):
        found = findings(report, node)
        assert (found["GPUs"], found["versions"], found["all-reduce"]) == ("not checked", "ok", "ok")
    assert findings(report, 1)["clock skew"] == "ok", "both nodes have the same clock"
    assert [(one["check"], one["level"]) for one in report["findings"]] == [("Ray's token", "warn")], "as the config takes it"
    (pair,) = report["pairs"]
    assert pair["backend"] == "gloo"
    assert pair["gbyte_s"] > 0


def test_labelled_node_gets_nothing_that_asks_for_health(cluster: Cluster) -> None:
    sick = labels([Finding("ECC", Level.FAIL, "")])
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        cluster.add_node(**NODE, resources={"place": 1}, labels=sick)
        group = placement_group([{"place": 1}], bundle_label_selector=[NOT_SICK])
        assert not group.wait(3), "the only place is on a sick node"
        free = placement_group([{"place": 1}])
        assert free.wait(PLACED_S), "the place is free for who does not ask"
        remove_placement_group(free)
        unlabelled = cluster.add_node(**NODE, resources={"place": 1})
        assert group.wait(PLACED_S), "a node that nobody examined may serve"
        assert set(ray.util.placement_group_table(group)["bundles_to_node_id"].values()) == {unlabelled.node_id}
        cluster.remove_node(unlabelled)
        wait_for("Ray misses it", lambda: unlabelled.node_id not in living(), within_s=120, every_s=0.5)  # the next test counts nodes
    finally:
        ray.shutdown()


def test_gpus_that_are_promised_and_a_wrong_promise_drains_nobody(cluster: Cluster, tmp_path: Path) -> None:
    done = doctor(cluster, tmp_path, {"hardware": {"node": "dgx-h100", "nodes": 3}}, "--no-pairs", "--drain", "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    assert [findings(report, node)["GPUs"] for node in range(3)] == ["not checked", "fail", "fail"], "a head need not have GPUs"
    assert sorted(findings(report, node).get("label", "") for node in (1, 2)) == ["", "warn"], "one says so itself"
    assert [(one["check"], one["level"]) for one in report["findings"]] == [("nodes", "fail"), ("Ray's token", "warn")]
    assert report["drained"] == []
    assert "No node would be left" in done.stderr


def test_sick_node_is_drained_and_the_others_stay(cluster: Cluster, tmp_path: Path) -> None:
    broken = tmp_path / "nvidia-smi"
    broken.write_text("#!/bin/sh\necho NVIDIA-SMI has failed\nexit 9\n")
    broken.chmod(0o755)
    sick = cluster.add_node(**NODE, env_vars={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    done = doctor(cluster, tmp_path, {}, "--no-pairs", "--drain", "--within-s", "30", "--json")
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    (told,) = [node for node in report["nodes"] if node["level"] == "fail"]
    assert (told["id"], report["drained"]) == (sick.node_id, [told["name"]])
    assert "NVIDIA-SMI has failed" in done.stdout
    ray.init(address=cluster.address, log_to_driver=False)
    try:
        wait_for("Ray on the sick node ends", lambda: sick.node_id not in living(), within_s=120, every_s=0.5)
        assert len(living()) == 3
    finally:
        ray.shutdown()

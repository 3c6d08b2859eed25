"""Where Ray places engines, on a cluster of three nodes with GPUs that only Ray believes in: why one waits, and what is split by chance."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray import serve
from ray.cluster_utils import Cluster
from ray.util import placement_group, placement_group_table, remove_placement_group

from cluster.doctor.quarantine import FOUND_LABEL, HEALTH_LABEL, NOT_SICK, SICK
from cluster.planner.placement import straddled
from configs.keys import ROOT
from deployments.policy.fleet.placement_reason import why_pending
from deployments.ray_calls.names import ENGINE, app_name
from deployments.ray_calls.pending import pending, placed, room
from tests.bench.process import free_port
from tests.e2e.conftest import HERD
from tests.e2e.test_doctor import NODE, _started

#: Longest wait for anything here; a busy machine needs more than the seconds that an idle one does.
WITHIN_S = 300.0
GPU = {"CPU": 0.01, "GPU": 1.0}
SECRET = "0123456789abcdef" * 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A head without GPU, two nodes of four H100, and one of eight B200 that found itself sick."""
    before = os.environ.get(ROOT)
    os.environ[ROOT] = SECRET  # the nodes' processes have it from here
    running = _started()
    try:
        for _ in range(2):
            running.add_node(**NODE, num_gpus=4, resources={"accelerator_type:H100": 1})
        sick = {HEALTH_LABEL: SICK, FOUND_LABEL: "rdma"}
        running.add_node(**NODE, num_gpus=8, resources={"accelerator_type:B200": 1}, labels=sick)
        ray.init(address=running.address, log_to_driver=False)
        serve.start(proxy_location="Disabled")
        yield running
    finally:
        serve.shutdown()
        ray.shutdown()
        running.shutdown()
        os.environ.pop(ROOT) if before is None else os.environ.update({ROOT: before})


class Idle:
    """An engine's place in Ray Serve."""


IDLE: Any = serve.deployment(name=ENGINE, ray_actor_options={"num_cpus": 0.01})(Idle)


def reason(model: str, bundles: list[dict[str, float]], strategy: str) -> tuple[str, float]:
    """Declares an engine with these bundles; returns why it waits, and after how many seconds that was known."""
    waiting = IDLE.options(
        placement_group_bundles=bundles, placement_group_strategy=strategy, placement_group_bundle_label_selector=[NOT_SICK]
    )
    began = time.monotonic()
    serve._run(waiting.bind(), name=app_name(model), route_prefix=None, _blocking=False)
    try:
        wait_until(lambda: pending(app_name(model)) is not None)
        demand = pending(app_name(model))
        assert demand is not None
        return why_pending(demand, room()), time.monotonic() - began
    finally:
        serve.delete(app_name(model))


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < deadline, f"not within {WITHIN_S:g} s"
        time.sleep(0.2)


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize(
    ("kind", "gpus", "said"),
    [
        ("H200", 1, "no node has H200; the nodes have B200, H100. Correct `accelerator`"),
        ("H100", 8, "it takes 8 GPUs on one node; "),
        ("B200", 8, "the only node that could have it is labelled sick: "),
    ],
)
def test_reason_that_an_engine_of_ray_serve_waits_is_known(kind: str, gpus: int, said: str) -> None:
    why, after_s = reason(f"org/{kind}", [GPU | {f"accelerator_type:{kind}": 0.001}] * gpus, "STRICT_PACK")
    print(f"known after {after_s:.1f} s")
    assert why.startswith(said)


@pytest.mark.usefixtures("cluster")
def test_engine_that_has_its_place_waits_for_nothing() -> None:
    app = app_name("placed")
    serve._run(
        IDLE.options(placement_group_bundles=[GPU], placement_group_strategy="PACK").bind(), name=app, route_prefix=None, _blocking=False
    )
    wait_until(lambda: placed(app))
    assert pending(app) is None
    serve.delete(app)


def nodes_of(group: Any) -> list[str]:
    assert group.wait(timeout_seconds=WITHIN_S)
    return list(placement_group_table(group)["bundles_to_node_id"].values())


@pytest.mark.usefixtures("cluster")
@pytest.mark.parametrize("large_first", [True, False])
def test_packing_splits_a_tensor_parallel_group_by_chance_unless_the_largest_comes_first(large_first: bool) -> None:
    """A pipeline of three stages of two GPUs; and two engines of one GPU, which stand on two nodes as an autoscaler's come and go."""
    h100 = GPU | {"accelerator_type:H100": 0.001}

    def large() -> Any:
        return placement_group([h100] * 6, strategy="PACK", bundle_label_selector=[NOT_SICK] * 6)

    def small() -> Any:
        return placement_group([h100] * 2, strategy="STRICT_SPREAD", bundle_label_selector=[NOT_SICK] * 2)

    kept = []
    wait_until(lambda: ray.available_resources().get("GPU") == 16)  # what an earlier test had is given back a moment later
    try:
        for make in (large, small) if large_first else (small, large):
            kept.append(make())
            if make is large:
                nodes = nodes_of(kept[-1])
            else:
                kept[-1].wait(timeout_seconds=1 if large_first else WITHIN_S)
        assert (straddled(nodes, 2) is None) == large_first, nodes
    finally:
        for group in kept:
            remove_placement_group(group)


def test_from_herd_up_to_the_sentence_in_herd_status(cluster: Cluster, tmp_path: Path) -> None:
    """The last one here: it takes Ray Serve down."""
    path = tmp_path / "herd.yaml"
    model = {"id": "a", "kind": "llama-3-8b", "checkpoint": "/nowhere", "accelerator": "H200", "context_tokens": 8192}
    config = {"ray": {"address": cluster.address, "require_token": False}, "gateway": {"port": free_port()}, "models": [model]}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    env = os.environ | {"HERD_STATE": str(tmp_path / "state")}
    began, why = time.monotonic(), None
    with subprocess.Popen([HERD, "up", str(path)], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as up:
        try:
            while why is None and up.poll() is None and time.monotonic() < began + WITHIN_S:
                asked = subprocess.run([HERD, "status", "--json"], env=env, capture_output=True, text=True, timeout=120, check=False)
                why = json.loads(asked.stdout)["models"][0]["why"] if asked.returncode == 0 else None
            after_s = time.monotonic() - began
        finally:
            up.terminate()
            told = up.communicate()[0]
            subprocess.run([HERD, "down"], env=env, capture_output=True, timeout=240, check=False)
    assert why is not None, told
    assert why.startswith("no node has H200; the nodes have B200, H100"), why
    print(f"herd status says why after {after_s:.1f} s")

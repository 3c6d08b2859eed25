"""Real Ray Serve moves two models on four GPUs that Ray is told of: one gives way to the other, and at no time do both want more.

Their engines are actors that do nothing, and gateways' records of their load are written by hand.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
APART = ("unshare", "--pid", "--net", "--mount", "--fork", "--mount-proc", "--kill-child")
GPUS = 4
STORY = """
import json, sys, time
from dataclasses import asdict
import ray
from ray import serve
from deployments.policy.queue import load_record
from deployments.policy.queue.load_record import BUCKET_S, Counted, EngineLoads, LoadRecord, Usual
from deployments.policy.records import verdict as verdicts
from deployments.policy.scaling import policy_arguments
from deployments.policy.scaling.sharing import Place
from deployments.policy.scaling.wanted import as_plain
from deployments.ray_calls import cluster_store
from deployments.ray_calls.scaling_policy import RELEASE
from tests.unit.deployments.policy.scaling.samples import wanted

ray.init(num_cpus=8, num_gpus=4, include_dashboard=False, _temp_dir=sys.argv[1])
serve.start(proxy_location="Disabled")

class Engine:
    pass

MODELS = {"scout": Place(0, 1), "maverick": Place(1, 2)}
for name, place in MODELS.items():
    least = 1 if name == "scout" else 0
    told = as_plain(wanted(least=least, most=4, release=RELEASE, idle_s=20.0))
    policy = {"ranks": 1, "release": RELEASE, "wanted": told, "place": asdict(place)}
    cluster_store.keep(policy_arguments.key(f"model.{name}"), json.dumps(policy))
    engine = serve.deployment(
        name="engine",
        graceful_shutdown_timeout_s=2,
        ray_actor_options={"num_cpus": 0, "num_gpus": place.gpus},
        autoscaling_config={
            "min_replicas": least, "max_replicas": 4, "upscale_delay_s": 0, "downscale_delay_s": 0, "downscale_to_zero_delay_s": 0,
            "policy": {"policy_function": "deployments.records.scaling:Scaling"},
        },
    )(Engine)
    serve.run(engine.bind(), name=f"model.{name}", route_prefix=None)

began = time.time()

def loaded(name, requests, waiting):
    now = time.time()
    buckets = [Counted(number, requests) for number in range(int(began / BUCKET_S), int(now / BUCKET_S) + 1)]
    record = LoadRecord("gw", RELEASE, now, began - 1000, tuple(buckets), waiting, 10.0 * waiting, 0, Usual(10, 100, 4.0), EngineLoads())
    cluster_store.keep(load_record.key(name, "gw"), load_record.written(record))

def replicas(name):
    return serve.status().applications[f"model.{name}"].deployments["engine"].replica_states

def looked(what):
    states = {name: {str(getattr(state, "value", state)): count for state, count in replicas(name).items()} for name in MODELS}
    print(json.dumps({"what": what, "at_s": round(time.time() - began, 1), **states}), flush=True)
    return {name: found.get("RUNNING", 0) for name, found in states.items()}

def until(what, maverick, ready):
    for _ in range(180):
        loaded("scout", 20, 0)
        loaded("maverick", maverick, maverick)
        if ready(looked(what)):
            return
        time.sleep(0.5)
    raise SystemExit(f"{what}: does not come")

until("scout has all", 0, lambda running: running == {"scout": 4, "maverick": 0})
until("maverick comes", 4, lambda running: running == {"scout": 2, "maverick": 1})
said = verdicts.read(cluster_store.kept(verdicts.key("scout")))
print(json.dumps({"binds": said.binds, "reason": said.reason}), flush=True)
serve.shutdown()
"""


@pytest.mark.skipif(os.getuid() != 0 or shutil.which("unshare") is None, reason="needs root, for a process namespace of its own")
def test_trap_20_real_serve_moves_two_models_and_never_wants_more_gpus_than_there_are(tmp_path: Path) -> None:
    folder = Path(f"/tmp/herd-several-{os.getpid()}")
    variables = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    words = [*APART, "bash", "-e", "-c", 'ip link set lo up; exec "$0" -c "$1" "$2"', sys.executable, STORY, str(folder)]
    try:
        done = subprocess.run(words, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=300, check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for step in steps[:-1]:
        print(step)
        assert held(step) <= GPUS, step
    assert steps[-1]["binds"] == "other models"
    assert "scout: 2 of the " in steps[-1]["reason"]


def held(step: dict[str, Any]) -> int:
    """GPUs that replicas hold or wait for."""
    return sum(gpus * sum(step[name].values()) for name, gpus in (("scout", 1), ("maverick", 2)))

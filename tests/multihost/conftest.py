"""Three fake hosts that `ray up` has made a cluster of, for all tests here, and what a single engine says beside it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from configs.load import environment
from deployments.small_models import ensure
from tests.multihost.hosts import Hosts, missing
from tests.multihost.reference import CONTEXT_TOKENS, ENGINE
from tests.multihost.steps import between, token

ROOT = Path(__file__).parents[2]
STAND_IN = Path(__file__).parent / "stand_in"
BIN = Path(sys.executable).parent
PORT = 8000
MAVERICK, SCOUT = "llama-4-maverick-tiny", "llama-4-scout-tiny"
PROMPTS = (
    "What is a llama?",
    "The quick brown fox jumps over the lazy dog, and then",
    " ".join(str(number) for number in range(150)),  # more than a chunk of its chunked attention
)
UP_S, JOIN_S, HERD_S = 300.0, 120.0, 900.0


@pytest.fixture(scope="package")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    """Three hosts with a logical GPU each, and the operator's."""
    why_not = missing()
    if why_not:
        pytest.skip(why_not)
    running = Hosts(tmp_path_factory.mktemp("hosts"), 3, shell_environment())
    try:
        yield running
    finally:
        running.close()


def shell_environment() -> dict[str, str]:
    """What a site's own shells would have: this environment's programs, the network card, and what stands in for GPUs."""
    found = os.environ.get("PYTHONPATH", "")
    return {
        "PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": f"{STAND_IN}:{found}" if found else str(STAND_IN),
        "HERD_CACHE": str(environment().cache.absolute()),
        "RAY_OVERRIDE_RESOURCES": json.dumps({"CPU": 4, "GPU": 1, "object_store_memory": 256 << 20}),
        "GLOO_SOCKET_IFNAME": "eth0",
        "VLLM_RPC_BASE_PATH": "/dev/shm",  # ranks that share it take each other for neighbours, and look for sockets in one place
        "RAY_worker_niceness": "0",  # Ray's 15 would have the engines wait for whatever else the machine does
        "RAY_raylet_start_wait_time_s": "120",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "COLUMNS": "200",
        "NO_COLOR": "1",
    }


def model(kind: str, **fields: Any) -> dict[str, Any]:
    """A small model on logical GPUs."""
    return {
        "id": kind,
        "kind": kind,
        "checkpoint": f"small:{kind}",
        "accelerator": "gpu",
        "context_tokens": CONTEXT_TOKENS,
        "stop_s": 20,
        "engine": ENGINE,
        **fields,
    }


@dataclass(frozen=True)
class Cluster:
    """Hosts that Ray runs on, and the operator's files."""

    hosts: Hosts

    @property
    def secret(self) -> str:
        """What opens an engine's own door."""
        return (self.hosts.folder / "secret").read_text(encoding="ascii")

    def config(self, *models: dict[str, Any]) -> None:
        """Writes the operator's `herd.yaml`."""
        head, *workers = (host.address for host in self.hosts.cluster)
        gpu = {"name": "stand-in", "memory_gib": 8, "bandwidth_gb_s": 20, "bf16_tflops": 1}
        config = {
            "name": "fake-dgx",
            "ray": {"address": "auto"},
            "hardware": {"custom_gpu": gpu, "gpus_per_node": 1, "nodes": 3},
            "cluster": {
                "secret_command": "cat /run/herd/secret",
                "ssh_user": "root",
                "ssh_key": str(self.hosts.key),
                "onprem": {"head": head, "workers": workers},
            },
            "gateway": {"host": "0.0.0.0", "port": PORT},
            "models": list(models),
        }
        (self.hosts.folder / "herd.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def operator(self, line: str, within_s: float = HERD_S) -> str:
        """What a line of shell says that must succeed on the operator's host."""
        done = self.hosts.run("bash", "-c", line, within_s=within_s)
        assert done.returncode == 0, f"{line}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}"
        return done.stdout

    def joined(self) -> bool:
        """Whether all hosts are Ray's within a while: `ray up` returns when the head is."""
        deadline = time.monotonic() + JOIN_S
        while time.monotonic() < deadline:
            if "/3.0 GPU" in self.hosts.run("ray", "exec", "cluster.yaml", f"{token()}; ray status", within_s=JOIN_S).stdout:
                return True
            time.sleep(2)
        return False

    def get(self, path: str, host: int = 0) -> Any:
        """A page of a host's gateway, as JSON."""
        url = f"http://{self.hosts.cluster[host].address}:{PORT}{path}"
        return self.hosts.inside(lambda: httpx.get(url, timeout=60).json())

    def post(self, url: str, body: dict[str, Any], **headers: str) -> Any:
        """What a server in the hosts' network answers."""
        answer = self.hosts.inside(lambda: httpx.post(url, json=body, headers=headers, timeout=300))
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="package")
def cluster(hosts: Hosts) -> Cluster:
    """`ray up` over ssh, from the file that `herd cluster emit` makes of a config's inventory: the README's page up to there."""
    made = Cluster(hosts)
    made.config(model(MAVERICK, aliases=["maverick"], parallel={"tensor": 2, "expert": True}), model(SCOUT))
    *before, ray_up = between("herd plan", "ray up")
    for step in before:
        made.operator(step, within_s=UP_S)
    said = []
    for _ in range(3):  # a node of Ray's gives itself 30 s to start, on however busy a machine, and its autoscaler tries each host once
        done = hosts.run("bash", "-c", ray_up, within_s=UP_S)
        said.append(f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
        if done.returncode == 0 and made.joined():
            return made
    pytest.fail("\n".join(said))


@pytest.fixture(scope="package")
def reference(hosts: Hosts, cluster: Cluster) -> Iterator["Future[subprocess.CompletedProcess[str]]"]:
    """The single engines, at work on the operator's host while the herd comes up."""
    checkpoints = [str(ensure(name, environment().models)) for name in (MAVERICK, SCOUT)]
    plain = ("env", f"PYTHONPATH={ROOT}", "VLLM_ENABLE_V1_MULTIPROCESSING=0", "VLLM_NO_USAGE_STATS=1", sys.executable)
    thread = ThreadPoolExecutor(1)
    command = (*plain, "-m", "tests.multihost.reference", *checkpoints)
    yield thread.submit(hosts.run, *command, within_s=HERD_S, stdin=json.dumps(PROMPTS))
    thread.shutdown(wait=False)  # it ends with its host


@pytest.fixture(scope="package")
def expected(reference: "Future[subprocess.CompletedProcess[str]]") -> dict[str, list[list[int]]]:
    """The greedy tokens of a single process, by model and prompt."""
    done = reference.result(timeout=HERD_S)
    assert done.returncode == 0, done.stderr[-6000:]
    return dict(zip((MAVERICK, SCOUT), json.loads(done.stdout.splitlines()[-1]), strict=True))

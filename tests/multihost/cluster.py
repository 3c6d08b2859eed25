"""Ray on fake hosts, as the steps of `cluster/README.md` make it, with a herd on it: for the tests, and for what is cut and killed.

Decides what stands in for a site: its shells' environment, its inventory, its secret.
"""

import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from configs.keys import derived
from configs.load import environment
from tests.multihost.hosts import Hosts
from tests.multihost.reference import CONTEXT_TOKENS, ENGINE
from tests.multihost.steps import between, token

STAND_IN = Path(__file__).parent / "stand_in"
BIN = Path(sys.executable).parent
PORT = 8000
MAVERICK, SCOUT = "llama-4-maverick-tiny", "llama-4-scout-tiny"
#: The page's way to bring a herd up, or to change it, from the operator's host.
HERD_UP = "ray rsync-up cluster.yaml herd.yaml '~/herd.yaml' && ray exec cluster.yaml 'herd up ~/herd.yaml'"
UP_S, JOIN_S, HERD_S = 300.0, 240.0, 900.0


class DidNotStart(RuntimeError):
    """Ray, or what runs on it, did not come up; the message is what was said."""


def resources(gpus: int) -> str:
    """What Ray takes a host for."""
    return json.dumps({"CPU": 4, "GPU": gpus, "object_store_memory": 256 << 20})


def shell_environment(gpus: int = 1) -> dict[str, str]:
    """What a site's own shells would have: this environment's programs, the network card, and what stands in for GPUs."""
    found, cache = os.environ.get("PYTHONPATH", ""), environment().cache.absolute()
    return {
        "PATH": f"{BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": f"{STAND_IN}:{found}" if found else str(STAND_IN),
        "HERD_CACHE": str(cache),
        "VLLM_CACHE_ROOT": str(cache / "vllm"),  # what vLLM finds out of a model's class takes it a process of its own
        "RAY_OVERRIDE_RESOURCES": resources(gpus),
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
        "canary": {"stuck_s": 300},  # a handful of engines start on two cores at once: seen is a first token after 60 s
        "engine": ENGINE,
        **fields,
    }


@dataclass(frozen=True)
class Cluster:
    """Hosts that Ray runs on, and the operator's files."""

    hosts: Hosts
    gpus: tuple[int, ...] = (1, 1, 1)
    """Of each host, the head first."""

    @property
    def secret(self) -> str:
        """The one that the herd's keys are made of."""
        return (self.hosts.folder / "secret").read_text(encoding="ascii")

    @property
    def door_key(self) -> str:
        """The key to an engine's own door."""
        return derived(self.secret, "door")

    def config(self, *models: dict[str, Any], **inventory: Any) -> None:
        """Writes the operator's `herd.yaml`."""
        head, *workers = (host.address for host in self.hosts.cluster)
        gpu = {"name": "stand-in", "memory_gib": 8, "bandwidth_gb_s": 20, "bf16_tflops": 1}
        config = {
            "name": "fake-dgx",
            "ray": {"address": "auto"},
            "hardware": {"custom_gpu": gpu, "gpus_per_node": max(self.gpus), "nodes": len(self.gpus)},
            "cluster": {
                "secret_command": "cat /var/lib/herd/secret",
                "ssh_user": "root",
                "ssh_key": str(self.hosts.key),
                "preflight": False,  # no driver of NVIDIA's knows these GPUs
                "onprem": {"head": head, "workers": workers},
                **inventory,
            },
            "gateway": {"host": "0.0.0.0", "port": PORT},
            "models": list(models),
        }
        (self.hosts.folder / "herd.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")

    def operator(self, line: str, within_s: float = HERD_S) -> str:
        """What a line of shell says that must succeed on the operator's host.

        Raises:
            DidNotStart: it did not succeed.
        """
        done = self.hosts.run("bash", "-c", line, within_s=within_s)
        if done.returncode != 0:
            raise DidNotStart(f"{line}\n{done.stdout[-6000:]}\n{done.stderr[-6000:]}")
        return done.stdout

    def up(self) -> None:
        """`ray up` over ssh, from the file that `herd cluster emit` makes of the config's inventory: the page's steps up to there.

        Raises:
            DidNotStart: it did not, three times.
        """
        *before, ray_up = between("herd plan", "ray up")
        everyone = " ".join(host.address for host in self.hosts.cluster)  # the page has three
        for step in before:
            self.operator(re.sub(r"(?<=for host in )[\d. ]+", everyone, step), within_s=UP_S)
        said = []
        for _ in range(3):  # a node of Ray's gives itself 30 s to start, on however busy a machine, and its autoscaler tries each host once
            done = self.hosts.run("bash", "-c", ray_up, within_s=UP_S)
            said.append(f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
            if done.returncode == 0 and self.joined():
                return
        raise DidNotStart("\n".join(said))

    def joined(self) -> bool:
        """Whether all GPUs are Ray's within a while: `ray up` returns when the head is."""
        deadline = time.monotonic() + JOIN_S
        while time.monotonic() < deadline:
            said = self.hosts.run("ray", "exec", "cluster.yaml", f"{token()}; ray status", within_s=JOIN_S).stdout
            if f"/{sum(self.gpus):.1f} GPU" in said:
                return True
            time.sleep(2)
        return False

    def get(self, path: str, host: int = 0) -> Any:
        """A page of a host's gateway, as JSON."""
        url = f"http://{self.hosts.cluster[host].address}:{PORT}{path}"
        headers = {"authorization": f"Bearer {derived(self.secret, 'pages')}"}
        return self.hosts.inside(lambda: httpx.get(url, headers=headers, timeout=60).json())

    def replicas(self, name: str, host: int = 0) -> list[dict[str, Any]]:
        """A model's replicas that take requests, as a host's gateway sees them; the head's by default."""
        return [one for one in self.get("/-/status", host)["models"].get(name, []) if one["state"] == "ready"]

    def post(self, url: str, body: dict[str, Any], **headers: str) -> Any:
        """What a server in the hosts' network answers."""
        answer = self.hosts.inside(lambda: httpx.post(url, json=body, headers=headers, timeout=300))
        assert answer.status_code == 200, answer.text
        return answer.json()

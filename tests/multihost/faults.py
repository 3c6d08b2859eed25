"""What can be killed or cut in a cluster, and what brings it back.

Decides which processes and hosts are meant, and what has to run there. A head that has lost its Ray is started again by its own start
command, as a unit of its host's would do; everything else must come back by itself.
"""

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.multihost.cluster import MAVERICK, SCOUT, Cluster, model
from tests.multihost.hosts import NETWORK, Host
from tests.processes import words

#: A host without power or network is missed for so long.
AWAY_S = 20.0
#: One that a spare stands in for stays away until that is done, at most for so long.
SPARE_S = 600.0
#: And a process that its host starts again for so long.
AGAIN_S = 5.0
REDIS_PORT = 6379
GCS = r"gcs_server"


class NoVictim(RuntimeError):
    """There is no such process on that host."""


def victims(host: Host, pattern: str) -> list[psutil.Process]:
    """The processes of a host whose command line has this."""
    return [one for one in host.processes() if re.search(pattern, words(one))]


def kill(host: Host, pattern: str) -> None:
    """Kills the first of them.

    Raises:
        NoVictim: there is none.
    """
    found = victims(host, pattern)
    if not found:
        raise NoVictim(f"{host.name} has no process like {pattern}: {sorted({words(one)[:60] for one in host.processes()})}")
    found[0].kill()


def start_head(cluster: Cluster) -> None:
    """Ray on the head again, by the commands that `ray up` was given."""
    commands = yaml.safe_load((cluster.hosts.folder / "cluster.yaml").read_text(encoding="utf-8"))["head_start_ray_commands"]
    for command in commands:
        done = cluster.hosts.ssh(cluster.hosts.cluster[0], f"bash -ic {shlex.quote(command)}", within_s=180)
    if done.returncode != 0:
        raise RuntimeError(f"the head did not come back: {done.stdout[-2000:]} {done.stderr[-2000:]}")


def start_redis(cluster: Cluster) -> None:
    """A Redis outside of the cluster that keeps what it is told on its disk."""
    folder = cluster.hosts.folder / "redis"
    folder.mkdir(exist_ok=True)
    options = {
        "--daemonize": "yes",
        "--bind": cluster.hosts.operator.address,
        "--port": str(REDIS_PORT),
        "--requirepass": redis_password(cluster.hosts.folder),
        "--dir": str(folder),
        "--appendonly": "yes",
        "--save": "",
    }
    done = cluster.hosts.run("redis-server", *(word for pair in options.items() for word in pair), within_s=30)
    if done.returncode != 0:
        raise RuntimeError(f"Redis did not start: {done.stdout[-1000:]} {done.stderr[-1000:]}")


def redis_password(folder: Path) -> str:
    """Of these hosts' Redis alone."""
    return f"of-{folder.name}"


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What a cluster serves; faults of the same one share a cluster."""

    model: str
    parallel: dict[str, Any]
    replicas: int
    gpus: tuple[int, ...]
    """Of each host, the head first."""
    store: tuple[str, str] = ("redis", f"{NETWORK}.1:{REDIS_PORT}")
    """Where Ray's GCS keeps its state: a field of the inventory, and its value."""

    @property
    def answering(self) -> int:
        """Engines that answer requests themselves: the ranks of data-parallel attention do."""
        return self.replicas * int(self.parallel.get("data", 1))

    def config(self, cluster: Cluster) -> None:
        """Writes the operator's `herd.yaml`."""
        served = model(self.model, parallel=self.parallel, replicas=self.replicas, stop_s=60)
        cluster.config(served, **dict([self.store]))


TWINS = Shape(SCOUT, {"tensor": 1}, 2, (0, 1, 1))
TWINS_WITHOUT_REDIS = Shape(SCOUT, {"tensor": 1}, 2, (0, 1, 1), ("gcs_folder", "/var/lib/herd/gcs"))
#: Only where a rank is killed, because each is a process that takes its time to start.
TWINS_OF_TWO_RANKS = Shape(SCOUT, {"tensor": 2}, 2, (0, 2, 2))
#: One engine over two hosts, and a third host as its spare.
GANG = Shape(MAVERICK, {"tensor": 2, "expert": True, "across_nodes": True}, 1, (0, 1, 1, 1))
GANG_OF_DATA_PARALLEL_RANKS = Shape(MAVERICK, {"data": 2, "expert": True}, 1, (0, 1, 1, 1))


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that happens to a cluster."""

    name: str
    does: Callable[[Cluster], None]
    """Returns when it has happened and what belongs to it is over: a host is on again, a process was started by its host."""
    saves: str
    """What brings everything back, in words."""
    shape: Shape = TWINS


def _on_worker(pattern: str) -> Callable[[Cluster], None]:
    return lambda cluster: kill(cluster.hosts.cluster[1], pattern)


def _head_process(cluster: Cluster) -> None:
    kill(cluster.hosts.cluster[0], GCS)
    time.sleep(AGAIN_S)
    start_head(cluster)


def _head_host(cluster: Cluster) -> None:
    _without_power(cluster, cluster.hosts.cluster[0])
    start_head(cluster)


def _worker_power(cluster: Cluster) -> None:
    _without_power(cluster, cluster.hosts.cluster[1])


def _without_power(cluster: Cluster, *hosts: Host) -> None:
    for host in hosts:
        cluster.hosts.power_off(host)
    time.sleep(AWAY_S)
    for host in hosts:
        cluster.hosts.power_on(host)


def _gang(cluster: Cluster) -> tuple[Host, Host, Host]:
    """The host of its first rank, the one of its other, and the spare."""
    first, *others = sorted(cluster.hosts.cluster[1:], key=lambda host: [not victims(host, one) for one in ("EngineCore", "RayWorkerProc")])
    return first, others[0], others[1]


def _first_of_gang(cluster: Cluster) -> None:
    first, _, _ = _gang(cluster)
    _until_spared(cluster, lambda: cluster.hosts.power_off(first), lambda: cluster.hosts.power_on(first))


def _other_of_gang(cluster: Cluster) -> None:
    _, other, _ = _gang(cluster)
    _until_spared(cluster, lambda: cluster.hosts.power_off(other), lambda: cluster.hosts.power_on(other))


def _network_of_gang(cluster: Cluster) -> None:
    _, other, _ = _gang(cluster)
    _until_spared(cluster, lambda: cluster.hosts.plug(other, "down"), lambda: cluster.hosts.plug(other, "up"))


def _gang_without_spare(cluster: Cluster) -> None:
    _, other, spare = _gang(cluster)
    _without_power(cluster, spare, other)


def _until_spared(cluster: Cluster, away: Callable[[], object], again: Callable[[], object]) -> None:
    """A host is away until the gang is whole without it.

    Raises:
        TimeoutError: it does not come to that.
    """
    before = {one["id"] for one in cluster.replicas(MAVERICK)}
    away()
    deadline = time.monotonic() + SPARE_S
    while len({one["id"] for one in cluster.replicas(MAVERICK)} - before) < len(before) and time.monotonic() < deadline:
        time.sleep(0.5)
    again()
    if time.monotonic() > deadline:
        raise TimeoutError(f"the spare was not taken within {SPARE_S:g} s")


def _worker_network(cluster: Cluster) -> None:
    worker = cluster.hosts.cluster[1]
    cluster.hosts.plug(worker, "down")
    time.sleep(AWAY_S)
    cluster.hosts.plug(worker, "up")


def _redis(cluster: Cluster) -> None:
    """Ray's GCS asks Redis five times in half a second, and ends itself: the head has to be started anew, as by a unit of its host."""
    kill(cluster.hosts.operator, r"redis-server")
    time.sleep(AGAIN_S)
    start_redis(cluster)
    if not victims(cluster.hosts.cluster[0], GCS):
        start_head(cluster)


FAULTS = (
    Fault("engine process", _on_worker(r"EngineCore"), "Ray Serve"),
    Fault("engine replica", _on_worker(r"^ray::.*:engine"), "Ray Serve"),
    Fault("gateway", _on_worker(r"^ray::.*gateway"), "Ray Serve; the load balancer asks another meanwhile"),
    Fault("Serve controller", lambda cluster: kill(cluster.hosts.cluster[0], r"ServeController"), "Ray"),
    Fault("raylet of a worker", _on_worker(r"raylet/raylet"), "Ray's autoscaler, over ssh"),
    Fault("network of a worker", _worker_network, "Ray's autoscaler, over ssh"),
    Fault("power of a worker", _worker_power, "Ray's autoscaler, over ssh"),
    Fault("head process", _head_process, "its start command, and Redis"),
    Fault("power of the head", _head_host, "its start command, and Redis"),
    Fault("Redis", _redis, "its own start, from its disk; then the head's start command"),
    Fault("head process, without Redis", _head_process, "its start command, and its disk", TWINS_WITHOUT_REDIS),
    Fault("power of the head, without Redis", _head_host, "its start command, and its disk", TWINS_WITHOUT_REDIS),
    Fault("one tensor parallel rank", _on_worker(r"RayWorkerProc"), "vLLM ends its engine, Ray Serve starts another", TWINS_OF_TWO_RANKS),
    Fault("power of the host with a gang's first rank", _first_of_gang, "Ray Serve, on the spare", GANG),
    Fault("power of a gang's other host", _other_of_gang, "vLLM ends its engine, Ray Serve starts another on the spare", GANG),
    Fault("network of a gang's other host", _network_of_gang, "vLLM ends its engine, Ray Serve starts another on the spare", GANG),
    Fault("power of a gang's other host, and no spare", _gang_without_spare, "Ray's autoscaler, over ssh; then Ray Serve", GANG),
    Fault("power of a host of data-parallel ranks", _other_of_gang, "Ray Serve, all ranks, on the spare", GANG_OF_DATA_PARALLEL_RANKS),
)

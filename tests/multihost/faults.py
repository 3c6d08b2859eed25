"""What can be killed or cut in a cluster, and what brings it back.

Decides which processes are meant. A head that has lost its Ray is started again by its own start command, as a unit of its host's would do;
everything else must come back by itself.
"""

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from tests.multihost.cluster import Cluster
from tests.multihost.hosts import Host, words

#: A host without power or network is missed for so long.
AWAY_S = 20.0
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


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that happens to a cluster."""

    name: str
    does: Callable[[Cluster], None]
    """Returns when it has happened and what belongs to it is over: a host is on again, a process was started by its host."""
    saves: str
    """What brings everything back, in words."""
    ranks: int = 1
    """Tensor parallel ranks of each engine: more only where one is killed, because each is a process that takes its time to start."""


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


def _without_power(cluster: Cluster, host: Host) -> None:
    cluster.hosts.power_off(host)
    time.sleep(AWAY_S)
    cluster.hosts.power_on(host)


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
    Fault("one tensor parallel rank", _on_worker(r"RayWorkerProc"), "vLLM ends its engine, Ray Serve starts another", ranks=2),
)

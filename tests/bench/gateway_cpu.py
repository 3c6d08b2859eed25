"""What the gateway's process takes of a CPU for a streamed chunk and for a request, beyond what it takes when nobody asks.

The engine is faked and the clients are another process, so all of it is the gateway's. CPU time repeats on a busy machine, where
throughput does not.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from deployments.operate import Say
from tests.bench import load, servers
from tests.bench.fake_engine import fake_engine
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


def measure(folder: Path, sizes: Sizes, say: Say) -> Measured:
    """Starts a gateway, measures, stops it.

    Raises:
        CannotMeasure: it did not come up, or did not answer.
        OperationError: Ray did not start.
    """
    with fake_engine() as port, servers.gateway(folder, port, say) as (url, process):
        streams = Load(url, servers.MODEL, sizes.streams, STREAMS, CHUNKS, warm_up=0)
        requests = Load(url, servers.MODEL, sizes.requests, AT_ONCE, 1, stream=False, warm_up=0)
        say("Warming up")
        for first in (streams, requests):
            load.run(first)
        say("The gateway, idle")
        idle = _idle(process, sizes.idle_s)
        chunks, whole = [], []
        for number in range(sizes.repetitions):
            say(f"The gateway's CPU time, {number + 1} of {sizes.repetitions}")
            chunks.append(_net_us(process, idle, streams, lambda outcome: outcome.chunks))
            whole.append(_net_us(process, idle, requests, lambda outcome: outcome.requests))
    return Measured(idle * 1e6, chunks, whole)


def _idle(process: psutil.Process, for_s: float) -> float:
    """Seconds of CPU a second."""
    before, began = _cpu_s(process), time.perf_counter()
    time.sleep(for_s)
    return (_cpu_s(process) - before) / (time.perf_counter() - began)


def _net_us(process: psutil.Process, idle: float, asked: Load, count: Callable[[Outcome], int]) -> float:
    before, began = _cpu_s(process), time.perf_counter()
    outcome = load.run(asked)
    used_s = _cpu_s(process) - before - idle * (time.perf_counter() - began)
    return used_s * 1e6 / count(outcome)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system

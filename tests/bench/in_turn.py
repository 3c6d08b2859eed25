"""CPU time of gateways that are asked in turn, in slices so short that what slows the machine down for a while slows all of them.

Read the ratios: each is of gateways that were asked within the same seconds. A gateway's slice lasts until its next one begins, so that
what it puts off to later is counted too; what it takes while nobody asks is taken off. Two processes of one kind differ by some percent for
as long as they live, so there are several sets of gateways, one after the other.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any

from rich.table import Table

from deployments.progress import Say
from tests.bench import load
from tests.bench.fake_engine import PACE_S
from tests.bench.gateway_cpu import AT_ONCE, CHUNKS, STREAMS, Proxy
from tests.bench.load import CannotMeasure, Load

#: Linux' number for the clock of a process' CPU time, beside the process' own.
_PROCESS_CPU = 2


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured, and how often."""

    sets: int
    """Of gateways, each of processes of their own."""
    request_rounds: int
    """Of each set."""
    requests: int
    """Of one slice."""
    stream_rounds: int
    streams: int
    """Of one slice."""
    idle_s: float


@dataclass(frozen=True, slots=True)
class Measured:
    """Microseconds, of every round."""

    idle_us_per_s: float
    per_chunk: Sequence[float]
    per_request: Sequence[float]


def together(sets: Sequence[Mapping[str, Measured]]) -> dict[str, Measured]:
    """Returns the rounds of several sets of gateways as those of one."""
    found: dict[str, Measured] = {}
    for name in sets[0]:
        ones = [one[name] for one in sets]
        per_chunk = [value for one in ones for value in one.per_chunk]
        per_request = [value for one in ones for value in one.per_request]
        found[name] = Measured(median(one.idle_us_per_s for one in ones), per_chunk, per_request)
    return found


def measure(proxies: Mapping[str, Proxy], sizes: Sizes, say: Say) -> dict[str, Measured]:
    """Measures gateways in turn.

    Raises:
        CannotMeasure: one did not answer.
    """
    requests = {name: one.load(sizes.requests, AT_ONCE, 1, stream=False) for name, one in proxies.items()}
    streams = {name: one.load(sizes.streams, STREAMS, CHUNKS, stream=True) for name, one in proxies.items()}
    clocks = {name: cpu_clock(one.process.pid) for name, one in proxies.items()}
    say("Warming up")
    for name in proxies:
        _ask(requests[name])
        _ask(streams[name])
    say(f"Idle for {sizes.idle_s:g} s")
    idle = _idle(clocks, sizes.idle_s)
    say(f"Requests, in {sizes.request_rounds} rounds")
    per_request = _rounds(clocks, requests, idle, sizes.request_rounds)
    say(f"Streams, in {sizes.stream_rounds} rounds")
    per_chunk = _rounds(clocks, streams, idle, sizes.stream_rounds)
    return {name: Measured(idle[name] * 1e6, per_chunk[name], per_request[name]) for name in proxies}


def cpu_clock(pid: int) -> Callable[[], float]:
    """Returns a clock of a process' CPU time in seconds, to the nanosecond. Its times elsewhere are counted in hundredths of a second."""
    number = (~pid << 3) | _PROCESS_CPU
    return lambda: time.clock_gettime(number)


def _idle(clocks: Mapping[str, Callable[[], float]], for_s: float) -> dict[str, float]:
    """Returns the seconds of CPU a second of each while nobody asks."""
    before, began = {name: clock() for name, clock in clocks.items()}, time.perf_counter()
    time.sleep(for_s)
    return {name: (clock() - before[name]) / (time.perf_counter() - began) for name, clock in clocks.items()}


def _rounds(
    clocks: Mapping[str, Callable[[], float]], loads: Mapping[str, Load], idle: Mapping[str, float], rounds: int
) -> dict[str, list[float]]:
    """Returns the microseconds of each request, or each chunk, in each round."""
    found: dict[str, list[float]] = {name: [] for name in clocks}
    marks: dict[str, tuple[float, float, int]] = {}
    for _ in range(rounds + 1):  # a slice ends where the next one begins, so one more is begun
        for name, clock in clocks.items():
            now, wall = clock(), time.perf_counter()
            if name in marks:
                before, began, count = marks[name]
                found[name].append((now - before - idle[name] * (wall - began)) * 1e6 / count)
            marks[name] = now, wall, _ask(loads[name])
    return found


def _ask(asked: Load) -> int:
    """Asks, and returns how many requests, or chunks of streams, were answered."""
    try:
        outcome = asyncio.run(asyncio.wait_for(load.answered(asked), load.LONGEST_S))
    except TimeoutError as error:
        raise CannotMeasure(f"{asked.url} did not answer {asked.requests} requests within {load.LONGEST_S} s") from error
    return outcome.chunks if asked.stream else outcome.requests


def added_percent(one: Sequence[float], bare: Sequence[float]) -> list[float]:
    """Returns what one takes beyond another, round by round."""
    return [(mine / its - 1) * 100 for mine, its in zip(one, bare, strict=True)]


def figures(measured: Measured) -> dict[str, Any]:
    """One gateway's, for the file."""
    found: dict[str, Any] = {"idle_us_per_s": round(measured.idle_us_per_s)}
    for name, values, digits in (("us_per_chunk", measured.per_chunk, 1), ("us_per_request", measured.per_request, 0)):
        found |= {name: round(median(values), digits), f"{name}_quartiles": [round(one, digits) for one in quartiles(values)]}
    return found


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Returns the values between which the middle half of all lies."""
    below, _, above = quantiles(values, n=4, method="inclusive")
    return below, above


def table(rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """For people."""
    shown = Table("", "µs per chunk", "half lie in", "µs per request", "half lie in", "idle, µs/s")
    for name, row in rows.items():
        halves = ("{} – {}".format(*row[f"{what}_quartiles"]) for what in ("us_per_chunk", "us_per_request"))
        chunk, request = halves
        shown.add_row(name, str(row["us_per_chunk"]), chunk, str(row["us_per_request"]), request, str(row["idle_us_per_s"]))
    return shown


def settings(sizes: Sizes) -> dict[str, float]:
    """Returns the settings, as the file of results has them."""
    shape = {"streams_at_once": STREAMS, "chunks": CHUNKS, "pace_s": PACE_S, "requests_at_once": AT_ONCE, "cores": 1}
    return asdict(sizes) | shape

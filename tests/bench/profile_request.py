"""What one request takes in the gateway, step by step: `python -m tests.bench.profile_request`.

Each step runs alone, on the values of a real request, and then the whole way of a request runs without sockets (`in_memory`). Three figures
for each: *warm*, in a loop, which is the least that it can take; *cold*, when the processor's caches hold something else, as they do in a
gateway between two requests; and the bytecodes that Python executes, which are the same on every machine. Writes `results/profile.json`.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import in_memory, report
from tests.bench.in_memory import CHUNK, STREAM_END, STREAM_HEAD, Client
from tests.bench.request_steps import Step, steps
from tests.path.herd import Herd

RESULTS = Path(__file__).parent / "results" / "profile.json"
#: About a core's second cache.
_OTHERS_BYTES = 2 << 20
_STREAMED = 64
_LONGEST_S = 600


@dataclass(frozen=True, slots=True)
class Sizes:
    """How often each is run."""

    loops: int
    """Calls of one loop."""
    repetitions: int
    """Loops; the fastest counts."""
    cold: int
    """Single calls with cold caches; the middle one counts."""


FULL, QUICK = Sizes(200, 30, 40), Sizes(20, 2, 3)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a step takes."""

    warm_us: float
    cold_us: float
    bytecodes: int

    def less(self, other: "Taken") -> "Taken":
        """Without a part that is measured by itself."""
        return Taken(self.warm_us - other.warm_us, self.cold_us - other.cold_us, self.bytecodes - other.bytecodes)

    def rounded(self) -> dict[str, float]:
        """For the file."""
        return {name: round(value, 1) for name, value in asdict(self).items()}


def taken(run: Callable[[], object], sizes: Sizes) -> Taken:
    """Measures a call."""
    for _ in range(sizes.loops):  # until Python has adapted the bytecodes to what they work on
        run()
    warm = min(_timed(run, sizes.loops) for _ in range(sizes.repetitions))
    others, cold = bytearray(_OTHERS_BYTES), []
    for _ in range(sizes.cold):
        bytes(others)
        cold.append(_timed(run, 1))
    return Taken(warm, median(cold), _bytecodes(run))


def _timed(run: Callable[[], object], times: int) -> float:
    began = time.thread_time()
    for _ in range(times):
        run()
    return (time.thread_time() - began) * 1e6 / times


def _bytecodes(run: Callable[[], object]) -> int:
    count = 0

    def trace(frame: FrameType, event: str, _argument: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(None)
    return count


async def _way(ask: Callable[[int], Awaitable[None]], sizes: Sizes) -> Taken:
    """Measures the whole way of a request, which takes turns of the event loop."""
    await ask(sizes.loops)
    warm = []
    for _ in range(sizes.repetitions):
        began = time.thread_time()
        await ask(sizes.loops)
        warm.append((time.thread_time() - began) * 1e6 / sizes.loops)
    others, cold = bytearray(_OTHERS_BYTES), []
    for _ in range(sizes.cold):
        bytes(others)
        began = time.thread_time()
        await ask(1)
        cold.append((time.thread_time() - began) * 1e6)
    return Taken(min(warm), median(cold), 0)


async def profile(replicas: int, text: str, sizes: Sizes) -> dict[str, Taken]:
    """Profiles a request with this prompt, by steps, with this number of replicas."""
    async with in_memory.gateway(replicas) as herd:
        asked = in_memory.body(text)
        gc.collect()
        gc.freeze()
        found = {step.name: _step(step, sizes) for step in steps(herd, asked)}
        raw = in_memory.request(asked)
        client = Client(herd)
        found["the whole request, without sockets"] = await _way(lambda times: client.ask(raw, times), sizes)
        found["one chunk of a stream, without sockets"] = await _chunk(herd, text, sizes)
    return found


def _step(step: Step, sizes: Sizes) -> Taken:
    whole = taken(step.run, sizes)
    return whole if step.without is None else whole.less(taken(step.without, sizes))


async def _chunk(herd: Herd, text: str, sizes: Sizes) -> Taken:
    """The difference between a stream and one that is `_STREAMED` chunks longer."""
    raw = in_memory.request(in_memory.body(text, stream=True))
    fewer = Sizes(max(1, sizes.loops // 10), sizes.repetitions, sizes.cold)

    async def stream(chunks: int) -> Taken:
        client = Client(herd, (STREAM_HEAD, *[CHUNK] * chunks, STREAM_END))
        return await _way(lambda times: client.ask(raw, times), fewer)

    less = (await stream(2 + _STREAMED)).less(await stream(2))
    return Taken(less.warm_us / _STREAMED, less.cold_us / _STREAMED, 0)


def table(profiles: Mapping[str, Mapping[str, Taken]]) -> Table:
    """For people."""
    shown = Table("step", *(f"{name}: {what}" for name in profiles for what in ("warm", "cold", "bytecodes")))
    for step in next(iter(profiles.values())):
        row = [profiles[name][step] for name in profiles]
        shown.add_row(step, *(text for one in row for text in (f"{one.warm_us:.1f}", f"{one.cold_us:.1f}", f"{one.bytecodes}")))
    return shown


def main() -> None:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run: everything runs, the figures mean little, nothing is written")
    quick = parser.parse_args().quick
    sizes = QUICK if quick else FULL
    shapes = {"short prompt, one replica": (1, "000123 Tell me about llamas."), "5,000 tokens, 8 replicas": (8, in_memory.LONG)}
    profiles = {name: uvloop.run(_bound(profile(*shape, sizes))) for name, shape in shapes.items()}
    Console(width=160).print(table(profiles))
    if not quick:
        rows = {name: {step: one.rounded() for step, one in found.items()} for name, found in profiles.items()}
        report.save(RESULTS, report.about("tests.bench.profile_request") | {"settings": asdict(sizes), "profiles": rows})


async def _bound(work: Awaitable[dict[str, Taken]]) -> dict[str, Taken]:
    return await asyncio.wait_for(work, _LONGEST_S)


if __name__ == "__main__":
    main()

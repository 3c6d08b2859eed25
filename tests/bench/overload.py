"""More requests than the engines can serve: `python -m tests.bench.overload`. Simulated engines behind our gateway, in real time.

Three questions. What do requests in a hurry lose to a flood of batch requests? What is left of the throughput, and what does the gateway's
memory do, when ten times as much is asked as can be served? How soon, and how truthfully, is who must come again told so? Where
`--vllm-router` names that program, the second is asked of it too. Writes `results/overload.json`.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from rich.console import Console

from deployments.progress import Say
from deployments.simulation.engine.request import Size
from tests.bench import report
from tests.bench.asking import Failed, answered
from tests.bench.process import listener
from tests.bench.simulated import live
from tests.bench.simulated.cluster import MODEL

RESULTS = Path(__file__).parent / "results" / "overload.json"
CHAT = "/v1/chat/completions"
REPLICAS, SEQUENCES = 2, 16
PROMPT_BYTES, TOKENS = 1600, 32
INTERACTIVE, BATCH, FLOOD_FACTOR = 4, 64, 10.0
PHASE_S, QUEUE_S = 15.0, 5.0
MEMORY_PERIOD_S = 0.5
#: Who is refused later than this was let into the line, and waited for nothing.
LATE_S = 1.0
WIDE = Size(400_000, sequences=SEQUENCES)


@dataclass
class Seen:
    """What clients saw of one phase; seconds."""

    first_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    retry_after_s: list[int] = field(default_factory=list)
    failed: int = 0
    took_s: float = 0

    def figures(self) -> dict[str, float]:
        """For the file."""
        return {
            "answered_per_s": round(len(self.first_s) / self.took_s, 1),
            "ttft_p50_ms": _ms(self.first_s, 50),
            "ttft_p99_ms": _ms(self.first_s, 99),
            "refused": len(self.refused_s),
            "refused_late": sum(took_s > LATE_S for took_s in self.refused_s),
            "refused_within_p50_ms": _ms(self.refused_s, 50),
            "refused_within_p99_ms": _ms(self.refused_s, 99),
            "retry_after_p50_s": statistics.median(self.retry_after_s) if self.retry_after_s else 0,
            "failed": self.failed,
        }


def _ms(values: Sequence[float], percent: int) -> float:
    return round(report.at(sorted(values), percent) * 1e3, 1) if values else 0.0


class Clients:
    """Everybody who asks one address."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._numbers = itertools.count()

    async def ask(self, seen: Seen, **headers: str) -> None:
        """One streamed answer, or what came instead."""
        prompt = f"{next(self._numbers):08d} ".ljust(PROMPT_BYTES, "x")
        body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}], "max_tokens": TOKENS, "stream": True}
        began = time.perf_counter()
        first: list[float] = []
        try:
            await answered(self._http, self._url + CHAT, body, lambda _: first.append(time.perf_counter()), **headers)
            seen.first_s.append(first[0] - began)
        except Failed as error:
            if error.status == 429 and error.retry_after_s:
                seen.refused_s.append(time.perf_counter() - began)
                seen.retry_after_s.append(error.retry_after_s)
            else:
                seen.failed += 1
        except (aiohttp.ClientError, TimeoutError):
            seen.failed += 1

    async def closed(self, count: int, for_s: float, **headers: str) -> Seen:
        """So many clients, each of whom asks again when it has its answer."""
        seen, began = Seen(), time.perf_counter()

        async def one() -> None:
            while time.perf_counter() - began < for_s:
                refused = len(seen.refused_s)
                await self.ask(seen, **headers)
                if len(seen.refused_s) > refused:
                    await asyncio.sleep(0.5)  # less than it was told: a client in no hurry, but an impolite one

        await asyncio.gather(*(one() for _ in range(count)))
        seen.took_s = time.perf_counter() - began
        return seen

    async def opened(self, per_s: float, for_s: float) -> Seen:
        """So many requests a second, whatever becomes of those before."""
        seen, began = Seen(), time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(int(per_s * for_s)):
                await asyncio.sleep(max(0.0, began + number / per_s - time.perf_counter()))
                group.create_task(self.ask(seen))
        seen.took_s = time.perf_counter() - began
        return seen


async def herd(url: str, say: Say) -> dict[str, Any]:
    """All phases."""
    process = _behind(url)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        clients = Clients(http, url)
        say("in a hurry, alone")
        alone = await clients.closed(INTERACTIVE, PHASE_S)
        say("in a hurry, beside a flood of batch requests")
        beside, batch = await asyncio.gather(clients.closed(INTERACTIVE, PHASE_S), clients.closed(BATCH, PHASE_S, x_priority="batch"))
        flooded = await _flooded(clients, process, say)
    phases = {"interactive_alone": alone, "interactive_beside_batch": beside, "batch": batch}
    return {name: seen.figures() for name, seen in phases.items()} | flooded


async def peer(url: str, say: Say) -> dict[str, Any]:
    """What can be asked of a router without a line."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        clients = Clients(http, url)
        await clients.ask(Seen())
        return await _flooded(clients, _behind(url), lambda what: say(f"vllm-router: {what}"))


async def _flooded(clients: Clients, process: psutil.Process, say: Say) -> dict[str, Any]:
    say("as much as can be served")
    full = await clients.closed(REPLICAS * SEQUENCES, PHASE_S)
    say(f"{FLOOD_FACTOR:g} times as much")
    memory = [_mib(process)]
    sampling = asyncio.create_task(_sampled(process, memory))
    flood = await clients.opened(FLOOD_FACTOR * len(full.first_s) / full.took_s, PHASE_S)
    sampling.cancel()
    held = {"before": memory[0], "most": max(memory), "after": _mib(process)}
    return {"full": full.figures(), "flood": flood.figures() | {"memory_mib": held}}


def _behind(url: str) -> psutil.Process:
    return listener(int(url.rpartition(":")[2]))


def _mib(process: psutil.Process) -> int:
    return round(process.memory_info().rss / 2**20)


async def _sampled(process: psutil.Process, into: list[int]) -> None:
    while True:
        await asyncio.sleep(MEMORY_PERIOD_S)
        into.append(_mib(process))


def main() -> None:
    """Asks, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm-router", type=Path, help="the program `vllm-router`, of an environment of its own")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    console = Console(width=140)
    shape = {
        "replicas": REPLICAS,
        "slots": SEQUENCES,
        "prompt_tokens": PROMPT_BYTES // 4,
        "tokens": TOKENS,
        "queue_s": QUEUE_S,
        "flood_factor": FLOOD_FACTOR,
        "phase_s": PHASE_S,
    }
    content = report.about("tests.bench.overload") | {"settings": shape}
    with live.engines(live.Cluster(REPLICAS, WIDE, 1)) as ports, live.our_gateway(ports, "herd", 1, QUEUE_S) as url:
        content["herd"] = asyncio.run(herd(url, console.log))
    if asked.vllm_router:
        with live.engines(live.Cluster(REPLICAS, WIDE, 1)) as ports, live.vllm_router(asked.vllm_router, ports, 1) as url:
            content["vllm-router"] = asyncio.run(peer(url, console.log))
    console.print_json(json.dumps({name: content[name] for name in ("herd", "vllm-router") if name in content}))
    report.save(asked.out, content)


if __name__ == "__main__":
    main()

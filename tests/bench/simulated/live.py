"""A trace in real time: simulated engines behind HTTP, a router in front of them, and clients that send at the trace's times.

Time runs faster than real by a factor, for everybody alike; what a router's own work costs therefore counts that much more than it would.
"""

import asyncio
import contextlib
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from deployments.policy.request.prompt_blocks import BYTES_PER_TOKEN
from deployments.simulation.engine.request import Size
from deployments.simulation.loads.traces import BLOCK_TOKENS, Traced
from tests.bench.load import CannotMeasure
from tests.bench.process import free_port, serving
from tests.bench.simulated.cluster import MODEL, Served

_START_S = 30.0
_HEX = 128


class CannotReplay(CannotMeasure):
    """A router did not come up, or a request failed."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The engines that stand behind a router, and how fast their time runs."""

    replicas: int
    size: Size
    scale: float


@contextlib.contextmanager
def engines(cluster: Cluster) -> Iterator[list[int]]:
    """Simulated engines; their ports."""
    size = cluster.size
    arguments = ["--replicas", str(cluster.replicas), "--scale", str(cluster.scale), "--kv-tokens", str(size.kv_tokens)]
    arguments += ["--block-tokens", str(size.block_tokens), "--step-tokens", str(size.step_tokens), "--sequences", str(size.sequences)]
    with serving("tests.bench.simulated.server", *arguments) as one:
        yield json.loads(one.line)


@contextlib.contextmanager
def our_gateway(ports: Sequence[int], policy: str, scale: float, queue_s: float = 30) -> Iterator[str]:
    """Our gateway; its address. It asks for reports as often as in production, in the engines' time, but at most 10 times a second."""
    period_s = max(0.1, 0.2 / scale)
    arguments = ("--ports", ",".join(map(str, ports)), "--policy", policy, "--period-s", str(period_s), "--queue-s", str(queue_s))
    with serving("tests.bench.simulated.gateway", *arguments) as one:
        yield f"http://127.0.0.1:{one.line}"


@contextlib.contextmanager
def vllm_router(program: Path, ports: Sequence[int], scale: float) -> Iterator[str]:
    """The vLLM project's router with its policy `cache_aware`; its defaults, but its tree is trimmed as often in the engines' time."""
    own, metrics = free_port(), free_port()
    command = [str(program), "--policy", "cache_aware", "--host", "127.0.0.1", "--port", str(own), "--prometheus-port", str(metrics)]
    command += ["--eviction-interval-secs", str(max(1, round(120 / scale))), "--log-level", "warning"]
    command += ["--worker-urls", *(f"http://127.0.0.1:{port}" for port in ports)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            _wait_for(own)
            yield f"http://127.0.0.1:{own}"
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()


def replay(trace: Sequence[Traced], url: str, ports: Sequence[int], scale: float) -> tuple[list[Served], float]:
    """Sends a trace; how each request went, in the engines' time, and the share of prompt tokens that the engines say they found.

    Raises:
        CannotReplay: a request failed.
    """
    return asyncio.run(_replay(trace, url, ports, scale))


async def _replay(trace: Sequence[Traced], url: str, ports: Sequence[int], scale: float) -> tuple[list[Served], float]:
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as http:
        await _warm(http, url)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = []
            for asked in trace:
                due = began + asked.at_s / scale
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                tasks.append(group.create_task(_one(http, url, asked, due, scale)))
        return [task.result() for task in tasks], await _found(http, ports)


async def _warm(http: aiohttp.ClientSession, url: str) -> None:
    """A router may need a while to find its engines healthy."""
    until = time.monotonic() + _START_S
    while True:
        try:
            await _one(http, url, Traced(0, 8, 1, (0,)), time.monotonic(), 1)
            return
        except (CannotReplay, aiohttp.ClientError) as error:
            if time.monotonic() > until:
                raise CannotReplay(f"{url} does not answer: {error}") from error
            await asyncio.sleep(0.2)


async def _one(http: aiohttp.ClientSession, url: str, asked: Traced, due: float, scale: float) -> Served:
    served = Served(asked.at_s, asked, -1)
    async with http.post(f"{url}/v1/chat/completions", json=body(asked)) as response:
        if response.status != 200:
            raise CannotReplay(f"{response.status}: {await response.text()}")
        async for _ in response.content.iter_any():
            if served.first_s == float("inf"):
                served.first_s = (time.monotonic() - due) * scale
    served.end_s = (time.monotonic() - due) * scale
    return served


def body(asked: Traced) -> dict[str, Any]:
    """A chat request whose text is equal wherever the trace's blocks are."""
    text = "".join(map(_block, asked.blocks))[: asked.prompt_tokens * BYTES_PER_TOKEN]
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": asked.output_tokens,
        "stream": True,
        "temperature": 0,
    }


def _block(number: int) -> str:
    return hashlib.blake2b(b"%d" % number).hexdigest() * (BLOCK_TOKENS * BYTES_PER_TOKEN // _HEX)


async def _found(http: aiohttp.ClientSession, ports: Sequence[int]) -> float:
    counted = {"vllm:prefix_cache_hits_total": 0.0, "vllm:prefix_cache_queries_total": 0.0}
    for port in ports:
        async with http.get(f"http://127.0.0.1:{port}/metrics") as response:
            for line in (await response.text()).splitlines():
                name, _, value = line.rpartition(" ")
                if (short := name.partition("{")[0]) in counted:
                    counted[short] += float(value)
    return counted["vllm:prefix_cache_hits_total"] / max(1.0, counted["vllm:prefix_cache_queries_total"])


def _wait_for(port: int) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.1)
    raise CannotReplay("the router did not start to listen")

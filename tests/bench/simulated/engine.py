"""One simulated engine in real time, or faster: a scheduler, the clock that it lacks, and what it says of itself."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from deployments.engine.load_reports import LoadReports
from deployments.policy.request.prompt_blocks import BYTES_PER_TOKEN, in_blocks
from deployments.simulation.engine.request import Request, Size
from deployments.simulation.engine.scheduler import Scheduler
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes
from tests.bench.simulated.cluster import MODEL

#: Longest time for which steps that are alike are taken as one, where time runs faster than real.
_GRAIN_S = 0.004


class Headed(NamedTuple):
    """What comes with a request beside its prompt."""

    priority: int = 0
    told: bytes = b""
    """What a gateway tells of the prompt."""


class Engine:
    """One replica: a scheduler, and the clock that it lacks."""

    def __init__(self, size: Size, scale: float) -> None:
        self.port = 0
        self.scheduler = Scheduler(size, StepTimes(SCOUT_ON_H100))
        self.reports = LoadReports(self._report)
        self._scale = scale
        self._tell: dict[Request, Callable[[int, bool], None]] = {}
        self._uncomputed: dict[Request, int] = {}
        self._work = asyncio.Event()
        self._count = 0
        self._started = time.monotonic()

    def submit(self, prompt: bytes, output_tokens: int, asked: Headed, tell: Callable[[int, bool], None]) -> Request:
        """Takes a request; `tell` gets its new tokens, and whether these are the last.

        Raises:
            ValueError: it can never fit.
        """
        size = self.scheduler.size
        blocks = in_blocks(prompt, size.block_tokens * BYTES_PER_TOKEN)
        self._count += 1
        request = Request(self._count, blocks.blocks, blocks.tokens, output_tokens, asked.priority)
        self.scheduler.submit(request)
        self._tell[request] = tell
        self._uncomputed[request] = self.reports.arrived(asked.told)
        self._work.set()
        return request

    def abort(self, request: Request) -> None:
        """Its client has gone."""
        if self._tell.pop(request, None) is not None:
            self.reports.computed(self._uncomputed.pop(request, 0))
            self.scheduler.abort(request)

    async def run(self) -> None:
        """Steps for ever."""
        grain_s = _GRAIN_S * self._scale if self._scale > 1 else 0.0
        due = time.monotonic()
        while True:
            step = self.scheduler.step(grain_s)
            if step is None:
                self._work.clear()
                await self._work.wait()
                due = time.monotonic()
                continue
            due += step.took_s / self._scale
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            for request in step.first:
                self._say(request, 1, request.output_tokens == 1)
            ended = set(step.finished)
            for request in step.decoded:
                self._say(request, 1, request in ended)
            for request in step.finished:
                self._say(request, 0, True)

    async def _report(self) -> dict[str, Any]:
        """What it says of itself to gateways."""
        own = self.scheduler
        return {
            "id": f"replica-{self.port}",
            "model": MODEL,
            "host": "127.0.0.1",
            "port": self.port,
            "state": "ready",
            "ongoing": len(own.waiting) + own.running,
            "waiting": len(own.waiting),
            "running": own.running,
            "kv_usage": own.pool.usage,
            "kv_tokens": own.size.kv_tokens,
            "slots": own.size.sequences,
            "ready_s": (time.monotonic() - self._started) * self._scale,
        }

    def metrics(self) -> bytes:
        """The gauges and counters that routers read, by vLLM's names."""
        own = self.scheduler
        block = own.size.block_tokens
        figures = {
            "vllm:num_requests_running": own.running,
            "vllm:num_requests_waiting": len(own.waiting),
            "vllm:kv_cache_usage_perc": own.pool.usage,
            "vllm:prefix_cache_queries_total": own.queried_blocks * block,
            "vllm:prefix_cache_hits_total": own.found_blocks * block,
            "vllm:num_preemptions_total": own.preempted,
        }
        lines = (f'{name}{{engine="0",model_name="{MODEL}"}} {value:g}\n' for name, value in figures.items())
        return "".join(lines).encode()

    def _say(self, request: Request, tokens: int, last: bool) -> None:
        tell = self._tell.get(request)
        if tell is not None:
            self.reports.computed(self._uncomputed.pop(request, 0))
            if last:
                del self._tell[request]
            tell(tokens, last)

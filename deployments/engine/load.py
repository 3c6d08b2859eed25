"""How busy an engine is, read from vLLM's own metrics in the replica's process.

Decides over which time "lately" is. Costs about a tenth of a millisecond a reading: only the few metrics that are needed are collected.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry

from deployments.policy.fleet.slowness import Progress

RUNNING, WAITING, KV_USAGE = "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"
QUERIED, HIT = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"
#: A histogram of the tokens of each step, so its count is that of the steps. Steps that gave no request a token are not in it.
STEP_TOKENS, STEPS = "vllm:iteration_tokens_total_sum", "vllm:iteration_tokens_total_count"
GENERATED = "vllm:generation_tokens_total"
NAMES = (RUNNING, WAITING, KV_USAGE, QUERIED, HIT, STEP_TOKENS, STEPS, GENERATED)

#: Rates are over the last one to two of these.
LATELY_S = 2.0


@dataclass(frozen=True, slots=True)
class _Reading:
    at_s: float
    values: dict[str, float]
    busy_s: float = 0.0
    """Seconds in which the engine had requests, as far as its readings show."""
    held_s: float = 0.0
    """Shares of its KV cache that requests held, times seconds, as far as its readings show."""


class EngineLoad:
    """An engine's load."""

    def __init__(self, registry: CollectorRegistry = REGISTRY, clock: Callable[[], float] = time.monotonic, kv_tokens: int = 0) -> None:
        """Args:
        registry: where the engine counts.
        clock: seconds.
        kv_tokens: tokens that its KV cache has room for.
        """
        self._metrics = registry.restricted_registry(NAMES)
        self._clock = clock
        self._kv_tokens = kv_tokens
        self._last = _Reading(clock(), dict.fromkeys(NAMES, 0.0))
        self._since = self._next = self._read()

    def report(self) -> dict[str, float]:
        """The load now, by the names of a replica's view; `prefix_hit_rate` and `step_s` are of lately."""
        now = self._read()
        if now.at_s - self._next.at_s >= LATELY_S:
            self._since, self._next = self._next, now
        return {
            "running": int(now.values[RUNNING]),
            "waiting": int(now.values[WAITING]),
            "kv_usage": now.values[KV_USAGE],
            "prefix_hit_rate": self._rate(now, HIT, QUERIED),
            "step_s": self._step_s(now),
        }

    def progress(self) -> Progress:
        """Returns the engine's work, done and still to do. A long prompt that is computed in parts shows in the memory that it takes."""
        values = self._read().values
        return Progress(
            values[STEPS],
            values[STEP_TOKENS],
            values[GENERATED],
            values[KV_USAGE] * max(1, self._kv_tokens),
            values[RUNNING] + values[WAITING],
        )

    def held_s(self) -> float:
        """Returns how long requests have held the KV cache, as if they had held all of it: shares times seconds."""
        return self._read().held_s

    def step_s(self) -> float:
        """Seconds of a step lately, whatever it computed; 0 where there was none."""
        return self._step_s(self._read())

    def _step_s(self, now: _Reading) -> float:
        steps = now.values[STEPS] - self._since.values[STEPS]
        return (now.busy_s - self._since.busy_s) / steps if steps > 0 else 0.0

    def _rate(self, now: _Reading, what: str, by: str) -> float:
        many = now.values[by] - self._since.values[by]
        return (now.values[what] - self._since.values[what]) / many if many > 0 else 0.0

    def _read(self) -> _Reading:
        values = dict.fromkeys(NAMES, 0.0)
        for metric in self._metrics.collect():
            for sample in metric.samples:
                values[sample.name] += sample.value
        now, last = self._clock(), self._last
        busy = last.values[RUNNING] or values[RUNNING]
        passed_s = now - last.at_s
        held_s = last.held_s + passed_s * (last.values[KV_USAGE] + values[KV_USAGE]) / 2
        self._last = _Reading(now, values, last.busy_s + (passed_s if busy else 0.0), held_s)
        return self._last

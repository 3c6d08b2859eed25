"""How busy an engine is, read from vLLM's own metrics in the replica's process.

Decides over which time "lately" is. Costs about a tenth of a millisecond a reading: only the few metrics that are needed are collected.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prometheus_client import REGISTRY, CollectorRegistry

RUNNING, WAITING, KV_USAGE = "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"
QUERIED, HIT = "vllm:prefix_cache_queries_total", "vllm:prefix_cache_hits_total"
ITL_SUM, ITL_COUNT = "vllm:inter_token_latency_seconds_sum", "vllm:inter_token_latency_seconds_count"
PROMPT, GENERATED = "vllm:prompt_tokens_total", "vllm:generation_tokens_total"
NAMES = (RUNNING, WAITING, KV_USAGE, QUERIED, HIT, ITL_SUM, ITL_COUNT, PROMPT, GENERATED)

#: Rates are over the last one to two of these.
LATELY_S = 2.0


@dataclass(frozen=True, slots=True)
class _Reading:
    at_s: float
    values: dict[str, float]


class EngineLoad:
    """An engine's load."""

    def __init__(self, registry: CollectorRegistry = REGISTRY, clock: Callable[[], float] = time.monotonic) -> None:
        self._metrics = registry.restricted_registry(NAMES)
        self._clock = clock
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
            "step_s": self._rate(now, ITL_SUM, ITL_COUNT),
        }

    def doing(self) -> Mapping[str, float]:
        """What changes whenever the engine has taken a step, for whomever: a long prompt shows in the memory that it takes."""
        return self._read().values

    def step_s(self) -> float:
        """Seconds of a step lately; 0 where there was none."""
        return self._rate(self._read(), ITL_SUM, ITL_COUNT)

    def _rate(self, now: _Reading, what: str, by: str) -> float:
        many = now.values[by] - self._since.values[by]
        return (now.values[what] - self._since.values[what]) / many if many > 0 else 0.0

    def _read(self) -> _Reading:
        values = dict.fromkeys(NAMES, 0.0)
        for metric in self._metrics.collect():
            for sample in metric.samples:
                values[sample.name] += sample.value
        return _Reading(self._clock(), values)

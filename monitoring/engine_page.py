"""An engine replica's own metrics, in the registry whose page its engine shows beside vLLM's.

Decides nothing. What grows with time is computed when the page is asked for: nothing wakes the replica for it.
"""

import time
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from cluster.planner.started.figures import Report
from monitoring.labels import FigureOf
from monitoring.metrics import (
    CANARIES,
    CANARY_SECONDS,
    ENGINE_KV,
    ENGINE_KV_TOKENS,
    ENGINE_START,
    ENGINE_START_PHASE,
    ENGINE_WEIGHTS,
    GPU_SECONDS,
    KV_BYTE_SECONDS,
)


class CanaryMeter:
    """Counts a replica's canaries, in the registry whose page its engine shows."""

    def __init__(self, registry: CollectorRegistry, model: str) -> None:
        self._model = model
        self._verdicts = Counter(CANARIES.name, CANARIES.meaning, CANARIES.labels, registry=registry)
        self._seconds = Histogram(
            CANARY_SECONDS.name, CANARY_SECONDS.meaning, CANARY_SECONDS.labels, buckets=CANARY_SECONDS.buckets, registry=registry
        )

    def judged(self, verdict: str, seconds: float | None) -> None:
        """A canary said this; it took so long, where it came to an end."""
        self._verdicts.labels(self._model, verdict).inc()
        if seconds is not None:
            self._seconds.labels(self._model).observe(seconds)


def show_engine(registry: CollectorRegistry, model: str, found: Report) -> None:
    """Shows an engine's figures beside its plan's, in the registry whose page the engine shows; called once. A figure that nobody knows is
    not shown."""
    for metric, figure in ((ENGINE_WEIGHTS, "weights_bytes"), (ENGINE_KV, "kv_bytes"), (ENGINE_KV_TOKENS, "kv_tokens")):
        gauge = Gauge(metric.name, metric.meaning, metric.labels, registry=registry)
        for by, figures in ((FigureOf.ENGINE, found.told), (FigureOf.PLAN, found.planned)):
            if (value := getattr(figures, figure)) is not None:
                gauge.labels(model, by.value).set(value)
    if found.told.start_s is not None:
        Gauge(ENGINE_START.name, ENGINE_START.meaning, ENGINE_START.labels, registry=registry).labels(model).set(found.told.start_s)


def show_phases(registry: CollectorRegistry, model: str, seconds: Mapping[str, float]) -> None:
    """Shows what each phase of a replica's start took; called once."""
    gauge = Gauge(ENGINE_START_PHASE.name, ENGINE_START_PHASE.meaning, ENGINE_START_PHASE.labels, registry=registry)
    for phase, value in seconds.items():
        gauge.labels(model, phase).set(value)


class Cost(Collector):
    """GPUs and KV cache that a replica holds, times how long it has held them."""

    def __init__(
        self, model: str, gpus: int, since_s: float, held_bytes_s: Callable[[], float] | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Args:
        model: its id.
        gpus: the replica's.
        since_s: when its start began, by the clock.
        held_bytes_s: returns the bytes of KV cache that requests held, on all its GPUs, times seconds; None where its size is not known.
        clock: seconds.
        """
        self._model, self._gpus, self._since_s, self._held, self._clock = model, gpus, since_s, held_bytes_s, clock

    def describe(self) -> list[CounterMetricFamily]:
        """Returns the metrics without values: a registry that asks for them reads no engine."""
        return [CounterMetricFamily(one.name, one.meaning, labels=one.labels) for one in (GPU_SECONDS, KV_BYTE_SECONDS)]

    def collect(self) -> Iterator[CounterMetricFamily]:
        """The values as Prometheus wants them."""
        gpus, held = self.describe()
        gpus.add_metric((self._model,), self._gpus * max(0.0, self._clock() - self._since_s))
        yield gpus
        if self._held is not None:
            held.add_metric((self._model,), self._held())
            yield held

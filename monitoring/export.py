"""The table of metrics, counted by `monitoring.counts` and shown in Prometheus' text format by prometheus-client.

Decides nothing. One `Meter` per process, passed down by whoever builds the process; there is no global registry, so tests and several
gateways in one process do not meet.
"""

from collections.abc import Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client import Metric as MetricFamily

from cluster.planner.started.figures import Report
from monitoring.counts import Buckets, Values
from monitoring.metrics import (
    CANARIES,
    CANARY_SECONDS,
    E2E,
    ENGINE_KV,
    ENGINE_KV_TOKENS,
    ENGINE_START,
    ENGINE_WEIGHTS,
    FALLBACKS,
    GATEWAYS,
    ITL,
    PICKS,
    PREFILLS,
    REPLICAS_READY,
    REPLICAS_SICK,
    REPLICAS_SLOW,
    REQUESTS,
    REQUESTS_OPEN,
    RETRIES,
    SCALING_BOUND,
    SCALING_DECIDED,
    SCALING_HELD,
    SCALING_REPLICAS,
    STREAMS_OPEN,
    TOKENS,
    TTFT,
    WAITED,
    WAITING,
    FigureOf,
    Metric,
    Outcome,
    PrefillBy,
    Retry,
)

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Meter:
    """Counts what a gateway does."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._values = {metric.name: Values(metric) for metric in GATEWAYS if metric.kind != "histogram"}
        self._buckets = {metric.name: Buckets(metric) for metric in GATEWAYS if metric.kind == "histogram"}
        for one in (*self._values.values(), *self._buckets.values()):
            self.registry.register(one)
        # What every request counts, so that it is not looked up for each.
        self._requests, self._picks, self._tokens = (self._values[metric.name].of for metric in (REQUESTS, PICKS, TOKENS))
        self._open, self._streams = (self._values[metric.name].of for metric in (REQUESTS_OPEN, STREAMS_OPEN))
        self._e2e, self._ttft, self._itl = (self._buckets[metric.name] for metric in (E2E, TTFT, ITL))
        self._models: dict[str, set[str]] = {}
        """The models that a gauge has shown a value for, by the gauge's name."""

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Adds to a counter or a gauge of the table; `labels` are values in the order of the metric's labels."""
        self._values[metric.name].of[labels] += by

    def observe(self, metric: Metric, *labels: str, value: float) -> None:
        """Puts a value into a histogram of the table."""
        self._buckets[metric.name].observe(labels, value)

    def show(self, metric: Metric, *labels: str, value: float) -> None:
        """Sets a gauge of the table."""
        self._values[metric.name].of[labels] = value

    def opened(self, model: str) -> None:
        """A request for a model has begun."""
        self._open[(model,)] += 1

    def closed(self, model: str) -> None:
        """It has ended."""
        self._open[(model,)] -= 1

    def stream_opened(self, model: str) -> None:
        """A streamed answer has begun."""
        self._streams[(model,)] += 1

    def stream_closed(self, model: str) -> None:
        """It has ended."""
        self._streams[(model,)] -= 1

    def picked(self, model: str, reason: str) -> None:
        """A replica was picked."""
        self._picks[model, reason] += 1

    def retried(self, model: str, kind: Retry) -> None:
        """A request went on to another replica."""
        self.count(RETRIES, model, kind)

    def fell_back(self, model: str, answered_by: str) -> None:
        """Another model answered than the request named."""
        self.count(FALLBACKS, model, answered_by)

    def prefilled(self, model: str, by: PrefillBy) -> None:
        """A long prompt was computed, or left to who answers."""
        self.count(PREFILLS, model, by)

    def waiting(self, model: str, count: int) -> None:
        """So many requests wait for room."""
        self.show(WAITING, model, value=count)

    def waited(self, model: str, seconds: float) -> None:
        """One of them waits no more, after so long."""
        self.observe(WAITED, model, value=seconds)

    def ended(self, model: str, endpoint: str, outcome: Outcome, seconds: float) -> None:
        """A request ended so, after so long."""
        self._requests[model, endpoint, outcome] += 1
        self._e2e.observe((model, endpoint), seconds)

    def streamed(self, model: str, arrived_s: float, times_s: Sequence[float]) -> None:
        """A stream's pieces were sent at these times."""
        if times_s:
            self._ttft.observe((model,), times_s[0] - arrived_s)
            self._itl.observe_between((model,), times_s)

    def used(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """An engine stated these tokens."""
        self._tokens[model, "prompt"] += prompt_tokens
        self._tokens[model, "completion"] += completion_tokens

    def ready(self, counts: Iterable[tuple[str, int]]) -> None:
        """So many replicas of each model take requests; of a model that is not named any more, none."""
        self._show_models(REPLICAS_READY, dict(counts))

    def slow(self, counts: Iterable[tuple[str, int]]) -> None:
        """So many replicas of each model are avoided because they are slow; of a model that is not named any more, none."""
        self._show_models(REPLICAS_SLOW, dict(counts))

    def scaled(self, model: str, figures: Mapping[str, float], bound: str, held: str, decided_s: float) -> None:
        """Autoscaling has decided so on a model.

        Args:
            model: its id.
            figures: replicas, by what they are.
            bound: the limit that changed the number; empty where none did.
            held: why the number was held; empty where it was not.
            decided_s: seconds since 1970.
        """
        for figure, value in figures.items():
            self.show(SCALING_REPLICAS, model, figure, value=value)
        for metric, now in ((SCALING_BOUND, bound), (SCALING_HELD, held)):
            shown = self._values[metric.name].of
            for labels in [labels for labels in shown if labels[0] == model]:
                shown[labels] = 0
            if now:
                shown[model, now] = 1
        self.show(SCALING_DECIDED, model, value=decided_s)

    def sick(self, model: str, reason: str) -> None:
        """A replica has left the roster because of its canary."""
        self.count(REPLICAS_SICK, model, reason)

    def _show_models(self, metric: Metric, counts: Mapping[str, int]) -> None:
        for model in self._models.get(metric.name, set()) | counts.keys():
            self.show(metric, model, value=counts.get(model, 0))
        self._models[metric.name] = set(counts)

    def family(self, metric: Metric) -> MetricFamily:
        """Returns what one metric of the table has counted, as its page shows it."""
        one: Values | Buckets = self._buckets[metric.name] if metric.kind == "histogram" else self._values[metric.name]
        return next(iter(one.collect()))

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


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

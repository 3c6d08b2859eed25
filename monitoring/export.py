"""The table of metrics, counted by `monitoring.counts` and shown in Prometheus' text format by prometheus-client.

Decides nothing. One `Meter` per process, passed down by whoever builds the process; there is no global registry, so tests and several
gateways in one process do not meet.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client import Metric as MetricFamily

from configs.scaling import Slo
from monitoring.counts import Buckets, Labels, Values
from monitoring.labels import CODES, NO_CODE, OTHER, WORKING, Found, Met, Objective, Outcome, PrefillBy, Retry, Tokens
from monitoring.metrics import (
    E2E,
    ENDPOINT_REQUESTS,
    FALLBACKS,
    GATEWAYS,
    ITL,
    PICKS,
    PREFILLS,
    PREFIX_TOKENS,
    REFUSALS,
    REPLICA_PHASE,
    REPLICAS,
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
    SLO_OBJECTIVE,
    SLO_REQUESTS,
    SLO_THRESHOLD,
    STREAMS_OPEN,
    TOKENS,
    TTFT,
    WAITED,
    WAITING,
    Metric,
)
from monitoring.page import pieces

_CODES = frozenset(CODES)
# What every request counts. In Python 3.11 a member of an enum takes longer to look up than to count.
_PROMPT, _COMPLETION, _CACHED = Tokens
_HIT, _MISS = Found


def _nothing() -> None: ...


CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


class Promise(NamedTuple):
    """The objectives of a model, and the labels of what meets them or does not: each request counts three, and makes none."""

    ttft_s: float
    itl_s: float
    available: Labels
    not_available: Labels
    begun_in_time: Labels
    begun_late: Labels
    fast: Labels
    slow: Labels

    @classmethod
    def of(cls, model: str, slo: Slo) -> "Promise":
        """Returns the promise of a model with these objectives."""
        return cls(slo.ttft_s, slo.itl_s, *((model, objective, met) for objective in Objective for met in Met))


class UnderWay:
    """Requests and streams of a model that are under way for the clients of this gateway."""

    __slots__ = ("requests", "streams")

    def __init__(self) -> None:
        self.requests = self.streams = 0


class _Settled(CollectorRegistry):
    """Shows everything that has happened until it is read."""

    def __init__(self, meter: "Meter") -> None:
        super().__init__()
        self._meter = meter

    def collect(self) -> Iterator[MetricFamily]:
        """Yields all metrics."""
        self._meter.settle()
        yield from super().collect()


class Meter:
    """Counts what a gateway does."""

    def __init__(self) -> None:
        self.registry = _Settled(self)
        self._values = {metric.name: Values(metric) for metric in GATEWAYS if metric.kind != "histogram"}
        self._buckets = {metric.name: Buckets(metric) for metric in GATEWAYS if metric.kind == "histogram"}
        for one in (*self._values.values(), *self._buckets.values()):
            self.registry.register(one)
        # What every request counts, so that it is not looked up for each.
        self._requests, self._picks, self._tokens = (self._values[metric.name].of for metric in (REQUESTS, PICKS, TOKENS))
        self._by_endpoint = self._values[ENDPOINT_REQUESTS.name].of
        self._prefix = self._values[PREFIX_TOKENS.name].of
        self.slo_requests = self._values[SLO_REQUESTS.name].of
        """Requests by model, objective and whether it was met. Counted right here, for every request, with the labels of a `Promise`."""
        self._promises: dict[str, Promise] = {}
        self._open, self._streams = (self._values[metric.name].of for metric in (REQUESTS_OPEN, STREAMS_OPEN))
        self._e2e, self._ttft, self._itl = (self._buckets[metric.name] for metric in (E2E, TTFT, ITL))
        self._models: dict[str, set[str]] = {}
        """The models that a gauge has shown a value for, by the gauge's name."""
        self._count_ended: Callable[[], None] = _nothing
        self.under_way: defaultdict[str, UnderWay] = defaultdict(UnderWay)
        """By model. Counted right here."""

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Adds to a counter or a gauge of the table; `labels` are values in the order of the metric's labels."""
        self._values[metric.name].of[labels] += by

    def observe(self, metric: Metric, *labels: str, value: float) -> None:
        """Puts a value into a histogram of the table."""
        self._buckets[metric.name].observe(labels, value)

    def show(self, metric: Metric, *labels: str, value: float) -> None:
        """Sets a gauge of the table."""
        self._values[metric.name].of[labels] = value

    def settles_by(self, count_ended: Callable[[], None]) -> None:
        """Takes what counts the requests that have ended and are not counted yet."""
        self._count_ended = count_ended

    def settle(self) -> None:
        """Counts what has happened and is not counted yet. Whoever reads a count, or changes how one is made, calls this before."""
        self._count_ended()
        for model, now in self.under_way.items():
            self._open[(model,)], self._streams[(model,)] = now.requests, now.streams

    def picked(self, model: str, reason: str, times: int = 1) -> None:
        """A replica was picked."""
        self._picks[model, reason] += times

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

    def promises(self, objectives: Mapping[str, Slo]) -> None:
        """Shows the objectives of the config's models, and counts requests against them from now on. A model that has no more is not shown.

        Counters of its requests begin at 0 then: an increase is seen from its first request on.
        """
        self.settle()
        self._promises = {model: Promise.of(model, slo) for model, slo in objectives.items()}
        shares, limits = dict[Labels, float](), dict[Labels, float]()
        for model, slo in objectives.items():
            shares |= {(model, Objective.AVAILABILITY): slo.availability}
            shares |= {(model, objective): slo.quantile for objective in (Objective.TTFT, Objective.ITL)}
            limits |= {(model, Objective.TTFT): slo.ttft_s, (model, Objective.ITL): slo.itl_s}
            for values, kinds in ((self._tokens, Tokens), (self._prefix, Found)):
                for kind in kinds:
                    values[model, kind] += 0
            for objective in Objective:
                for met in Met:
                    self.slo_requests[model, objective, met] += 0
        self.replace(SLO_OBJECTIVE, shares)
        self.replace(SLO_THRESHOLD, limits)

    def promise(self, model: str) -> "Promise | None":
        """Returns the objectives of a model; None for a model that is not in the config."""
        return self._promises.get(model)

    def refused(self, code: str | None) -> None:
        """A request was answered with an error of this code; None: it has none."""
        self.count(REFUSALS, NO_CODE if code is None else code if code in _CODES else OTHER)

    def expected(self, model: str, hit_tokens: int, miss_tokens: int) -> None:
        """A prompt went to a replica that should have so many of its tokens, and should not have the others."""
        self._prefix[model, _HIT] += hit_tokens
        self._prefix[model, _MISS] += miss_tokens

    def replicas(self, counts: Mapping[Labels, float]) -> None:
        """So many replicas are in each state, by model and state; no others are."""
        self.replace(REPLICAS, counts)

    def starting(self, seconds: Mapping[Labels, float]) -> None:
        """The longest running start of a model has been in its phase for so long, by model and phase; no others run."""
        self.replace(REPLICA_PHASE, seconds)

    def replace(self, metric: Metric, values: Mapping[Labels, float]) -> None:
        """Sets a gauge of the table for these labels, and removes it for all others."""
        shown = self._values[metric.name].of
        shown.clear()
        shown.update(values)

    def ended(self, model: str, endpoint: str, outcome: Outcome, *seconds: float) -> None:
        """A request ended so, after so long; or several did."""
        self._requests[model, outcome] += len(seconds)
        self._by_endpoint[endpoint, outcome] += len(seconds)
        if endpoint in WORKING:
            self._e2e.observe_all((model,), seconds)

    def streamed(self, model: str, arrived_s: float, times_s: Sequence[float]) -> None:
        """A stream's pieces were sent at these times."""
        if times_s:
            self._ttft.observe((model,), times_s[0] - arrived_s)
            self._itl.observe_between((model,), times_s)

    def used(self, model: str, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> None:
        """An engine stated these tokens; the cached ones are a part of the prompt's."""
        self._tokens[model, _PROMPT] += prompt_tokens
        self._tokens[model, _COMPLETION] += completion_tokens
        if cached_tokens:
            self._tokens[model, _CACHED] += cached_tokens

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
                del shown[labels]
            if now:
                shown[model, now] = 1
        self.show(SCALING_DECIDED, model, value=decided_s)

    def scaled_only(self, models: Collection[str]) -> None:
        """Autoscaling decides on these models; decisions on others are shown no more, which an alert would take for old ones."""
        for metric in (SCALING_REPLICAS, SCALING_BOUND, SCALING_HELD, SCALING_DECIDED):
            shown = self._values[metric.name].of
            for labels in [labels for labels in shown if labels[0] not in models]:
                del shown[labels]

    def sick(self, model: str, reason: str) -> None:
        """A replica has left the roster because of its canary."""
        self.count(REPLICAS_SICK, model, reason)

    def _show_models(self, metric: Metric, counts: Mapping[str, int]) -> None:
        for model in self._models.get(metric.name, set()) | counts.keys():
            self.show(metric, model, value=counts.get(model, 0))
        self._models[metric.name] = set(counts)

    def family(self, metric: Metric) -> MetricFamily:
        """Returns what one metric of the table has counted, as its page shows it."""
        self.settle()
        one: Values | Buckets = self._buckets[metric.name] if metric.kind == "histogram" else self._values[metric.name]
        return next(iter(one.collect()))

    def pieces(self) -> Iterator[bytes]:
        """Writes everything as Prometheus reads it, piece by piece; what is counted in between may be in it."""
        self.settle()
        metrics: list[Values | Buckets] = [*self._values.values(), *self._buckets.values()]
        return pieces(chain.from_iterable(one.lines() for one in metrics))

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return b"".join(self.pieces())

"""The course of each request: written down while it is answered, and counted once, when it has ended.

Decides which metrics a request moves. Everything here is synchronous, so that a request whose client hangs up, and whose task is therefore
cancelled, is counted like any other. Two gauges move at once, for they tell what is under way: requests and streams. What waits for room
is counted where the line is, for a record of one request does not know how long the line is. Spans and log lines are made of the same
record, by whoever is told of its end (`Ended`).
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

import msgspec

from monitoring.export import Meter
from monitoring.labels import Outcome, PrefillBy, Retry
from monitoring.steps import Step
from monitoring.trace_context import Trace


class Served(msgspec.Struct, frozen=True):
    """How a request was answered. A struct, because one is made per request."""

    outcome: Outcome
    model: str
    """The model that answered."""
    usage: tuple[int, int] | None
    """Tokens of prompt and answer, as its engine states them."""
    attempts: int
    """Replicas that were asked, one after the other."""


class Trial:
    """One model's part in a request. To be used in a `with`: while it lasts, the request is under way at the model."""

    __slots__ = ("_meter", "_streams", "clock", "model", "picks", "prefilled_by", "retries", "steps", "times", "trace", "usage")

    def __init__(self, meter: Meter, model: str, entry: "Entry") -> None:
        self.model = model
        self.steps, self.trace, self.clock = entry.steps, entry.trace, entry.clock
        self.picks: list[str] = []
        """Why each replica was picked."""
        self.retries: list[Retry] = []
        self.prefilled_by: PrefillBy | None = None
        self.times: list[float] = []
        """When the client was shown each piece of a stream."""
        self.usage: tuple[int, int] | None = None
        self._meter = meter
        self._streams = False
        meter.opened(model)

    def picked(self, reason: str) -> None:
        """A replica was picked."""
        self.picks.append(reason)

    def waits(self) -> Step:
        """The request waits for room."""
        return Step("queue", self)

    def prefills(self) -> Step:
        """An engine computes its prompt ahead."""
        return Step("prefill", self)

    def asks(self, replica: str, reason: str) -> Step:
        """A replica, which was picked for a reason, is asked for the answer."""
        return Step("attempt", self, replica, reason)

    def retried(self, kind: Retry) -> None:
        """The request goes on to another replica."""
        self.retries.append(kind)

    def prefilled(self, by: PrefillBy) -> None:
        """A long prompt was computed, or left to the engine that answers."""
        self.prefilled_by = by

    def streams(self) -> None:
        """An engine has begun a streamed answer. Saying so again does nothing."""
        if not self._streams:
            self._streams = True
            self._meter.stream_opened(self.model)

    def used(self, prompt_tokens: int, completion_tokens: int) -> None:
        """An engine stated these tokens."""
        self.usage = prompt_tokens, completion_tokens

    def served(self) -> Served:
        """The model has answered."""
        return Served(Outcome.OK, self.model, self.usage, len(self.picks))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._meter.closed(self.model)
        if self._streams:
            self._meter.stream_closed(self.model)


class Entry:
    """One request, as far as it has come."""

    __slots__ = ("_meter", "arrived_s", "clock", "code", "endpoint", "model", "request_id", "status", "steps", "trace", "trials")

    def __init__(self, journal: "Journal", endpoint: str, arrived_s: float, request_id: str, trace: Trace | None) -> None:
        self._meter = journal.meter
        self.clock = journal.clock
        self.endpoint = endpoint
        self.arrived_s = arrived_s
        self.request_id = request_id
        self.trace = trace
        """Its place in a trace; None where nothing is traced."""
        self.model = "unknown"
        """The model that the request names."""
        self.status = 0
        """The HTTP status that a request was refused or broken off with; 0 where neither was so."""
        self.code = ""
        """The code of the error that its client was told."""
        self.trials: list[Trial] = []
        self.steps: list[Step] = []
        """What took time, of all models, in order."""

    def names(self, model: str) -> None:
        """The request names this model."""
        self.model = model

    def refused(self, status: int, code: str) -> None:
        """Its client is told an error with this code. The HTTP status is that of the whole answer: 200 where a stream had begun."""
        self.status, self.code = status, code

    def asks(self, model: str) -> Trial:
        """A model is asked."""
        trial = Trial(self._meter, model, self)
        self.trials.append(trial)
        return trial


class Ended(msgspec.Struct, frozen=True):
    """A request that has ended."""

    entry: Entry
    """All that was written down of it."""
    outcome: Outcome
    served: Served | None
    """How it was answered; None: it was not."""
    now_s: float
    """The time of its end, by the clock of all its times."""

    @property
    def usage(self) -> tuple[int, int] | None:
        """Returns the tokens of prompt and answer, as an engine stated them."""
        return next((trial.usage for trial in reversed(self.entry.trials) if trial.usage is not None), None)

    @property
    def ttft_s(self) -> float | None:
        """Returns the seconds from its arrival to the first piece of a streamed answer; None where there was none."""
        return next((trial.times[0] - self.entry.arrived_s for trial in self.entry.trials if trial.times), None)


class Observer(Protocol):
    """One that is told of the requests that have ended. It returns at once, and raises nothing."""

    def ended(self, ended: Ended) -> None: ...


class Tracer(Observer, Protocol):
    """One that also gives requests their places in traces."""

    def begins(self, traceparent: bytes | None) -> Trace | None: ...


class Journal:
    """Writes down the requests of one gateway."""

    def __init__(
        self,
        meter: Meter,
        observers: Sequence[Observer] = (),
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Args:
        meter: counts them.
        observers: are told of those that have ended.
        tracer: the same, and gives them their places in traces. None: nothing is traced.
        clock: seconds, the clock of all times of requests.
        """
        self.meter = meter
        self.clock = clock
        self._tracer = tracer
        self._observers = tuple(observers) if tracer is None else (*observers, tracer)

    def begins(self, endpoint: str, arrived_s: float, request_id: str = "", traceparent: bytes | None = None) -> Entry:
        """A request has arrived.

        Args:
            endpoint: the short name of its path.
            arrived_s: when, by the clock of all its times.
            request_id: its id.
            traceparent: the header of this name, as its client sent it.
        """
        trace = None if self._tracer is None else self._tracer.begins(traceparent)
        return Entry(self, endpoint, arrived_s, request_id, trace)

    def ended(self, entry: Entry, outcome: Outcome, served: Served | None, now_s: float) -> None:
        """Counts a request that has ended.

        Args:
            entry: what was written down of it.
            outcome: how it ended.
            served: how it was answered; None: it was not.
            now_s: the time.
        """
        meter = self.meter
        meter.ended(entry.model, entry.endpoint, outcome, now_s - entry.arrived_s)
        for trial in entry.trials:
            for reason in trial.picks:
                meter.picked(trial.model, reason)
            for kind in trial.retries:
                meter.retried(trial.model, kind)
            if trial.prefilled_by is not None:
                meter.prefilled(trial.model, trial.prefilled_by)
            if trial.times:
                meter.streamed(trial.model, entry.arrived_s, trial.times)
            if trial.usage is not None:
                meter.used(trial.model, *trial.usage)
        if served is not None and served.model != entry.model:
            meter.fell_back(entry.model, served.model)
        self._tell(entry, outcome, served, now_s)

    def _tell(self, entry: Entry, outcome: Outcome, served: Served | None, now_s: float) -> None:
        if self._observers:
            ended = Ended(entry, outcome, served, now_s)
            for observer in self._observers:
                observer.ended(ended)

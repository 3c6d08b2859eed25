"""The course of each request: written down while it is answered, and counted once, when it has ended.

Decides which metrics a request moves. Everything here is synchronous, so that a request whose client hangs up, and whose task is therefore
cancelled, is counted like any other. Two gauges move at once, for they tell what is under way: requests and streams. What waits for room
is counted where the line is, for a record of one request does not know how long the line is. Spans and log lines are made of the same
record, by whoever is told of its end (`Ended`).
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import msgspec

from monitoring.ended import Ended, Observer, Tracer
from monitoring.export import Meter, Promise
from monitoring.labels import UNKNOWN, Outcome, PrefillBy, Retry
from monitoring.steps import Step
from monitoring.trace_context import Trace

#: In Python 3.11 a member of an enum takes longer to look up than to count.
_OK, _CANCELLED = Outcome.OK, Outcome.CANCELLED
#: Outcomes that keep the promise to be available: the herd answered, or the request's own fault or its client's leave kept it from that.
AVAILABLE = frozenset({Outcome.OK, Outcome.CLIENT_ERROR, Outcome.CANCELLED})
#: Outcomes in which the herd did not answer as it should.
FAILED = frozenset(Outcome) - AVAILABLE
#: Codes of errors that a client is told after the pipeline has let go of its request.
_CODES = {Outcome.INTERNAL_ERROR: "internal_error", Outcome.UNAVAILABLE: "engine_unavailable"}


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

    __slots__ = (
        "_meter", "_streams", "cached_tokens", "clock", "hit_tokens", "miss_tokens", "model", "picks", "prefilled_by", "retries", "steps",
        "times", "trace", "usage"
    )  # fmt: skip

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
        self.cached_tokens = self.hit_tokens = self.miss_tokens = 0
        """Tokens of the prompt that its engine had, those that the gateway expected at the picked replicas, and those that it did not."""
        self._meter = meter
        self._streams = False
        meter.opened(model)

    def picked(self, reason: str, hit_tokens: int = 0, prompt_tokens: int = 0) -> None:
        """A replica was picked.

        Args:
            reason: why.
            hit_tokens: of the prompt that it should have.
            prompt_tokens: the whole prompt's; 0 where nobody looked for it.
        """
        self.picks.append(reason)
        if prompt_tokens:
            self.hit_tokens += hit_tokens
            self.miss_tokens += max(0, prompt_tokens - hit_tokens)

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

    def used(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> None:
        """An engine stated these tokens."""
        self.usage, self.cached_tokens = (prompt_tokens, completion_tokens), cached_tokens

    def served(self) -> Served:
        """The model has answered."""
        return Served(_OK, self.model, self.usage, len(self.picks))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._meter.closed(self.model)
        if self._streams:
            self._meter.stream_closed(self.model)


class Entry:
    """One request, as far as it has come."""

    __slots__ = (
        "_meter", "arrived_s", "clock", "code", "endpoint", "model", "request_id", "status", "steps", "streams", "trace", "trials"
    )  # fmt: skip

    def __init__(self, journal: "Journal", endpoint: str, arrived_s: float, request_id: str, trace: Trace | None) -> None:
        self._meter = journal.meter
        self.clock = journal.clock
        self.endpoint = endpoint
        self.arrived_s = arrived_s
        self.request_id = request_id
        self.trace = trace
        """Its place in a trace; None where nothing is traced."""
        self.model = UNKNOWN
        """The model that the request names."""
        self.streams = False
        """It asks for a stream."""
        self.code: str | None = None
        """The code of the error that its client is told; an empty one where the error has none."""
        self.status = 0
        """The HTTP status of the answer that told the error; 0 where there was none."""
        self.trials: list[Trial] = []
        self.steps: list[Step] = []
        """The steps that took time, of all models, in order."""

    def names(self, model: str, streams: bool = False) -> None:
        """The request names this model, and asks for a stream or not."""
        self.model, self.streams = model, streams

    def refused(self, code: str | None, status: int = 0) -> None:
        """Its client is told an error of this code. The HTTP status is that of the whole answer: 200 where a stream had begun."""
        self.code, self.status = code or "", status

    def asks(self, model: str) -> Trial:
        """A model is asked."""
        trial = Trial(self._meter, model, self)
        self.trials.append(trial)
        return trial


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
        if outcome is not _OK:
            self._refuse(entry, outcome)
        begun = None
        for trial in entry.trials:
            if trial.times:
                begun = trial
            self._count(entry, trial)
        if (promise := meter.promise(entry.model)) is not None:
            self._judge(entry, promise, outcome, begun, now_s)
        if served is not None and served.model != entry.model:
            meter.fell_back(entry.model, served.model)
        self._tell(entry, outcome, served, now_s)

    def never_read(self, entry: Entry, outcome: Outcome, now_s: float) -> None:
        """Counts a request whose body could not be read. The error is counted where its client is told it."""
        self.meter.ended(entry.model, entry.endpoint, outcome, now_s - entry.arrived_s)
        self._tell(entry, outcome, None, now_s)

    def _tell(self, entry: Entry, outcome: Outcome, served: Served | None, now_s: float) -> None:
        if self._observers:
            ended = Ended(entry, outcome, served, now_s)
            for observer in self._observers:
                observer.ended(ended)

    def _count(self, entry: Entry, trial: Trial) -> None:
        """Counts one model's part in a request."""
        meter = self.meter
        for reason in trial.picks:
            meter.picked(trial.model, reason)
        for kind in trial.retries:
            meter.retried(trial.model, kind)
        if trial.prefilled_by is not None:
            meter.prefilled(trial.model, trial.prefilled_by)
        if trial.times:
            meter.streamed(trial.model, entry.arrived_s, trial.times)
        if trial.usage is not None:
            meter.used(trial.model, *trial.usage, trial.cached_tokens)
        if trial.hit_tokens or trial.miss_tokens:
            meter.expected(trial.model, trial.hit_tokens, trial.miss_tokens)

    def _refuse(self, entry: Entry, outcome: Outcome) -> None:
        """Counts the error that a client was told, if it was told one."""
        code = entry.code if entry.code is not None else _CODES.get(outcome)
        if code is not None:
            self.meter.refused(code or None)

    def _judge(self, entry: Entry, promise: Promise, outcome: Outcome, begun: Trial | None, now_s: float) -> None:
        """Counts a request against the objectives of the model that it names, whichever model answered.

        An answer that has not begun says nothing of its speed, unless its client has waited too long for it and has gone. An objective of
        speed is met or not by what a client was shown, however the answer ended: availability tells that.

        Args:
            entry: the request.
            promise: the objectives.
            outcome: how it ended.
            begun: the part of the model whose streamed answer the client has seen; None where there is none.
            now_s: the time.
        """
        count = self.meter.slo_requests
        count[promise.available if outcome in AVAILABLE else promise.not_available] += 1
        if begun is None:
            if outcome is _CANCELLED and entry.streams and now_s - entry.arrived_s > promise.ttft_s:
                count[promise.begun_late] += 1
            return
        times, usage = begun.times, begun.usage
        first_s = times[0]
        count[promise.begun_in_time if first_s - entry.arrived_s <= promise.ttft_s else promise.begun_late] += 1
        # A piece may hold several tokens, and where the engine states how many there were, the mean is over these.
        steps = len(times) - 1
        if usage is not None and usage[1] - 1 > steps:
            steps = usage[1] - 1
        if steps:
            count[promise.fast if times[-1] - first_s <= promise.itl_s * steps else promise.slow] += 1

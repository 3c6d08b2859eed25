"""The course of each request: written down while it is answered, and counted once, when it has ended.

Decides when requests are counted. Everything here is synchronous, so that a request whose client hangs up, and whose task is therefore
cancelled, is counted like any other. Two gauges move at once, for they tell what is under way: requests and streams. What waits for room
is counted where the line is, for a record of one request does not know how long the line is. Spans and log lines are made of the same
record, by whoever is told of its end (`Ended`).

Requests that have ended wait for others: what is done for many, one after the other, finds its code and its data in the processor's caches,
and takes a third for each. They wait until there are `GATHERED`, for half a second, or until somebody reads a count: no reader sees one
that is late.
"""

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import msgspec
import structlog

from monitoring.ended import Ended, Observer, Tracer
from monitoring.export import Meter
from monitoring.labels import UNKNOWN, Outcome, PrefillBy, Retry
from monitoring.steps import Step
from monitoring.tally import Tally, sorted_out
from monitoring.trace_context import Trace

Later = Callable[[float, Callable[[], None]], object]
"""Calls a function after so many seconds."""

#: A request that has ended waits so long for others, and no longer than until there are so many.
GATHERED_S, GATHERED = 0.5, 64
#: A stream of more pieces waits for no others: 64 of them at once would hold all requests up while their intervals are sorted.
LONG = 1000
#: In Python 3.11 a member of an enum takes longer to look up than to count.
_OK = Outcome.OK


def _never(_after_s: float, _call: Callable[[], None]) -> None:
    """Leaves it to the readers of counts, and to the requests that follow."""


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
        "_streams", "_under_way", "cached_tokens", "clock", "hit_tokens", "miss_tokens", "model", "picks", "prefilled_by", "retries",
        "steps", "times", "trace", "usage"
    )  # fmt: skip

    def __init__(self, meter: Meter, model: str, entry: "Entry") -> None:
        self.model = model
        self.steps, self.trace, self.clock = entry.steps, entry.trace, entry.clock
        self.picks: tuple[str, ...] = ()
        """Why each replica was picked."""
        self.retries: tuple[Retry, ...] = ()
        self.prefilled_by: PrefillBy | None = None
        self.times: list[float] = []
        """When the client was shown each piece of a stream."""
        self.usage: tuple[int, int] | None = None
        self.cached_tokens = self.hit_tokens = self.miss_tokens = 0
        """Tokens of the prompt that its engine had, those that the gateway expected at the picked replicas, and those that it did not."""
        self._streams = False
        self._under_way = meter.under_way[model]
        self._under_way.requests += 1

    def picked(self, reason: str, hit_tokens: int = 0, prompt_tokens: int = 0) -> None:
        """A replica was picked.

        Args:
            reason: why.
            hit_tokens: of the prompt that it should have.
            prompt_tokens: the whole prompt's; 0 where nobody looked for it.
        """
        self.picks += (reason,)
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
        self.retries += (kind,)

    def prefilled(self, by: PrefillBy) -> None:
        """A long prompt was computed, or left to the engine that answers."""
        self.prefilled_by = by

    def streams(self) -> None:
        """An engine has begun a streamed answer. Saying so again does nothing."""
        if not self._streams:
            self._streams = True
            self._under_way.streams += 1

    def used(self, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0) -> None:
        """An engine stated these tokens."""
        self.usage, self.cached_tokens = (prompt_tokens, completion_tokens), cached_tokens

    def served(self) -> Served:
        """The model has answered."""
        return Served(_OK, self.model, self.usage, len(self.picks))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._under_way.requests -= 1
        if self._streams:
            self._under_way.streams -= 1


class Entry:
    """One request, as far as it has come."""

    __slots__ = (
        "_journal", "arrived_s", "clock", "code", "endpoint", "model", "request_id", "status", "steps", "streams", "trace", "trials"
    )  # fmt: skip

    def __init__(self, journal: "Journal", endpoint: str, arrived_s: float, request_id: str, trace: Trace | None) -> None:
        self._journal = journal
        self.clock = journal.clock
        self.endpoint = endpoint
        self.arrived_s = arrived_s
        self.request_id = request_id
        self.trace = trace
        """Its place in a trace; None where nothing is traced, or its spans are sent only if it fails and nobody has asked for `place`."""
        self.model = UNKNOWN
        """The model that the request names."""
        self.streams = False
        """It asks for a stream."""
        self.code: str | None = None
        """The code of the error that its client is told; an empty one where the error has none."""
        self.status = 0
        """The HTTP status of the answer that told the error; 0 where there was none."""
        self.trials: tuple[Trial, ...] = ()
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
        trial = Trial(self._journal.meter, model, self)
        self.trials += (trial,)
        return trial

    def place(self) -> Trace | None:
        """Returns its place in a trace; None where nothing is traced. Most requests' ids are never asked for, and never drawn."""
        if self.trace is None and (tracer := self._journal.tracer) is not None:
            self.trace = tracer.unsent()
        return self.trace


class Journal:
    """Writes down the requests of one gateway."""

    def __init__(
        self,
        meter: Meter,
        observers: Sequence[Observer] = (),
        tracer: Tracer | None = None,
        clock: Callable[[], float] = time.perf_counter,
        later: Later = _never,
        gathered_s: float = GATHERED_S,
    ) -> None:
        """Args:
        meter: counts them.
        observers: are told of those that have ended.
        tracer: the same, and gives them their places in traces. None: nothing is traced.
        clock: seconds, the clock of all times of requests.
        later: calls a function later.
        gathered_s: a request that has ended waits so long for others.
        """
        self.meter = meter
        self.clock = clock
        self.tracer = tracer
        self._observers = tuple(observers) if tracer is None else (*observers, tracer)
        self._tally = Tally(meter)
        self._later, self._gathered_s = later, gathered_s
        self._gathered: list[Ended] = []
        """Requests that have ended and are not counted yet, in order."""
        self._due = False
        self._log = structlog.get_logger("herd.journal")
        meter.settles_by(self.settle)

    def begins(self, endpoint: str, arrived_s: float, request_id: str = "", traceparent: bytes | None = None) -> Entry:
        """A request has arrived.

        Args:
            endpoint: the short name of its path.
            arrived_s: when, by the clock of all its times.
            request_id: its id.
            traceparent: the header of this name, as its client sent it.
        """
        return Entry(self, endpoint, arrived_s, request_id, None if self.tracer is None else self.tracer.begins(traceparent))

    def ended(self, entry: Entry, outcome: Outcome, served: Served | None, now_s: float) -> None:
        """Counts a request that has ended, soon.

        Args:
            entry: what was written down of it.
            outcome: how it ended.
            served: how it was answered; None: it was not.
            now_s: the time.
        """
        self._gather(Ended(entry, outcome, served, now_s))

    def never_read(self, entry: Entry, outcome: Outcome, now_s: float) -> None:
        """Counts a request whose body could not be read, soon. The error is counted where its client is told it."""
        self._gather(Ended(entry, outcome, None, now_s, refusal_counted=True))

    def settle(self) -> None:
        """Counts all requests that have ended, and tells the observers of them."""
        batch, self._gathered = self._gathered, []
        if not batch:
            return
        alike, others = sorted_out(batch)
        for of, group in alike.items():
            self._safely(self._tally.add_alike, of, group)
        for ended in others:
            self._safely(self._tally.add, ended)
        for observer in self._observers:
            self._safely(observer.ended, batch)

    def _gather(self, ended: Ended) -> None:
        gathered = self._gathered
        gathered.append(ended)
        trials = ended.entry.trials
        if len(gathered) >= GATHERED or (trials and len(trials[-1].times) > LONG):
            self.settle()
        elif not self._due:
            self._due = True
            self._later(self._gathered_s, self._in_time)

    def _safely(self, count: Callable[..., None], *of: object) -> None:
        """Counts, whatever is wrong with other requests: they have been answered."""
        try:
            count(*of)
        except Exception as error:  # noqa: BLE001 (a defect here is nobody's request)
            self._log.error("defect", exc_info=error)

    def _in_time(self) -> None:
        self._due = False
        self.settle()

"""The course of each request: written down while it is answered, and counted once, when it has ended.

Decides which metrics a request moves. Everything here is synchronous, so that a request whose client hangs up, and whose task is therefore
cancelled, is counted like any other. Two gauges move at once, for they tell what is under way: requests and streams. What waits for room
is counted where the line is, for a record of one request does not know how long the line is.
"""

from types import TracebackType
from typing import Self

import msgspec

from monitoring.export import Meter
from monitoring.labels import Outcome, PrefillBy, Retry


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

    __slots__ = ("_meter", "_streams", "model", "picks", "prefilled_by", "retries", "times", "usage")

    def __init__(self, meter: Meter, model: str) -> None:
        self.model = model
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

    __slots__ = ("_meter", "arrived_s", "endpoint", "model", "trials")

    def __init__(self, meter: Meter, endpoint: str, arrived_s: float) -> None:
        self._meter = meter
        self.endpoint = endpoint
        self.arrived_s = arrived_s
        self.model = "unknown"
        """The model that the request names."""
        self.trials: list[Trial] = []

    def names(self, model: str) -> None:
        """The request names this model."""
        self.model = model

    def asks(self, model: str) -> Trial:
        """A model is asked."""
        trial = Trial(self._meter, model)
        self.trials.append(trial)
        return trial


class Journal:
    """Writes down the requests of one gateway."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def begins(self, endpoint: str, arrived_s: float) -> Entry:
        """A request has arrived.

        Args:
            endpoint: the short name of its path.
            arrived_s: when, by the clock of all its times.
        """
        return Entry(self._meter, endpoint, arrived_s)

    def ended(self, entry: Entry, outcome: Outcome, served: Served | None, now_s: float) -> None:
        """Counts a request that has ended.

        Args:
            entry: what was written down of it.
            outcome: how it ended.
            served: how it was answered; None: it was not.
            now_s: the time.
        """
        meter = self._meter
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

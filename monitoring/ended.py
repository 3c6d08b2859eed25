"""Requests that have ended, and those that are told of them: the way from the journal to counts, spans and log lines.

Decides nothing.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from monitoring.labels import Outcome
from monitoring.trace_context import Trace

if TYPE_CHECKING:
    from monitoring.journal import Entry, Served


class Ended(msgspec.Struct, frozen=True):
    """A request that has ended."""

    entry: "Entry"
    """All that was written down of it."""
    outcome: Outcome
    served: "Served | None"
    """How it was answered; None: it was not."""
    now_s: float
    """The time of its end, by the clock of all its times."""
    refusal_counted: bool = False
    """The error that its client was told is counted already."""

    @property
    def usage(self) -> tuple[int, int] | None:
        """Returns the tokens of prompt and answer, as an engine stated them."""
        return next((trial.usage for trial in reversed(self.entry.trials) if trial.usage is not None), None)

    @property
    def cached_tokens(self) -> int:
        """Returns how many of the prompt's tokens an engine had in its cache, as it stated."""
        return next((trial.cached_tokens for trial in reversed(self.entry.trials) if trial.usage is not None), 0)

    @property
    def ttft_s(self) -> float | None:
        """Returns the seconds from its arrival to the first piece of a streamed answer; None where there was none."""
        return next((trial.times[0] - self.entry.arrived_s for trial in self.entry.trials if trial.times), None)


class Observer(Protocol):
    """One that is told of the requests that have ended, many at once, in the order of their ends. It returns at once."""

    def ended(self, batch: Sequence[Ended]) -> None: ...


class Tracer(Observer, Protocol):
    """One that also gives requests their places in traces."""

    def begins(self, traceparent: bytes | None) -> Trace | None:
        """Returns the place of a request that arrives; None where its spans are not sent, unless it fails."""

    def unsent(self) -> Trace | None:
        """Returns a place for such a request, if somebody asks for it; None where nothing is traced."""

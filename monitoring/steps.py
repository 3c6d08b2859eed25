"""The parts of a request's course that take time, each with its begin and end: waits, prompts computed ahead, replicas asked.

Decides nothing. Spans and log lines are made of them when the request has ended.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self

from monitoring.labels import Retry
from monitoring.trace_context import Trace


class _Of(Protocol):
    """One model's part in a request, as far as a step of it asks."""

    @property
    def model(self) -> str: ...
    @property
    def retries(self) -> Sequence[Retry]: ...
    @property
    def steps(self) -> "list[Step]": ...
    @property
    def trace(self) -> Trace | None: ...
    @property
    def clock(self) -> Callable[[], float]: ...


class Step:
    """A part of a request's course that takes time. To be used in a `with`, as long as it lasts."""

    __slots__ = ("_clock", "began_s", "broken", "ended_s", "error", "kind", "model", "number", "reason", "replica", "retry", "trace")

    def __init__(self, kind: Literal["queue", "prefill", "attempt"], of: _Of, replica: str = "", reason: str = "") -> None:
        self.kind = kind
        """`queue`: it waits for room. `prefill`: an engine computes its prompt ahead. `attempt`: an engine is asked for its answer."""
        self.model = of.model
        self.replica = replica
        """The id of the replica that is asked; empty where none is, or it is not known yet."""
        self.reason = reason
        """Why this replica was picked; empty where none is asked for the answer."""
        self.retry: Retry | None = of.retries[-1] if of.retries else None
        """Why another replica is asked; None: it is the first."""
        self.error = ""
        """The code of the error with which a replica failed it."""
        self.broken = False
        """It was ended by the end of the whole request."""
        self.trace = of.trace
        of.steps.append(self)
        self.number = len(of.steps)
        """Its place among the request's steps, from 1."""
        self._clock = of.clock
        self.began_s = self.ended_s = of.clock()

    @property
    def traceparent(self) -> bytes | None:
        """Returns the header that tells an engine of the trace; None where its spans are not sent, or only if the request fails."""
        trace = self.trace
        return None if trace is None or not trace.sampled else trace.told(trace.part(self.number))

    def at(self, replica: str) -> None:
        """This replica is asked."""
        self.replica = replica

    def failed(self, error: str) -> None:
        """The replica failed it, with an error of this code, and the request goes on. Empty: it only left its place to another one."""
        self.error, self.broken = error, False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.ended_s = self._clock()
        self.broken = kind is not None

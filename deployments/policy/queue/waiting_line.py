"""The line of requests that wait for a replica with room: in which order, how many, and about how long.

Decides over numbers: it has no clock, times come in as arguments (seconds, of any one clock). Interactive requests go before batch ones,
else first come, first served. Who would wait longer than the config allows is refused at once: that costs nothing, and tells the client
when to come back.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from deployments.policy.request.calls import Priority

Waiter = TypeVar("Waiter")

#: How many of the last ends tell how fast requests end.
_ENDS = 64
#: Who is expected to wait nearly as long as the config allows would as often as not wait for nothing: requests do not end evenly.
_SURE = 0.9
#: What clients are told to wait at least and at most, in seconds.
_SOONEST_S, _LATEST_S = 1, 120


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request is not let in, and when it should come again."""

    retry_after_s: int


class DwellTimes:
    """How long requests stay at one model's replicas: tells how fast they will end when a line begins."""

    def __init__(self) -> None:
        self.there = 0
        """Requests that replicas have."""
        self._lasted_s: deque[float] = deque(maxlen=_ENDS)

    def began(self) -> None:
        """Counts a request that a replica has now."""
        self.there += 1

    def ended(self, lasted_s: float) -> None:
        """Counts a request that has ended, after so many seconds."""
        self.there -= 1
        self._lasted_s.append(lasted_s)

    @property
    def between_ends_s(self) -> float | None:
        """Seconds between two ends, by Little's law, with as many requests there as now; None where nothing is known."""
        if not self.there or not self._lasted_s:
            return None
        return sum(self._lasted_s) / len(self._lasted_s) / self.there


class Line(Generic[Waiter]):
    """The line before one model's replicas."""

    def __init__(self, between_ends_s: float | None = None) -> None:
        """Args:
        between_ends_s: how soon one request will end after the other, until it is seen.
        """
        self._between_ends_s = between_ends_s
        self._waiting: dict[Priority, deque[Waiter]] = {priority: deque() for priority in Priority}
        self._ends: deque[float] = deque(maxlen=_ENDS)
        self.is_empty = True
        """Nobody waits."""

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def ended(self, now_s: float) -> None:
        """A request that a replica had has ended."""
        self._ends.append(now_s)

    def ahead(self, priority: Priority) -> int:
        """How many would be served before a newcomer."""
        return sum(len(waiting) for other, waiting in self._waiting.items() if other <= priority)

    def expected_s(self, priority: Priority, now_s: float) -> float | None:
        """How long a newcomer would wait, by how fast requests ended since there is a line; None where that is not known."""
        between_s = (now_s - self._ends[0]) / (len(self._ends) - 1) if self._moves else self._between_ends_s
        return None if between_s is None else (self.ahead(priority) + 1) * between_s

    @property
    def _moves(self) -> bool:
        return len(self._ends) > 1

    def refusal(self, priority: Priority, now_s: float, most: int, longest_s: float) -> Refusal | None:
        """Whether a newcomer is turned away.

        Args:
            priority: its class.
            now_s: the time.
            most: how many may wait; a batch request is refused from half of it on, so that the line has room for who is in a hurry.
            longest_s: how long one may wait.
        """
        expected = self.expected_s(priority, now_s)
        if self.is_full(priority, most) or (expected is not None and expected > _SURE * longest_s):
            return Refusal(self._told_s(expected, now_s))
        return None

    def is_full(self, priority: Priority, most: int) -> bool:
        """Whether as many wait as may; arguments as those of `refusal`."""
        return len(self) >= (most if priority is Priority.INTERACTIVE else most / 2)

    def retry_after_s(self, priority: Priority, now_s: float) -> int:
        """When to come again, in whole seconds: when the line as it is now will be gone. One that does not move may stand as long again."""
        return self._told_s(self.expected_s(priority, now_s), now_s)

    def _told_s(self, expected: float | None, now_s: float) -> int:
        stood_s = now_s - self._ends[-1] if self._ends and not self._moves else 0.0
        return min(_LATEST_S, max(_SOONEST_S, math.ceil(max(expected or 0.0, stood_s))))

    def interrupted(self) -> None:
        """No replica is there: how fast requests have ended does not tell how fast they will."""
        self._ends.clear()
        self._between_ends_s = None

    def join(self, waiter: Waiter, priority: Priority, now_s: float) -> None:
        """At the end of its class."""
        if self.is_empty:  # how fast requests end tells how fast there is room only while all replicas are full
            self._ends.clear()
            self._ends.append(now_s)
        self._waiting[priority].append(waiter)
        self.is_empty = False

    def leave(self, waiter: Waiter, priority: Priority) -> None:
        """Served, or gone: waits no more."""
        if waiter in self._waiting[priority]:
            self._waiting[priority].remove(waiter)
            self.is_empty = not len(self)

    def __iter__(self) -> Iterator[Waiter]:
        """In the order of their turns."""
        return chain.from_iterable(self._waiting.values())

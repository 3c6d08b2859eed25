"""The line of requests that wait for a replica with room: in which order, how many, and about how long.

Decides over numbers: it has no clock, times come in as arguments (seconds, of any one clock). Interactive requests go before batch ones;
of each class those that can still keep their objective go before those that are too late for it; else first come, first served. Without
the second rule all would be late after a crowd, until the last of it is served. Who would wait longer than the config allows is refused at
once: that costs nothing, and tells the client when to come back.
"""

import heapq
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
    """How long requests stay at one model's replicas: tells how fast they will end when a line begins, and how soon they are answered."""

    def __init__(self) -> None:
        self.there = 0
        """Requests that replicas have."""
        self._lasted_s: deque[float] = deque(maxlen=_ENDS)
        self._answered_s: deque[float] = deque(maxlen=_ENDS)

    def began(self) -> None:
        """Counts a request that a replica has now."""
        self.there += 1

    def ended(self, lasted_s: float) -> None:
        """Counts a request that has ended, after so many seconds."""
        self.there -= 1
        self._lasted_s.append(lasted_s)

    def answered(self, after_s: float) -> None:
        """Counts a first token, so many seconds after a replica had the request."""
        self._answered_s.append(after_s)

    @property
    def begins_s(self) -> float:
        """Seconds from when a replica has a request until its first token, which three of four of the last ones did not exceed; 0 before
        any."""
        return sorted(self._answered_s)[len(self._answered_s) * 3 // 4] if self._answered_s else 0.0

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
        self._in_time: dict[Priority, dict[Waiter, None]] = {priority: {} for priority in Priority}
        self._late: dict[Priority, dict[Waiter, None]] = {priority: {} for priority in Priority}
        self._due: list[tuple[float, int, Priority, Waiter]] = []
        """A heap: from when on each one is too late, if it still waits then. The second number keeps equal ones in their order."""
        self._joined = 0
        self._late_since_s = 0.0
        """Since when requests that are too late have waited and none of them was served."""
        self._ends: deque[float] = deque(maxlen=_ENDS)
        self.is_empty = True
        """Nobody waits."""

    def __len__(self) -> int:
        return sum(map(len, (*self._in_time.values(), *self._late.values())))

    def ended(self, now_s: float) -> None:
        """A request that a replica had has ended."""
        self._ends.append(now_s)

    def ahead(self, priority: Priority) -> int:
        """How many would be served before a newcomer that is in time."""
        late = sum(len(waiting) for other, waiting in self._late.items() if other < priority)
        return late + sum(len(waiting) for other, waiting in self._in_time.items() if other <= priority)

    def expected_s(self, priority: Priority, now_s: float, patience_s: float = math.inf) -> float | None:
        """How long a newcomer would wait, by how fast requests ended since there is a line; None where that is not known.

        Args:
            priority: its class.
            now_s: the time.
            patience_s: seconds after which it is too late for its objective, and goes on waiting behind all of its class.
        """
        between_s = (now_s - self._ends[0]) / (len(self._ends) - 1) if self._moves else self._between_ends_s
        if between_s is None:
            return None
        ahead = self.ahead(priority) + 1
        return between_s * (ahead if ahead * between_s <= patience_s else ahead + len(self._late[priority]))

    @property
    def _moves(self) -> bool:
        return len(self._ends) > 1

    def refusal(self, priority: Priority, now_s: float, most: int, longest_s: float, patience_s: float = math.inf) -> Refusal | None:
        """Whether a newcomer is turned away. A full line takes one that will be in time, in the place of the last one that is too late. One
        that will be too late is turned away where none of those has been served for half as long as it may wait.

        Args:
            priority: its class.
            now_s: the time.
            most: how many may wait; a batch request is refused from half of it on, so that the line has room for who is in a hurry.
            longest_s: how long one may wait.
            patience_s: as for `expected_s`.
        """
        expected, late = self.expected_s(priority, now_s, patience_s), self._last_late(priority)
        in_time = expected is None or expected <= patience_s
        starves = not in_time and late is not None and now_s - self._late_since_s > longest_s / 2
        is_full = self.is_full(priority, most) and not (in_time and late is not None)
        if is_full or starves or (expected is not None and expected > _SURE * longest_s):
            return Refusal(self._told_s(expected, now_s))
        return None

    def is_full(self, priority: Priority, most: int) -> bool:
        """Whether as many wait as may; arguments as those of `refusal`."""
        return len(self) >= (most if priority is Priority.INTERACTIVE else most / 2)

    def retry_after_s(self, priority: Priority, now_s: float) -> int:
        """When to come again, in whole seconds: when the line as it is now will be gone. One that does not move may stand as long again."""
        return self._told_s(self.expected_s(priority, now_s, 0.0), now_s)

    def _told_s(self, expected: float | None, now_s: float) -> int:
        stood_s = now_s - self._ends[-1] if self._ends and not self._moves else 0.0
        return min(_LATEST_S, max(_SOONEST_S, math.ceil(max(expected or 0.0, stood_s))))

    def interrupted(self) -> None:
        """No replica is there: how fast requests have ended does not tell how fast they will."""
        self._ends.clear()
        self._between_ends_s = None

    def join(self, waiter: Waiter, priority: Priority, now_s: float, late_s: float = math.inf) -> None:
        """At the end of those of its class that are in time; from `late_s` on it is too late for its objective."""
        if self.is_empty:  # how fast requests end tells how fast there is room only while all replicas are full
            self._ends.clear()
            self._ends.append(now_s)
        self._in_time[priority][waiter] = None
        self.is_empty = False
        if late_s < math.inf:
            self._joined += 1
            heapq.heappush(self._due, (late_s, self._joined, priority, waiter))

    def look(self, now_s: float) -> None:
        """Lets those that are too late by now go on waiting behind the others of their class, in the order in which that came to be."""
        while self._due and self._due[0][0] <= now_s:
            late_s, _, priority, waiter = heapq.heappop(self._due)
            if waiter in self._in_time[priority]:
                if not self._late[priority]:
                    self._late_since_s = late_s
                del self._in_time[priority][waiter]
                self._late[priority][waiter] = None

    def displaced(self, priority: Priority, most: int) -> Waiter | None:
        """Takes out the last one that is too late, where more wait than may; returns it. Arguments as those of `is_full`."""
        last = self._last_late(priority) if len(self) > most else None
        if last is not None:
            self.leave(last, priority)
        return last

    def _last_late(self, priority: Priority) -> Waiter | None:
        """Returns the one of a class that has become too late last: it would be served last."""
        return next(reversed(self._late[priority]), None)

    def serve(self, waiter: Waiter, priority: Priority, now_s: float) -> None:
        """A replica has it: waits no more."""
        if waiter in self._late[priority]:
            self._late_since_s = now_s
        self.leave(waiter, priority)

    def leave(self, waiter: Waiter, priority: Priority) -> None:
        """Gone: waits no more."""
        for waiting in (self._in_time[priority], self._late[priority]):
            if waiter in waiting:
                del waiting[waiter]
                self.is_empty = not len(self)

    def before(self, priority: Priority) -> Iterator[Waiter]:
        """Returns those that would be served before a newcomer that is in time, in the order of their turns."""
        return chain.from_iterable(
            chain(self._in_time[other], () if other == priority else self._late[other]) for other in Priority if other <= priority
        )

    def __iter__(self) -> Iterator[Waiter]:
        """In the order of their turns."""
        return chain.from_iterable(chain(self._in_time[priority], self._late[priority]) for priority in Priority)

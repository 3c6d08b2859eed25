"""The line of requests that wait for a replica with room: in which order, how many, and about how long.

Decides over numbers: it has no clock, times come in as arguments (seconds, of any one clock). Interactive requests go before batch ones;
of each class those that can still keep their objective go before those that are too late for it; else first come, first served. Without
the second rule all would be late after a crowd, until the last of it is served. So that nobody is lost by it, one that is too late and has
waited for half as long as it may goes before all others, unless newcomers have been refused for long: then more come than can be served,
and somebody is lost in any order. Who would wait longer than the config allows is refused at once: that costs nothing, and tells the client
when to come back.
"""

import heapq
import math
from collections import deque
from collections.abc import Iterator, Sequence
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
        self._in_time: dict[Priority, dict[Waiter, float]] = {priority: {} for priority in Priority}
        """Each with the time from which on it has waited for half as long as it may."""
        self._late: dict[Priority, dict[Waiter, float]] = {priority: {} for priority in Priority}
        self._due: list[tuple[float, int, Priority, Waiter]] = []
        """A heap: from when on each one is too late, if it still waits then. The second number keeps equal ones in their order."""
        self._joined = 0
        self._passed_s: float | None = None
        """Since when requests that came later have been served, and none of those that are too late; None where none of these waits."""
        self._refusing_s = self._refused_s = -math.inf
        """Since when newcomers in a hurry have been refused again and again, and when the last one was."""
        self._longest_s = math.inf
        """How long one of these might have waited."""
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
        starves = not in_time and self._passed_s is not None and now_s - self._passed_s > longest_s / 2
        is_full = self.is_full(priority, most) and not (in_time and late is not None)
        if is_full or starves or (expected is not None and expected > _SURE * longest_s):
            if priority is Priority.INTERACTIVE:
                self._refused(now_s, longest_s)
            return Refusal(self._told_s(expected, now_s))
        return None

    def _refused(self, now_s: float, longest_s: float) -> None:
        if now_s - self._refused_s > longest_s:
            self._refusing_s = now_s
        self._refused_s, self._longest_s = now_s, longest_s

    def _overflows(self, now_s: float) -> bool:
        """Whether more come than can be served: newcomers have been refused for longer than one of them might have waited."""
        return now_s - self._refusing_s > self._longest_s >= now_s - self._refused_s

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

    def join(self, waiter: Waiter, priority: Priority, now_s: float, late_s: float = math.inf, until_s: float = math.inf) -> None:
        """At the end of those of its class that are in time.

        Args:
            waiter: the request.
            priority: its class.
            now_s: the time.
            late_s: from then on it is too late for its objective.
            until_s: it waits no longer than until then.
        """
        if self.is_empty:  # how fast requests end tells how fast there is room only while all replicas are full
            self._ends.clear()
            self._ends.append(now_s)
        self._in_time[priority][waiter] = (now_s + until_s) / 2
        self.is_empty = False
        if late_s < math.inf:
            self._joined += 1
            heapq.heappush(self._due, (late_s, self._joined, priority, waiter))

    def look(self, now_s: float) -> None:
        """Lets those that are too late by now go on waiting behind the others of their class, in the order in which that came to be."""
        while self._due and self._due[0][0] <= now_s:
            _, _, priority, waiter = heapq.heappop(self._due)
            if waiter in self._in_time[priority]:
                self._late[priority][waiter] = self._in_time[priority].pop(waiter)

    def displaced(self, priority: Priority, most: int) -> Waiter | None:
        """Takes out the last one that is too late, where more wait than may; returns it. Arguments as those of `is_full`."""
        last = self._last_late(priority) if len(self) > most else None
        if last is not None:
            self.leave(last, priority)
        return last

    def _last_late(self, priority: Priority) -> Waiter | None:
        """Returns the one of a class that has become too late last: of its class it would be served last."""
        return next(reversed(self._late[priority]), None)

    def serve(self, waiter: Waiter, priority: Priority, now_s: float) -> None:
        """Takes out one that a replica has now."""
        if waiter in self._late[priority]:
            self._passed_s = None
        elif self._passed_s is None and self._late[priority]:
            self._passed_s = now_s
        self.leave(waiter, priority)

    def leave(self, waiter: Waiter, priority: Priority) -> None:
        """Gone: waits no more."""
        for waiting in (self._in_time[priority], self._late[priority]):
            if waiter in waiting:
                del waiting[waiter]
                self.is_empty = not len(self)
        if not self._late[priority]:
            self._passed_s = None

    def before(self, priority: Priority, now_s: float) -> Iterator[Waiter]:
        """Returns those that would be served before a newcomer that is in time, in the order of their turns."""
        ahead = (chain(self._in_time[other], self._late[other] if other < priority else ()) for other in Priority if other <= priority)
        return chain(self._pressing(now_s), *ahead)

    def turns(self, now_s: float) -> Iterator[Waiter]:
        """Returns all in the order of their turns."""
        pressing = self._pressing(now_s)
        return chain(pressing, (one for one in self if one not in pressing)) if pressing else iter(self)

    def _pressing(self, now_s: float) -> Sequence[Waiter]:
        """Returns the one that goes before all others, if there is one: it is too late, and has waited for half as long as it may."""
        for waiter, from_s in self._late[Priority.INTERACTIVE].items():
            return (waiter,) if from_s <= now_s and not self._overflows(now_s) else ()
        return ()

    def __iter__(self) -> Iterator[Waiter]:
        """In the order of their turns, but for the one that presses."""
        return chain.from_iterable(chain(self._in_time[priority], self._late[priority]) for priority in Priority)

"""Deadlines of many tasks at once, with one timer of the event loop for all of them.

Decides how exact they are. `asyncio.timeout` sets a timer for each request and takes it back, which costs 5 µs; here a request stands in a
set of those that end within the same tenth of a second, which costs 1.
"""

import asyncio
from heapq import heappop, heappush
from types import TracebackType

#: A task ends so much later than it should, at most.
GRAIN_S = 0.1


class Deadlines:
    """The deadlines of one event loop."""

    def __init__(self) -> None:
        self._by_slot: dict[int, set[Deadline]] = {}
        """Those that end with the same tenth of a second, by its number."""
        self._slots: list[int] = []
        """The keys, as a heap."""
        self._timer: asyncio.TimerHandle | None = None
        self._now = _no_clock

    def within(self, seconds: float) -> "Deadline":
        """A deadline in so many seconds, for the task that uses it in a `with`."""
        if self._now is _no_clock:
            self._now = asyncio.get_running_loop().time
        return Deadline(self, self._now() + seconds)

    def add(self, deadline: "Deadline", at_s: float) -> None:
        """Ends a deadline's task at a time of the event loop."""
        slot = deadline.slot = int(at_s / GRAIN_S) + 1
        others = self._by_slot.get(slot)
        if others is None:
            others = self._by_slot[slot] = set()
            heappush(self._slots, slot)
            if self._slots[0] == slot:
                self._set()
        others.add(deadline)

    def drop(self, deadline: "Deadline") -> None:
        """Ends its task no more."""
        others = self._by_slot.get(deadline.slot)
        if others is not None:  # None: its time has come
            others.discard(deadline)

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._slots[0] * GRAIN_S, self._come) if self._slots else None

    def _come(self) -> None:
        now = self._now()
        while self._slots and (self._slots[0] * GRAIN_S <= now or not self._by_slot[self._slots[0]]):
            for deadline in self._by_slot.pop(heappop(self._slots)):
                deadline.end()
        self._set()


class Deadline:
    """One task's. To be used in a `with`, which raises `TimeoutError` when the time is over, as `asyncio.timeout` does."""

    __slots__ = ("_all", "_at_s", "_cancelling", "_is_over", "_task", "slot")

    def __init__(self, deadlines: Deadlines, at_s: float) -> None:
        self._all = deadlines
        self._at_s = at_s
        self._is_over = False
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.slot = 0

    def postpone(self, seconds: float) -> None:
        """Puts it off, unless it has come."""
        if seconds and not self._is_over:
            self._all.drop(self)
            self._at_s += seconds
            self._all.add(self, self._at_s)

    def end(self) -> None:
        """Its time has come."""
        self._is_over = True
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> "Deadline":
        self._task = task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task has a deadline")
        self._cancelling = task.cancelling()
        self._all.add(self, self._at_s)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._all.drop(self)
        task = self._task
        if self._is_over and task is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error


def _no_clock() -> float:
    raise RuntimeError("there is no event loop yet")

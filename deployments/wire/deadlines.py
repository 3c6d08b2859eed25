"""Deadlines of many tasks at once, with one timer of the event loop for all of them.

Decides how exact they are. `asyncio.timeout` sets a timer for each request and takes it back, which costs 5 µs; here a request stands in a
set of those that end within the same tenth of a second, which costs 1.
"""

import asyncio
import contextlib
from collections.abc import Iterator
from heapq import heappop, heappush
from types import TracebackType

#: A task ends so much later than it should, at most.
GRAIN_S = 0.1
#: A task may end so much sooner than it should: a time that differs from the present by a float's last digits has come.
SOONER_S = 1e-6


class Deadlines:
    """The deadlines of one event loop, which must be running."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._by_slot: dict[int, set[Deadline]] = {}
        """Those that end with the same tenth of a second, by its number."""
        self._slots: list[int] = []
        """The keys, as a heap."""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def now_s(self) -> float:
        """The time of the event loop."""
        return self._loop.time()

    def task(self) -> "asyncio.Task[object]":
        """Returns the task that runs now. Without the loop, asyncio would ask the system for the process each time.

        Raises:
            RuntimeError: none does.
        """
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("only a task has a deadline")
        return task

    def within(self, seconds: float) -> "Deadline":
        """A deadline in so many seconds, for the task that uses it in a `with`."""
        return Deadline(self, self._loop.time() + seconds)

    def at(self, at_s: float) -> "set[Deadline]":
        """Returns the set of those that end at a time of the event loop. Whoever is in it then is ended."""
        slot = int(at_s / GRAIN_S) + 1
        found = self._by_slot.get(slot)
        if found is None:
            found = self._by_slot[slot] = set()
            heappush(self._slots, slot)
            if self._slots[0] == slot:
                self._set()
        return found

    def _set(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._slots[0] * GRAIN_S, self._come) if self._slots else None

    def _come(self) -> None:
        now = self._loop.time()
        while self._slots and (self._slots[0] * GRAIN_S <= now or not self._by_slot[self._slots[0]]):
            for deadline in self._by_slot.pop(heappop(self._slots)):
                deadline.come(now)
        self._set()


class Deadline:
    """One task's. To be used in a `with`, which raises `TimeoutError` when the time is over, as `asyncio.timeout` does."""

    __slots__ = ("_all", "_among", "_at_s", "_cancelling", "_is_over", "_task")
    _among: "set[Deadline]"
    _task: "asyncio.Task[object]"

    def __init__(self, deadlines: Deadlines, at_s: float) -> None:
        self._all = deadlines
        self._at_s = at_s
        self._is_over = False

    def postpone(self, seconds: float) -> None:
        """Puts it off, unless it has come. A later time is looked at when the earlier one comes: most tasks have ended by then."""
        if not self._is_over:
            self._at_s += seconds
            if seconds < 0:
                self._among.discard(self)
                self._stand()

    def restart(self, seconds: float) -> None:
        """Puts it so many seconds from now, unless it has come."""
        self.postpone(self._all.now_s + seconds - self._at_s)

    @contextlib.contextmanager
    def later(self, at_most_s: float) -> Iterator[None]:
        """Puts it off by as long as this block takes, and by no more than `at_most_s`."""
        began_s = self._all.now_s
        self.postpone(at_most_s)
        try:
            yield
        finally:
            self.postpone(min(0.0, self._all.now_s - began_s - at_most_s))

    def come(self, now_s: float) -> None:
        """The time has come for which it stood; it may have been put off since."""
        if self._at_s > now_s + SOONER_S:
            self._stand()
        else:
            self.end()

    def end(self) -> None:
        """Its time has come."""
        self._is_over = True
        self._task.cancel()

    def __enter__(self) -> "Deadline":
        self._task = task = self._all.task()
        self._cancelling = task.cancelling()
        self._stand()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._among.discard(self)
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def _stand(self) -> None:
        self._among = self._all.at(self._at_s)
        self._among.add(self)

"""Looks at the gateways again and again, in a thread, and remembers the looks of the last half minute.

Decides how far back a rate is counted. The view never waits for a gateway: it is told when there is a new look.
"""

import contextlib
import socket
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from deployments.commands.looking.top.figures import Decision, Figures, Look, compare, decided

PERIOD_S = 2.0
#: Rates are counted over so many seconds, once so much is known.
WINDOW_S = 30.0


class Looks(Protocol):
    """Looks at a herd."""

    def look(self) -> Look:
        """Returns how it is."""


class Memory:
    """The last looks, and what follows from them."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque()
        self.figures = Figures()
        self.decisions: tuple[Decision, ...] = ()

    def take(self, look: Look) -> None:
        """Takes a look in. While the page of status does not answer, models stay as they were."""
        if not look.facts and self._looks:
            last = self._looks[-1]
            look = Look(look.at_s, last.facts, last.starting, look.pages, look.asked, look.problems)
        while len(self._looks) > 1 and look.at_s - self._looks[1].at_s >= WINDOW_S:
            self._looks.popleft()
        self.figures = compare(self._looks[0] if self._looks else None, look)
        self._looks.append(look)
        self.decisions = decided(self.decisions, self.figures)

    def failed(self, problem: str) -> None:
        """Tells of a look that came to nothing; the figures of the last one stay."""
        self.figures = replace(self.figures, problems=(problem,))


class Watcher:
    """Looks every few seconds, until it is told to stop."""

    def __init__(self, herd: Looks, memory: Memory, period_s: float = PERIOD_S) -> None:
        """Args:
        herd: is looked at.
        memory: takes the looks.
        period_s: between the end of one look and the next one.
        """
        self._herd, self._memory, self._period_s = herd, memory, period_s
        self._stops = threading.Event()
        self.news, self._bell = socket.socketpair()
        """`news` is readable when there is a new look."""
        self._bell.setblocking(False)
        # A thread that this program's end does not wait for: it may hang on a gateway.
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._thread.start()

    def heard(self) -> None:
        """Takes the news as heard."""
        self.news.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            self.news.recv(4096)

    def stop(self) -> None:
        """Begins no further look."""
        self._stops.set()

    def _watch(self) -> None:
        while not self._stops.is_set():
            try:
                self._memory.take(self._herd.look())
            except Exception as error:  # noqa: BLE001 (a loop beside the view: whatever went wrong is told, and the next look may be better)
                self._memory.failed(f"the last look failed ({type(error).__name__}).")
            with contextlib.suppress(OSError):  # the view is behind by more than a socket holds, or is gone
                self._bell.send(b".")
            self._stops.wait(self._period_s)


@contextlib.contextmanager
def watching(herd: Looks, memory: Memory) -> Iterator[Watcher]:
    """Yields a watcher that stops behind it."""
    watcher = Watcher(herd, memory)
    try:
        yield watcher
    finally:
        watcher.stop()

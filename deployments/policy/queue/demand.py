"""Counts the requests that were refused because all replicas were full: they are demand, as those that wait are.

There is no clock here: times come in as arguments (seconds, of any one clock).
"""

import heapq

#: Refusals that are remembered.
MOST_WAITING = 100_000
#: A refused client comes again when it was told to, if at all; until then, and no longer than this, it counts as one that waits.
REFUSED_S = 10.0


class RecentRefusals:
    """Requests that were refused lately because all replicas were full, each until its client may come again."""

    def __init__(self) -> None:
        self._until_s: list[float] = []

    def add(self, now_s: float, retry_after_s: float) -> None:
        """Counts a request that is refused now, and whose client is told to come again after so many seconds."""
        self._forget(now_s)
        if len(self._until_s) < MOST_WAITING:
            heapq.heappush(self._until_s, now_s + min(REFUSED_S, retry_after_s))

    def count(self, now_s: float) -> int:
        """Counts the requests whose clients have not come again yet, as far as they do what they are told."""
        self._forget(now_s)
        return len(self._until_s)

    def _forget(self, now_s: float) -> None:
        while self._until_s and self._until_s[0] <= now_s:
            heapq.heappop(self._until_s)

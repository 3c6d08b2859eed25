"""Decides what waits outside the engines, so that autoscaling counts it: what one gateway tells, and what a replica makes of all gateways.

Each gateway tells every replica of a model how many requests wait in its line, when that changes and while some wait. So each replica
knows the whole line of every gateway, and a sum over replicas must count it once (`cluster.scaling.ongoing_requests`). There is no clock
here: times come in as arguments (seconds, of any one clock).
"""

import heapq
import re

#: A gateway's word for more is taken as this.
MOST_WAITING = 100_000
#: A refused client comes again when it was told to, if at all; until then, and no longer than this, it counts as one that waits.
REFUSED_S = 10.0
#: So long a gateway's word holds. What still waits is told again after 5 s, or with many replicas later: one that knows is enough.
TOLD_S = 15.0
#: Gateways whose word is kept; each node has a few.
MOST_GATEWAYS = 4096
_TOLD = re.compile(r"([0-9A-Za-z_-]{1,64})\.(\d{1,9})", re.ASCII)


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


def written(gateway: str, waiting: int) -> str:
    """Writes a gateway's name and how many requests wait there, for `Lines.learn`."""
    return f"{gateway}.{min(waiting, MOST_WAITING)}"


class Lines:
    """How many requests wait for one model in each gateway's line, as the gateways tell."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, float]] = {}

    def learn(self, told: str, now_s: float) -> None:
        """Takes a gateway's word, as `written` writes it. Anything else is ignored."""
        found = _TOLD.fullmatch(told)
        if found is None:
            return
        gateway, waiting = found[1], min(int(found[2]), MOST_WAITING)
        self._told.pop(gateway, None)
        if waiting and len(self._told) < MOST_GATEWAYS:
            self._told[gateway] = waiting, now_s

    def waiting(self, now_s: float) -> int:
        """Requests that wait in all gateways' lines. A gateway that has told nothing for `TOLD_S` seconds has none."""
        self._told = {gateway: told for gateway, told in self._told.items() if told[1] > now_s - TOLD_S}
        return min(sum(waiting for waiting, _ in self._told.values()), MOST_WAITING)

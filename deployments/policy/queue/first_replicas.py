"""A start from zero: requests wait for a model that has no replica, and are spread over the replicas that come up.

Decides what clients are told to wait, and how many of the waiting requests each of the first replicas gets. Replicas that start together
are not ready in the same moment, and the first one has room for more requests than its share.
"""

from collections import Counter
from math import ceil

from deployments.policy.routing.availability import RETRY_AFTER_S

#: Others may be ready so much later than the first replica, as a part of its start. After that time it gets all that waits.
LATER = 0.25
#: Bounds of that time, in seconds.
SOONEST_S, LATEST_S = 2.0, 30.0


class Start:
    """One model's start, from its first request until no request waits or all replicas had time to come up. It has no clock."""

    def __init__(self, begun_s: float) -> None:
        """Args:
        begun_s: when the first request came.
        """
        self._begun_s = begun_s
        self._ready_s: float | None = None
        self._expected: int | None = None
        self._share = 0
        self._granted: Counter[str] = Counter()
        self.full: frozenset[str] = frozenset()
        """The ids of replicas that have their share."""

    def left_s(self, usual_s: float, now_s: float) -> int:
        """Returns the whole seconds until the first replica is ready; at least one.

        Args:
            usual_s: how long a start takes; 0 where nobody knows.
            now_s: the time.
        """
        left_s = usual_s - (now_s - self._begun_s)
        return ceil(left_s) if left_s > 0 else RETRY_AFTER_S

    def ready(self, now_s: float) -> float | None:
        """Takes the news that a replica is ready; returns the seconds that the start took, if it is the first one."""
        if self._ready_s is not None:
            return None
        self._ready_s = now_s
        return now_s - self._begun_s

    def expects(self, replicas: int) -> None:
        """Takes how many replicas there are or will be."""
        self._expected = max(1, replicas)

    @property
    def is_ready(self) -> bool:
        """Whether a replica is ready."""
        return self._ready_s is not None

    @property
    def grants(self) -> bool:
        """Whether requests may go to replicas: one is ready, and it is known how many will be."""
        return self.is_ready and self._expected is not None

    def is_over(self, usual_s: float, now_s: float) -> bool:
        """Whether all replicas have had time to come up; `usual_s` as for `left_s`."""
        return self._ready_s is not None and now_s - self._ready_s >= min(LATEST_S, max(SOONEST_S, LATER * usual_s))

    def divide(self, waiting: int) -> None:
        """Sets the share of each replica, of all requests that wait and those that have been granted."""
        self._share = ceil((waiting + self._granted.total()) / (self._expected or 1))
        self.full = frozenset(name for name, count in self._granted.items() if count >= self._share)

    def granted(self, replica: str) -> None:
        """Counts a waiting request that goes to the replica with this id."""
        self._granted[replica] += 1
        if self._granted[replica] >= self._share:
            self.full |= {replica}

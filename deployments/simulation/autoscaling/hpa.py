"""Kubernetes' HorizontalPodAutoscaler, as KEDA drives it: what stands between a rule's number and the replicas.

From Kubernetes' documentation ("Horizontal Pod Autoscaling", autoscaling/v2) and `pkg/controller/podautoscaler/horizontal.go`: the
controller syncs every 15 s; a change within the tolerance is none; of the recommendations within a stabilisation window it takes the lowest
on the way up and the highest on the way down; policies bound how many pods come or go in a period.
"""

import math
from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """At most so many pods, or so large a share of them, in a period; the larger of the two."""

    pods: int
    share: float
    period_s: float


@dataclass(frozen=True, slots=True)
class Behaviour:
    """`behavior` of an HPA. The defaults are Kubernetes' own."""

    up: Policy = Policy(4, 1.0, 15.0)
    down: Policy = Policy(0, 1.0, 15.0)
    up_window_s: float = 0.0
    down_window_s: float = 300.0
    tolerance: float = 0.1


class Hpa:
    """One HPA."""

    def __init__(self, behaviour: Behaviour, least: int, most: int) -> None:
        self._behaviour, self._least, self._most = behaviour, least, most
        self._recommended: deque[tuple[float, int]] = deque()
        self._changed: deque[tuple[float, int]] = deque()

    def by_average(self, now_s: float, current: int, total: float, target: float) -> int:
        """Returns the number for a metric of type AverageValue: its total over all pods, and its target for each."""
        if current and abs(total / (target * current) - 1) <= self._behaviour.tolerance:
            return self.limited(now_s, current, current)
        return self.limited(now_s, current, math.ceil(total / target))

    def limited(self, now_s: float, current: int, wanted: int) -> int:
        """Returns the number that becomes of a recommendation."""
        behaviour = self._behaviour
        wanted = max(self._least, min(self._most, wanted))
        if not self._recommended:
            self._recommended.append((now_s, current))
        lowest = min(wanted, *(number for at_s, number in self._recommended if at_s > now_s - behaviour.up_window_s), 1 << 30)
        highest = max(wanted, *(number for at_s, number in self._recommended if at_s > now_s - behaviour.down_window_s), 0)
        self._recommended.append((now_s, wanted))
        longest = max(behaviour.up_window_s, behaviour.down_window_s)
        while self._recommended[0][0] < now_s - longest:
            self._recommended.popleft()
        stable = max(current, lowest) if lowest > current else min(current, highest)
        result = self._bounded(now_s, current, stable)
        if result != current:
            self._changed.append((now_s, result - current))
        return result

    def _bounded(self, now_s: float, current: int, wanted: int) -> int:
        up, down = self._behaviour.up, self._behaviour.down
        if wanted > current:
            before = current - sum(change for at_s, change in self._changed if change > 0 and at_s > now_s - up.period_s)
            return min(wanted, max(current, before + up.pods, math.ceil(before * (1 + up.share))))
        before = current - sum(change for at_s, change in self._changed if change < 0 and at_s > now_s - down.period_s)
        return max(wanted, min(current, before - down.pods, math.floor(before * (1 - down.share))))

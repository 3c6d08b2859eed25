"""Clients that ask one question after the other, as agents, evaluations and benchmarks of a fixed concurrency do.

No more requests are in flight than there are clients, so the load follows the replicas: slow ones are asked less.
"""

from collections.abc import Sequence
from random import Random

from deployments.simulation.loads.generated import Lengths
from deployments.simulation.loads.traces import Traced

#: Clients that begin together send their first requests within so many seconds.
BEGIN_S = 2.0


class Asker:
    """One client, until a time. It asks again at once."""

    def __init__(self, until_s: float, lengths: Lengths, seed: str) -> None:
        self._until_s = until_s
        self._lengths = lengths
        self._dice = Random(seed)

    def first(self, begin_s: float) -> Traced:
        """Returns its first request, soon after a time."""
        return self._ask(begin_s + self._dice.uniform(0.0, BEGIN_S))

    def after(self, at_s: float) -> Traced | None:
        """Returns its next request, at that time."""
        return self._ask(at_s) if at_s < self._until_s else None

    def _ask(self, at_s: float) -> Traced:
        return Traced(at_s, *self._lengths.draw(self._dice), (), self)


def clients(groups: Sequence[tuple[int, float, float]], lengths: Lengths, seed: int) -> list[Traced]:
    """Returns the first requests of clients, in the order of their times.

    Args:
        groups: of each, how many there are, and from when to when they ask, in seconds.
        lengths: of their requests.
        seed: of the lengths.
    """
    found = [
        Asker(until_s, lengths, f"{seed} {group} {number}").first(begin_s)
        for group, (several, begin_s, until_s) in enumerate(groups)
        for number in range(several)
    ]
    return sorted(found, key=lambda one: one.at_s)

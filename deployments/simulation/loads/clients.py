"""Clients that ask one question after the other, as agents, evaluations and benchmarks of a fixed concurrency do.

No more requests are in flight than there are clients, so the load follows the replicas: slow ones are asked less.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from deployments.simulation.loads.generated import Lengths
from deployments.simulation.loads.traces import Traced

#: Clients that begin together send their first requests within so many seconds.
BEGIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Asker:
    """One client, which asks again at once until a time. It is the same for the same seed, however fast it is answered."""

    until_s: float
    lengths: Lengths
    seed: str
    asked: int = 0
    """Requests that it has sent."""

    def after(self, at_s: float) -> Traced | None:
        """Returns its next request, at that time; None where it asks no more by then."""
        if at_s >= self.until_s:
            return None
        return Traced(at_s, *self.lengths.draw(Random(f"{self.seed} {self.asked}")), (), replace(self, asked=self.asked + 1))


def clients(groups: Sequence[tuple[int, float, float]], lengths: Lengths, seed: int) -> list[Traced]:
    """Returns the first requests of clients, in the order of their times.

    Args:
        groups: of each, how many there are, and from when to when they ask, in seconds.
        lengths: of their requests.
        seed: of the lengths.
    """
    askers = [
        (begin_s, Asker(until_s, lengths, f"{seed} {group} {number}"))
        for group, (several, begin_s, until_s) in enumerate(groups)
        for number in range(several)
    ]
    first = (asker.after(begin_s + Random(asker.seed).uniform(0.0, BEGIN_S)) for begin_s, asker in askers)
    return sorted((one for one in first if one is not None), key=lambda one: one.at_s)

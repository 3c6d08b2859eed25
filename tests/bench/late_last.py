"""`python -m tests.bench.late_last`: what the order of a gateway's line costs and brings, in virtual time, with production's own admission.

One replica of so many slots. Requests come at random, or at random and in crowds, and stay for random times. The usual limits hold. The
same requests go in turn, and by their objective; the same seed gives the same figures.
"""

import argparse
import heapq
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import count
from math import inf
from pathlib import Path
from random import Random

from msgspec.structs import replace

from configs.schema import Limits
from deployments.policy.queue.admission import Queue
from deployments.policy.queue.slots import Slot, Waiting
from deployments.policy.routing.types import Ask
from tests.bench import report
from tests.unit.deployments.policy.queue.test_admission import LLAMA, Pool
from tests.unit.samples import replica

RESULTS = Path(__file__).parent / "results" / "late_last.json"
SLOTS, STAY_S, FIRST_S, TTFT_S = 32, 10.0, 0.3, 3.0
SEEDS = 5


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that come at random, as a share of what the slots can do, and so many at once every few minutes."""

    name: str
    share: float
    seconds: float
    crowd: int = 0
    every_s: float = 300.0

    def arrivals(self, dice: Random) -> list[float]:
        """Returns when they come."""
        at_s, found = 0.0, list[float]()
        while (at_s := at_s + dice.expovariate(self.share * SLOTS / STAY_S)) < self.seconds:
            found.append(at_s)
        crowds = range(int(self.seconds / self.every_s))
        return sorted([*found, *((number + 0.5) * self.every_s for number in crowds for _ in range(self.crowd))])


LOADS = (
    Load("80 %", 0.8, 5400),
    Load("90 %", 0.9, 5400),
    Load("95 %", 0.95, 5400),
    Load("110 %", 1.1, 1200),
    Load("200 %", 2.0, 1200),
    Load("60 %, and 80 at once every 5 min", 0.6, 5400, 80),
    Load("70 %, and 60 at once every 5 min", 0.7, 5400, 60),
)


@dataclass(slots=True)
class Went:
    """How requests went."""

    all: int = 0
    in_time: int = 0
    refused: int = 0
    """At once."""
    expired: int = 0
    """Refused after they had waited as long as they may."""
    longest_s: float = 0.0
    """Of those that were served, until they had a slot."""


class Run:
    """One load before one replica."""

    def __init__(self, ttft_s: float, dice: Random) -> None:
        self.went = Went()
        self._ask, self._dice, self._limits = Ask(ttft_s=ttft_s), dice, Limits()
        self._queue = Queue(LLAMA, Pool(replace(replica("a"), slots=SLOTS)))
        self._came_s: dict[Waiting, float] = {}
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._number = count()

    def of(self, arrivals: Iterable[float]) -> Went:
        """Lets all come, and returns how they went."""
        for at_s in arrivals:
            self._push(at_s, self._arrive)
        while self._events:
            at_s, _, happens = heapq.heappop(self._events)
            happens(at_s)
        return self.went

    def _push(self, at_s: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._number), happens))

    def _arrive(self, at_s: float) -> None:
        self.went.all += 1
        outcome = self._queue.offered(self._ask, self._limits, at_s)
        self._over(self._queue.displaced(), at_s)
        if isinstance(outcome, Slot):
            self._served(outcome, at_s, at_s)
        elif isinstance(outcome, Waiting):
            self._came_s[outcome] = at_s
            self._push(outcome.until_s, lambda now_s: self._over(self._queue.expired(now_s), now_s))
        else:
            self.went.refused += 1

    def _over(self, over: Iterable[Waiting], now_s: float) -> None:
        for waiting in over:
            came_s = self._came_s.pop(waiting)
            if isinstance(waiting.outcome, Slot):
                self._served(waiting.outcome, came_s, now_s)
            else:
                self.went.expired += 1

    def _served(self, slot: Slot, came_s: float, now_s: float) -> None:
        self.went.longest_s = max(self.went.longest_s, now_s - came_s)
        self.went.in_time += now_s + FIRST_S - came_s <= TTFT_S
        self._push(now_s + FIRST_S, partial(self._queue.answered, slot))
        self._push(now_s + max(FIRST_S, self._dice.expovariate(1 / STAY_S)), lambda at_s: self._over(self._queue.freed(slot, at_s), at_s))


def measured(load: Load, ttft_s: float) -> Went:
    """Returns how requests of all seeds went; longest waits are the longest of any."""
    runs = [Run(ttft_s, Random(1000 + seed)).of(load.arrivals(Random(seed))) for seed in range(1, SEEDS + 1)]
    all_of, in_time, refused, expired = (sum(getattr(run, name) for run in runs) for name in ("all", "in_time", "refused", "expired"))
    return Went(all_of, in_time, refused, expired, max(run.longest_s for run in runs))


def main() -> None:
    """Measures each load in both orders, and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    orders = {"in turn": inf, "by the objective": TTFT_S}
    found = {load.name: {name: asdict(measured(load, ttft_s)) for name, ttft_s in orders.items()} for load in LOADS}
    for load, rows in found.items():
        print(load, rows)
    settings = {"slots": SLOTS, "stay_s": STAY_S, "ttft_s": TTFT_S, "seeds": SEEDS}
    report.save(asked.out, report.about("tests.bench.late_last") | {"settings": settings, "loads": found})


if __name__ == "__main__":
    main()

"""What one choice of a replica costs, however many there are: `python -m tests.bench.pick`.

A gateway's router in flight: requests come, are answered and end, and for each of them a replica reports. Half of the prompts continue a
conversation that a replica remembers, the other half begin one behind a common system prompt. Every replica's cache is full. Only the
thread's own CPU time counts, without what the clock takes itself: of each step the median, and of several runs the one that other
programs disturbed least. Writes `results/pick.json`.
"""

import argparse
import random
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any, TypeVar

from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from configs.routing import Routing
from deployments.policy.request.prompt_blocks import BLOCK_TOKENS, Prompt
from deployments.policy.routing.flights import Sending
from deployments.policy.routing.router import Router
from deployments.policy.routing.types import Ask, ReplicaState, ReplicaView
from tests.bench import report

RESULTS = Path(__file__).parent / "results" / "pick.json"
REPLICAS = (8, 64, 100, 256, 1000)
#: Most CPU time of one pick, in µs.
BARS = {8: 40, 100: 60, 1000: 100}
REPETITIONS, STEPS = 10, 500
TOKENS = 5000
SYSTEM_BLOCKS = 4
#: Requests at a replica, and of these before their first token; and what its cache holds.
RUNNING, UNANSWERED, KV_TOKENS = 8, 1, 40_000
STEPS_OF_ONE = ("pick, cold prompt", "pick, warm prompt", "sending", "answered and end", "report")

Value = TypeVar("Value")


class Clock:
    """CPU seconds by what they were spent on."""

    def __init__(self) -> None:
        self._spent_s: dict[str, list[float]] = {what: [] for what in STEPS_OF_ONE}
        self._own_s = min(self._nothing() for _ in range(1000))

    @staticmethod
    def _nothing() -> float:
        began = thread_time()
        return thread_time() - began

    def times(self, what: str, call: Callable[[], Value]) -> Value:
        began = thread_time()
        value = call()
        self._spent_s[what].append(thread_time() - began - self._own_s)
        return value

    def us(self) -> dict[str, float]:
        """Microseconds of one call of each, the median."""
        return {what: 1e6 * median(spent) for what, spent in self._spent_s.items()}


class Flow:
    """A router with so many replicas, and the requests under way."""

    def __init__(self, replicas: int, policy: str) -> None:
        self._dice = random.Random(replicas)
        self._router = Router(Routing.model_validate({"policy": policy}))
        self._views = [
            ReplicaView(f"replica-{number:04}", "scout", "10.0.0.1", 9000, ReplicaState.READY, 0, slots=64, kv_tokens=KV_TOKENS)
            for number in range(replicas)
        ]
        self._router.update(self._views)
        self._counts = dict.fromkeys((view.id for view in self._views), 0)
        self._under_way: deque[tuple[str, Sending]] = deque()
        self._unanswered: deque[Sending] = deque()
        self._conversations: deque[Prompt] = deque(maxlen=4 * replicas)
        self._block = 0
        self._reports = 0
        self._turn = self._turns()

    def step(self, clock: Clock) -> None:
        """One request is sent, one answered, one ends, and one replica reports."""
        kind, prompt = next(self._turn)
        ask = Ask(prompt)
        pick = clock.times(f"pick, {kind} prompt", lambda: self._router.pick(ask))
        assert pick is not None, "there is room"
        sending = clock.times("sending", lambda: self._router.sending(pick, prompt))
        self._under_way.append((pick.replica.id, sending))
        self._unanswered.append(sending)
        self._counts[pick.replica.id] += 1
        self._conversations.append(prompt)
        if len(self._under_way) > RUNNING * len(self._views):
            clock.times("answered and end", self._ends)
        view = self._report()
        clock.times("report", lambda: self._router.heard(view))

    def fill(self) -> None:
        """Goes on until every cache is full."""
        clock = Clock()
        for _ in range(len(self._views) * 4 * KV_TOKENS // TOKENS):
            self.step(clock)

    def _ends(self) -> None:
        if len(self._unanswered) > UNANSWERED * len(self._views):
            self._unanswered.popleft().answered()
        replica, sending = self._under_way.popleft()
        sending.end()
        self._counts[replica] -= 1

    def _report(self) -> ReplicaView:
        self._reports += 1
        place = self._reports % len(self._views)
        view = self._views[place] = replace(
            self._views[place],
            ongoing=self._counts[self._views[place].id],
            kv_usage=self._dice.uniform(0.5, 0.94),
            prefill_tokens=self._dice.randrange(2 * TOKENS),
            number=self._reports,
        )
        return view

    def _turns(self) -> Iterator[tuple[str, Prompt]]:
        system = tuple(self._new(SYSTEM_BLOCKS))
        blocks = TOKENS // BLOCK_TOKENS
        while True:
            yield "cold", Prompt((*system, *self._new(blocks - SYSTEM_BLOCKS)), TOKENS)
            before = self._dice.choice(self._conversations).blocks[: blocks - 3]
            yield "warm", Prompt((*before, *self._new(3)), TOKENS)

    def _new(self, blocks: int) -> Iterator[int]:
        for _ in range(blocks):
            self._block += 1
            yield self._block << 32 | self._dice.getrandbits(32)


def measure(replicas: int, policy: str, repetitions: int, steps: int) -> dict[str, float]:
    """Microseconds of each step, the best of several repetitions."""
    flow = Flow(replicas, policy)
    flow.fill()
    runs = []
    for _ in range(repetitions):
        clock = Clock()
        for _ in range(steps):
            flow.step(clock)
        runs.append(clock.us())
    return {what: round(min(run[what] for run in runs), 1) for what in STEPS_OF_ONE}


def table(rows: dict[str, dict[str, float]]) -> Table:
    """For people."""
    shown = Table("replicas", *(f"{what}, µs" for what in STEPS_OF_ONE), "bar")
    for replicas, row in rows.items():
        shown.add_row(replicas, *(f"{row[what]:.1f}" for what in STEPS_OF_ONE), str(BARS.get(int(replicas), "")))
    return shown


def main() -> None:
    """Measures, shows, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="herd")
    parser.add_argument("--quick", action="store_true", help="a smoke run: the figures mean little, nothing is written")
    asked = parser.parse_args()
    repetitions, steps = (1, 20) if asked.quick else (REPETITIONS, STEPS)
    rows = {str(replicas): measure(replicas, asked.policy, repetitions, steps) for replicas in (REPLICAS[:2] if asked.quick else REPLICAS)}
    Console(width=140).print(table(rows))
    if not asked.quick:
        settings: dict[str, Any] = {"policy": asked.policy, "prompt_tokens": TOKENS, "block_tokens": BLOCK_TOKENS, "kv_tokens": KV_TOKENS}
        settings |= {"running": RUNNING, "repetitions": REPETITIONS, "steps": STEPS}
        report.save(RESULTS, report.about("tests.bench.pick") | {"settings": settings, "us": rows})


if __name__ == "__main__":
    main()

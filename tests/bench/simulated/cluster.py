"""A cluster in virtual time: a trace, some simulated engines, and something that chooses between them.

An hour of eight replicas takes seconds. What chooses sees what a gateway would see: views that are as old as the period of the reports,
and of its own requests each first token and each end.
"""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from deployments.policy.routing.types import ReplicaState, ReplicaView
from deployments.simulation.engine.request import Request, Size
from deployments.simulation.engine.scheduler import Scheduler
from deployments.simulation.engine.step_times import StepTimes
from deployments.simulation.loads.traces import Traced

MODEL = "simulated"

#: Longer than any trace takes.
_LONG_S = 1e9


@dataclass(frozen=True, slots=True)
class Reports:
    """What engines say, and how often."""

    period_s: float = 0.2
    prefill: bool = False
    """They say how many prompt tokens they have to compute. vLLM itself does not."""


PLAIN = Reports()


class Chooser(Protocol):
    """What a trace is replayed over."""

    def choose(self, number: int, asked: Traced, views: Sequence[ReplicaView]) -> int:
        """The place in `views` of the replica for this request, which it will then be sent."""

    def answered(self, number: int) -> None:
        """A request's first token is there."""

    def ended(self, number: int) -> None:
        """A request's last token is there."""


@dataclass(slots=True)
class Served:
    """How one request went."""

    at_s: float
    asked: Traced
    replica: int
    first_s: float = float("inf")
    """From its arrival to its first token."""
    end_s: float = float("inf")
    found_blocks: int = 0

    @property
    def per_token_s(self) -> float:
        """Between its tokens, on average."""
        return (self.end_s - self.first_s) / max(1, self.asked.output_tokens - 1)


class Replica:
    """One simulated engine and where it is in time."""

    def __init__(self, name: str, size: Size, step_times: StepTimes, tells_prefill: bool) -> None:
        self.name = name
        self._tells_prefill = tells_prefill
        self.scheduler = Scheduler(size, step_times)
        self._now_s = 0.0

    def submit(self, request: Request, at_s: float) -> None:
        """A request arrives; a step under way is not disturbed."""
        self._now_s = max(self._now_s, at_s)
        self.scheduler.submit(request)

    def advance(self, until_s: float) -> Iterable[tuple[float, bool, Request]]:
        """Every step that begins before then: when, whether it is an end, and of which request."""
        while self._now_s < until_s:
            step = self.scheduler.step(until_s - self._now_s)
            if step is None:
                return
            self._now_s += step.took_s
            for request in step.first:
                yield self._now_s, False, request
            for request in step.finished:
                yield self._now_s, True, request

    def view(self) -> ReplicaView:
        """What it would report now."""
        own = self.scheduler
        waiting, running = len(own.waiting), own.running
        return ReplicaView(
            self.name,
            MODEL,
            "127.0.0.1",
            0,
            ReplicaState.READY,
            waiting + running,
            waiting=waiting,
            running=running,
            prefill_tokens=own.prefill_tokens if self._tells_prefill else None,
            kv_usage=own.pool.usage,
            kv_tokens=own.size.kv_tokens,
        )


def replay(
    trace: Sequence[Traced], chooser: Chooser, replicas: int, size: Size, step_times: StepTimes, reports: Reports = PLAIN
) -> list[Served]:
    """Sends every request of a trace at its time; how each went, in the same order."""
    engines = [Replica(f"replica-{number}", size, step_times, reports.prefill) for number in range(replicas)]
    views = tuple(engine.view() for engine in engines)
    served: list[Served] = []
    told: list[tuple[float, int, bool]] = []
    report_at_s = 0.0

    def until(time_s: float) -> None:
        for engine in engines:
            for at_s, ended, request in engine.advance(time_s):
                one = served[request.number]
                if ended:
                    one.end_s = at_s - one.at_s
                else:
                    one.first_s, one.found_blocks = at_s - one.at_s, request.found
                heapq.heappush(told, (at_s, request.number, ended))
        while told and told[0][0] <= time_s:
            _, number, ended = heapq.heappop(told)
            (chooser.ended if ended else chooser.answered)(number)

    for number, asked in enumerate(trace):
        while report_at_s <= asked.at_s:
            until(report_at_s)
            views = tuple(engine.view() for engine in engines)
            report_at_s += reports.period_s
        until(asked.at_s)
        chosen = chooser.choose(number, asked, views)
        served.append(Served(asked.at_s, asked, chosen))
        engines[chosen].submit(Request(number, asked.blocks, asked.prompt_tokens, asked.output_tokens), asked.at_s)
    until(_LONG_S)
    return served

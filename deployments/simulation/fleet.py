"""Replicas that come and go: starting, ready, draining, and the GPUs that they hold meanwhile.

A replica holds its GPUs from the begin of its start to the end of its drain, and a start that fails held them for nothing. Where the pool
of GPUs is used up, a start waits until others are given back. Of too many replicas those go first that are not ready, then the newest, as
Ray Serve does it (`deployment_scheduler.py`, 2.60) and Kubernetes by default.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from random import Random

from deployments.policy.routing.types import ReplicaState, ReplicaView
from deployments.simulation.engine.clocked import ClockedEngine
from deployments.simulation.gateway import MODEL

Phases = tuple[tuple[str, float], ...]
"""Names of a start's phases, each with its seconds."""


@dataclass(frozen=True, slots=True)
class StartTimes:
    """How long a replica takes from asking for it until it is ready."""

    phases: Phases = (("start", 100.0),)
    """Each phase's name and its median in seconds."""
    spread: float = 0.0
    """Standard deviation of the logarithm of each phase."""
    failing: float = 0.0
    """Share of the starts that fail, at their end."""

    def draw(self, dice: Random) -> tuple[Phases, bool]:
        """Returns the seconds of each phase of one start, and whether it fails."""
        phases = tuple((name, median_s * dice.lognormvariate(0, self.spread)) for name, median_s in self.phases)
        return phases, dice.random() < self.failing


@dataclass(frozen=True, slots=True)
class Pool:
    """The GPUs, and what a replica does with them."""

    start: StartTimes = StartTimes()
    gpus_per_replica: int = 1
    most_gpus: float = inf
    drain_s: float = 600.0
    """A replica that drains longer is ended, and its requests go on elsewhere."""


class Stage(StrEnum):
    """Where a replica is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    GONE = "gone"


class Member:
    """One replica of the fleet."""

    __slots__ = ("asked_s", "engine", "fails", "failures", "name", "open", "phases", "reports", "since_s", "stage", "start_s")

    def __init__(self, name: str, engine: ClockedEngine, start: tuple[Phases, bool], asked: tuple[float, int]) -> None:
        """Args:
        name: unlike all others.
        engine: nobody else's.
        start: the seconds of each phase of its start, and whether it fails.
        asked: when the first attempt to start it began, and how many have failed.
        """
        self.name = name
        self.engine = engine
        self.phases, self.fails = start
        self.start_s = sum(seconds for _, seconds in self.phases)
        """Seconds that its start takes."""
        self.asked_s, self.failures = asked
        self.stage = Stage.STARTING
        self.since_s = 0.0
        """When the stage began."""
        self.open = 0
        """Requests that it has."""
        self.reports = 0

    def enter(self, stage: Stage, now_s: float) -> None:
        """Goes on to its next stage."""
        self.stage, self.since_s = stage, now_s

    def takes(self, requests: int) -> None:
        """Counts requests that it gets, or has no longer where the number is below zero."""
        self.open += requests

    def view(self, now_s: float, slots: int) -> ReplicaView:
        """Makes its next report.

        Args:
            now_s: the time.
            slots: requests that it says it runs at once; 0: it does not say.
        """
        self.engine.catch_up(now_s)
        own = self.engine.scheduler
        waiting, running = len(own.waiting), own.running
        self.reports += 1
        return ReplicaView(
            self.name,
            MODEL,
            "127.0.0.1",
            0,
            ReplicaState.READY,
            waiting + running,
            waiting,
            running,
            slots,
            own.prefill_tokens,
            own.pool.usage,
            own.size.kv_tokens,
            ready_s=now_s - self.since_s,
            start_s=self.start_s,
            number=self.reports,
        )


class Fleet:
    """All replicas of the model. It has no clock: each change brings its time."""

    def __init__(self, pool: Pool, make_engine: Callable[[], ClockedEngine], dice: Random, until_s: float = inf) -> None:
        """Args:
        pool: the GPUs and the starts.
        make_engine: makes an idle engine.
        dice: draws starts.
        until_s: GPU seconds are counted until then.
        """
        self.starting: dict[str, Member] = {}
        self.ready: dict[str, Member] = {}
        self.draining: dict[str, Member] = {}
        self.target = 0
        self.start_times_s: list[float] = []
        """Of the starts that ended well, in their order."""
        self.gpu_s = 0.0
        """GPU seconds held by all replicas until the last change or `count`."""
        self._pool = pool
        self._make_engine = make_engine
        self._dice = dice
        self._several = 0
        self._counted_s, self._until_s = 0.0, until_s
        self._attempts: list[tuple[float, int]] = []

    @property
    def holding(self) -> int:
        """Replicas that hold GPUs."""
        return len(self.starting) + len(self.ready) + len(self.draining)

    def count(self, now_s: float) -> None:
        """Counts the GPU seconds until now."""
        now_s = min(now_s, self._until_s)
        self.gpu_s += self.holding * self._pool.gpus_per_replica * (now_s - self._counted_s)
        self._counted_s = now_s

    def grow(self, target: int, now_s: float) -> list[Member]:
        """Takes the number of replicas that there should be; returns those whose start begins now, as far as there are GPUs."""
        self.target = target
        room = self._pool.most_gpus / self._pool.gpus_per_replica - self.holding
        missing = target - len(self.starting) - len(self.ready)
        return [self._start(now_s) for _ in range(int(min(missing, room)))]

    def shrink(self, now_s: float) -> list[Member]:
        """Ends the starts, and then lets those ready replicas drain, the newest first, that are more than the target.

        Returns:
            The replicas that drain from now on.
        """
        self.count(now_s)
        drained = []
        for _ in range(len(self.starting) + len(self.ready) - self.target):
            if self.starting:
                self.starting.popitem()[1].enter(Stage.GONE, now_s)
            else:
                name, member = self.ready.popitem()
                member.enter(Stage.DRAINING, now_s)
                self.draining[name] = member
                drained.append(member)
        return drained

    def started(self, member: Member, now_s: float) -> bool:
        """Ends a replica's start; returns whether it is ready. One that failed is gone, and the next start is another attempt."""
        self.count(now_s)
        del self.starting[member.name]
        if member.fails:
            member.enter(Stage.GONE, now_s)
            self._attempts.append((member.asked_s, member.failures + 1))
            return False
        member.enter(Stage.READY, now_s)
        self.ready[member.name] = member
        self.start_times_s.append(member.start_s)
        return True

    def gone(self, member: Member, now_s: float) -> None:
        """Takes out a replica that has drained, or died."""
        self.count(now_s)
        self.ready.pop(member.name, None)
        self.draining.pop(member.name, None)
        member.enter(Stage.GONE, now_s)

    def begin(self, replicas: int) -> None:
        """Has so many replicas ready at time 0."""
        self.target = replicas
        for _ in range(replicas):
            member = self._born((), False, (0.0, 0))
            member.enter(Stage.READY, 0.0)
            self.ready[member.name] = member

    def _born(self, phases: Phases, fails: bool, asked: tuple[float, int]) -> Member:
        self._several += 1
        return Member(f"replica-{self._several}", self._make_engine(), (phases, fails), asked)

    def _start(self, now_s: float) -> Member:
        self.count(now_s)
        asked = self._attempts.pop() if self._attempts else (now_s, 0)
        member = self._born(*self._pool.start.draw(self._dice), asked)
        member.enter(Stage.STARTING, now_s)
        self.starting[member.name] = member
        return member

"""A model of a cluster that is just good enough to try the decision in a closed loop: work flows through replicas of a fixed pace.

It is no simulator: there are no engines, no prefix caches and no routing, and a replica's pace is a hard limit, which is pessimistic.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import exp
from random import Random

from cluster.scaling.decide import decide
from cluster.scaling.decision import Decision
from cluster.scaling.limits import Limits
from cluster.scaling.observation import Bucket, Observation, Report, Start
from cluster.scaling.state import State
from cluster.scaling.work import Pace, Work

#: Prompts of 4,000 tokens and answers of 1,000 at a pace of 1.45 requests a second: llm-d's episode, Qwen3-32B on two H100.
EACH = Work(4000, 1000, 4500 * 40)
PACE = Pace(15_900, 1000 / (1 / 1.45 - 4000 / 15_900), 1e6)


#: A gateway refuses what has waited so long.
GIVE_UP_S = 60


@dataclass
class Run:
    """The outcome of a load and the decisions on it."""

    targets: list[int] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    in_time: float = 0
    late: dict[int, float] = field(default_factory=dict)
    """Requests that were served too late or refused, by the minute in which they came."""
    requests: float = 0
    replica_s: float = 0
    """Of ready and starting replicas."""
    draining_s: float = 0
    seconds: float = 0

    @property
    def attained(self) -> float:
        return self.in_time / self.requests

    @property
    def replicas(self) -> float:
        return self.replica_s / self.seconds

    def lose(self, came: float, count: float) -> None:
        self.late[int(came) // 60] = self.late.get(int(came) // 60, 0) + count

    def events(self, since_s: float = 0, step_s: float = 5) -> int:
        kept = self.targets[int(since_s / step_s) :]
        return sum(one != other for one, other in pairwise(kept))


@dataclass
class Cluster:
    """Replicas, the line before them, and what has been reported of both."""

    limits: Limits
    start_s: Callable[[Random], float]
    random: Random
    ready: int
    starting: list[tuple[float, float]] = field(default_factory=list)
    draining: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    buckets: list[Bucket] = field(default_factory=list)
    line: list[list[float]] = field(default_factory=list)
    """Of those that wait: when they came, how many."""

    def second(self, now: float, arrivals: float, run: Run, late_s: float) -> None:
        for begun, due in [one for one in self.starting if one[1] <= now]:
            self.starting.remove((begun, due))
            self.measured.append(due - begun)
            self.ready += 1
        self.draining = [due for due in self.draining if due > now]
        if arrivals:
            self.line.append([now, arrivals])
        while self.line and now - self.line[0][0] > GIVE_UP_S:
            came, count = self.line.pop(0)
            run.lose(came, count)
        left = self.ready / PACE.replicas(EACH)
        while left > 1e-9 and self.line:
            came, count = self.line[0]
            done = min(left, count)
            if now - came < late_s:
                run.in_time += done
            else:
                run.lose(came, done)
            left -= done
            self.line[0][1] -= done
            if self.line[0][1] <= 1e-9:
                self.line.pop(0)
        run.requests += arrivals
        run.replica_s += self.ready + len(self.starting)
        run.draining_s += len(self.draining)
        run.seconds += 1

    def move(self, target: int, now: float) -> None:
        while self.ready + len(self.starting) < target:
            self.starting.append((now, now + self.start_s(self.random)))
        while self.ready + len(self.starting) > target:
            if self.starting:
                self.starting.pop()
            else:
                self.ready -= 1
                self.draining.append(now + self.limits.drain_s)

    def observe(self, now: float, target: int) -> Observation:
        waiting = sum(count for _, count in self.line)
        report = Report(now, tuple(self.buckets[-360:]), EACH.times(waiting), waiting, self.ready, tuple(self.measured[-20:]))
        return Observation(target, self.ready, tuple(Start(begun) for begun, _ in self.starting), len(self.draining), report=report)


def poisson(random: Random, mean: float) -> int:
    count, product, least = 0, random.random(), exp(-mean)
    while product > least:
        count, product = count + 1, product * random.random()
    return count


def episode(
    rates: Sequence[float],
    limits: Limits,
    start_s: Callable[[Random], float] = lambda random: 100.0,
    seed: int | None = 0,
    ready: int = 3,
    step_s: int = 5,
    bucket_s: int = 10,
    late_s: float = 3.0,
    crowding: float = 1.0,
) -> Run:
    """Runs a load, in requests of each second, through the decision in a closed loop. Without a seed the load does not fluctuate."""
    random, run, state, target = Random(seed), Run(), State(), ready
    cluster = Cluster(limits, start_s, random, ready)
    came = 0.0
    for second, rate in enumerate(rates):
        arrivals = rate if seed is None else crowding * poisson(random, rate / crowding)
        came += arrivals
        cluster.second(second, arrivals, run, late_s)
        now = second + 1
        if now % bucket_s == 0:
            cluster.buckets.append(Bucket(now - bucket_s, bucket_s, came, EACH.times(came)))
            came = 0.0
        if now % step_s == 0:
            decision = decide(cluster.observe(now, target), limits, state, now)
            target, state = decision.target, decision.state
            run.targets.append(target)
            run.decisions.append(decision)
            cluster.move(target, now)
    return run


def steps(*parts: tuple[float, int]) -> list[float]:
    return [rate for rate, seconds in parts for _ in range(seconds)]


LLM_D = steps((2, 330), (4, 360), (6, 360), (8, 360), (10, 360), (4, 360), (1, 300))

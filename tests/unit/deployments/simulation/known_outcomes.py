"""Small simulations whose outcomes are known: `python -m tests.unit.deployments.simulation.known_outcomes` writes them anew.

Their outcomes were first written by a simulator that took no short cut. Times are compared in whole microseconds, so that the last bit of
a machine's arithmetic does not matter. They are written anew only where a change of outcomes is wanted.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from math import inf
from pathlib import Path
from random import Random
from typing import Any

from cluster.scaling import limits as scaling
from cluster.scaling.work import Pace, Slo
from configs.routing import Routing
from configs.schema import Limits
from deployments.simulation.autoscaling.herd_rule import HerdRule
from deployments.simulation.autoscaling.observation import Lag, Observation
from deployments.simulation.autoscaling.rules import Planned, Rule, Static, Wanted
from deployments.simulation.cluster import Simulation
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes
from deployments.simulation.fleet import Pool, StartTimes
from deployments.simulation.loads.traces import Traced
from deployments.simulation.outcome import Outcome
from deployments.simulation.setup import Setup

PATH = Path(__file__).parent / "known_outcomes.json"
SLO = Slo(1.0, 0.05)
SETUP = Setup(Size(100_000), StepTimes(SCOUT_ON_H100), limits=Limits(queue_s=60, queue_requests=10_000))
BLOCK_TOKENS = SETUP.size.block_tokens


class Watched:
    """Another rule, and a digest of all that it has seen."""

    def __init__(self, rule: Rule) -> None:
        self.lag = rule.lag
        self.seen = sha256()
        self._rule = rule

    def wanted(self, seen: Observation) -> Wanted:
        """Returns the other rule's number."""
        self.seen.update(repr(_whole(seen)).encode())
        return self._rule.wanted(seen)


def plain(requests: int, per_s: float, seed: int = 1, longest: int = 4000) -> list[Traced]:
    """Prompts without blocks, of any length, at random times."""
    dice = Random(seed)
    times = sorted(dice.uniform(0, requests / per_s) for _ in range(requests))
    return [Traced(at_s, dice.randrange(longest), dice.randrange(600), ()) for at_s in times]


def conversations(requests: int, per_s: float, seed: int = 1) -> list[Traced]:
    """Turns of some conversations that all begin with one block; a conversation grows by some blocks each turn."""
    dice = Random(seed)
    known: list[tuple[int, ...]] = [(0,)] * 12
    found = []
    for at_s in sorted(dice.uniform(0, requests / per_s) for _ in range(requests)):
        which = dice.randrange(len(known))
        before = known[which] if len(known[which]) < 30 else (0,)
        blocks = known[which] = before + tuple(dice.getrandbits(40) for _ in range(dice.randrange(1, 6)))
        found.append(Traced(at_s, len(blocks) * BLOCK_TOKENS + dice.randrange(BLOCK_TOKENS), dice.randrange(1, 300), blocks))
    return found


def _simulated(requests: Sequence[Traced], rule: Rule, seed: int = 1, **changes: Any) -> dict[str, object]:
    watched = Watched(rule)
    return said(Simulation(replace(SETUP, **changes), watched, seed).run(requests)) | {"seen": watched.seen.hexdigest()}


def _scaled(requests: Sequence[Traced], **changes: Any) -> dict[str, object]:
    limits = scaling.Limits(Pace(6_000, 700, 100_000), 1, 8, SLO, expected_start_s=20.0)
    pool = Pool(StartTimes((("node", 8.0), ("weights", 12.0)), spread=0.2, failing=0.5))
    return _simulated(requests, HerdRule(limits), pool=pool, most=8, **changes)


def _fixed(requests: Sequence[Traced], replicas: int, **changes: Any) -> dict[str, object]:
    return _simulated(requests, Static(replicas), replicas=replicas, least=replicas, most=replicas, **changes)


TIGHT = Size(6_000, step_tokens=512, sequences=12)
KNOWN: dict[str, Callable[[], dict[str, object]]] = {
    "many replicas, hardly any load": lambda: _fixed(plain(500, 100.0), 200),
    "many replicas, usual load": lambda: _fixed(plain(1200, 120.0), 60),
    "one busy replica": lambda: _fixed(plain(120, 2.5), 1),
    "conversations, caches that are too small": lambda: _fixed(conversations(400, 8.0), 6, size=Size(40_000)),
    "conversations by longest prefix": lambda: _fixed(conversations(200, 4.0), 4, routing=Routing(policy="prefix")),
    "power of two": lambda: _fixed(conversations(200, 4.0), 4, routing=Routing(policy="power_of_two")),
    "round robin": lambda: _fixed(plain(200, 8.0), 4, routing=Routing(policy="round_robin")),
    "full memory and a line": lambda: _fixed(conversations(120, 6.0, 2)[:80], 2, size=Size(20_000, sequences=4)),
    "tokens without room": lambda: _fixed(plain(150, 3.0, longest=2000), 2, size=TIGHT, tells_slots=False),
    "refused": lambda: _fixed(plain(150, 20.0), 1, size=replace(TIGHT, kv_tokens=50_000), limits=Limits(queue_s=3, queue_requests=20)),
    "deaths and a drain that is cut off": lambda: _simulated(
        conversations(300, 10.0),
        Planned(((0.0, 4), (12.0, 2), (15.0, 4))),
        replicas=4,
        deaths=(5.0, 14.0),
        pool=Pool(StartTimes((("start", 4.0),), spread=0.3), drain_s=2.0),
    ),
    "scaled, some starts fail, metrics are out": lambda: _scaled(plain(500, 2.5), outages=((60.0, 75.0),), until_s=300.0),
    "scaled, conversations": lambda: _scaled(conversations(300, 1.5, 3), until_s=300.0),
    "sampled every second": lambda: _simulated(plain(150, 5.0), Slow(), replicas=3, least=3, most=3, reports_s=0.5),
}


class Slow:
    """Three replicas for ever, and metrics of each second, late."""

    lag = Lag(sample_s=1.0, push_s=0.7, sync_s=2.0, keep_s=10.0)

    def wanted(self, seen: Observation) -> Wanted:
        """Returns three."""
        return Wanted(3, f"{seen.now_s:g}")


def said(outcome: Outcome) -> dict[str, object]:
    """Returns an outcome as it is kept: figures for people, and a digest of how each request went."""
    requests = outcome.requests
    times = (requests.at_s, requests.first_s, requests.end_s, requests.found_tokens)
    figures = {name: round(value, 6) for name, value in outcome.figures(SLO).items()}
    changes = [[*_whole((one.at_s,)), *one[1:]] for one in outcome.changes]
    decided = [repr(_whole(one)) for one in outcome.decided]
    kept = {"requests": [_whole(one) for one in times], "changes": changes, "decided": decided, "gpu_s": _whole(outcome.gpu_s)}
    return {"figures": figures, "digest": sha256(json.dumps(kept).encode()).hexdigest()}


def _whole(value: Any) -> Any:
    """Returns seconds and shares in whole millionths, however deep they stand."""
    if isinstance(value, float):
        return -1 if value == inf else round(value * 1e6)
    if isinstance(value, int | str):
        return value
    return [_whole(one) for one in value]


def outcomes() -> Iterator[tuple[str, dict[str, object]]]:
    """Yields the outcome of each of them, by its name."""
    for name, simulated in KNOWN.items():
        yield name, simulated()


if __name__ == "__main__":
    PATH.write_text(json.dumps(dict(outcomes()), indent=1) + "\n", encoding="utf-8")

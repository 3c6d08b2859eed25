"""`python -m tests.bench.scaling.steady`: steady loads of random requests for three hours, and how often ours moves once it has settled.

Each seed is a load of its own: requests come at random (Poisson), at a rate that the seed draws, with lengths of their own, at Scout in FP8
on two H100s. A move in the last two hours is told with its reason. Each run is written when it has ended, and is not run again.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from time import process_time
from typing import Any

from deployments.simulation.autoscaling.herd_rule import HerdRule
from deployments.simulation.cluster import Simulation
from deployments.simulation.loads.traces import Traced
from tests.bench.scaling.scenarios import LENGTHS, Scenario, scenarios

RESULTS = Path(__file__).parents[1] / "results" / "scaling_steady.json"
#: Seconds of a run, and those in which a load settles.
SECONDS, SETTLES_S = 10_800.0, 3600.0
#: Requests a second, the least and the most: loads of about one to six replicas.
LEAST, MOST = 3.0, 20.0


def rate_of(seed: int) -> float:
    """Returns the requests a second of a seed."""
    return float(LEAST * (MOST / LEAST) ** Random(f"rate {seed}").random())


def requests(seed: int) -> Iterator[Traced]:
    """Yields requests at random times."""
    dice, at_s = Random(seed), 0.0
    while (at_s := at_s + dice.expovariate(rate_of(seed))) < SECONDS:
        yield Traced(at_s, *LENGTHS.draw(dice), ())


def steady() -> Scenario:
    """Returns the cluster of the benchmark's steady load."""
    return next(one for one in scenarios() if one.name == "steady")


def measured(one: Scenario, seed: int) -> dict[str, Any]:
    """Runs one seed; returns what it served, and the moves after it had settled."""
    begun_s = process_time()
    rule = HerdRule(one.limits, one.output_tokens)
    outcome = Simulation(replace(one.setup, until_s=SECONDS), rule, seed).run(requests(seed))
    asked = [(now_s, decision) for _, now_s, decision in rule.decisions]
    moves = [
        f"{now_s:.0f} s: {after.reason}"
        for (_, before), (now_s, after) in pairwise(asked)
        if now_s > SETTLES_S and before.target != after.target
    ]
    figures = outcome.figures(one.slo)
    return {
        "requests_s": round(rate_of(seed), 2),
        "attainment": round(figures["attainment"], 4),
        "replicas": round(figures["replicas"], 2),
        "moves": moves,
        "cpu_s": round(process_time() - begun_s, 1),
    }


def main() -> None:
    """Runs the seeds that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked, one = parser.parse_args(), steady()
    found = json.loads(asked.out.read_text(encoding="utf-8"))["seeds"] if asked.out.exists() else {}
    for seed in (seed for seed in range(1, asked.seeds + 1) if str(seed) not in found):
        found[str(seed)] = measured(one, seed)
        settings = {"command": "python -m tests.bench.scaling.steady", "hours": SECONDS / 3600, "settles_s": SETTLES_S}
        asked.out.write_text(json.dumps({"settings": settings, "seeds": found}, indent=1) + "\n", encoding="utf-8")
        print(f"seed {seed}: {found[str(seed)]}", flush=True)
    print(sum(len(one["moves"]) for one in found.values()), "moves in", len(found) * (SECONDS - SETTLES_S) / 3600, "hours")


if __name__ == "__main__":
    main()

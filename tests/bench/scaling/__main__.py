"""`python -m tests.bench.scaling`: every rule on the episode that llm-d published, over some seeds; the same seeds for all rules.

Ours knows the planner's pace of a replica, with decode steps as fast as theirs are; each of the others has the numbers that its source
gives, and two of them their capacity of 1.45 requests a second as well.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import mean

from rich.console import Console
from rich.table import Table

from cluster.scaling.limits import Limits
from cluster.scaling.pace import Shape, sustained
from cluster.scaling.work import Pace
from deployments.simulation.autoscaling.herd_rule import HerdRule
from deployments.simulation.autoscaling.rules import Planned, Rule, Static
from deployments.simulation.cluster import Simulation
from deployments.simulation.outcome import Outcome
from tests.bench.scaling import episode, keda, oracle
from tests.bench.scaling.dynamo import DynamoPlanner
from tests.bench.scaling.episode import LEAST, MOST, SLO
from deployments.simulation.autoscaling.llmd import SloAware, TokenAware
from tests.bench.scaling.ray_rules import RayDefault, RayTtft

#: Their prompt tokens a second, calibrated, and the middle of their requests a second within the band.
PREFILL_TOKENS_S, REQUESTS_S = 15_928, 1.45
START_S = 100.0
SHOWN = ("attainment", "replicas", "out_of_slo_s", "gpu_hours", "scale_events", "ttft_p99_s", "itl_p90_s")


def limits() -> Limits:
    """The limits and the pace of the model, as ours knows them."""
    pace = sustained(episode.ENGINE, Shape(4000, 1000), SLO).pace
    measured = Pace(pace.prefill_tokens_s, pace.decode_tokens_s / episode.DECODE, pace.kv_tokens)
    return Limits(measured, LEAST, MOST, SLO, gpus_per_replica=2, expected_start_s=START_S)


RULES: dict[str, Callable[[], Rule]] = {
    "herd": lambda: HerdRule(limits(), 1000.0),
    "llm-d SLO-aware": lambda: SloAware(SLO, LEAST, MOST),
    "llm-d token-aware": lambda: TokenAware(PREFILL_TOKENS_S, LEAST, MOST),
    "KEDA queue, llm-d": lambda: keda.llm_d(LEAST, MOST),
    "KEDA queue, production-stack": lambda: keda.production_stack(LEAST, MOST),
    "Ray default, 32 requests": lambda: RayDefault(32, LEAST, MOST),
    "Ray default, 64 requests": lambda: RayDefault(64, LEAST, MOST),
    "Ray TTFT": lambda: RayTtft(2.0, LEAST, MOST),
    "Dynamo": lambda: DynamoPlanner(SLO, REQUESTS_S, PREFILL_TOKENS_S, LEAST, MOST),
    "static 6": lambda: Static(6),
    "static 8": lambda: Static(8),
}


def run(rule: Rule, seed: int) -> Outcome:
    """One episode."""
    return Simulation(episode.setup(START_S), rule, seed).run(episode.requests(seed))


def with_oracle(seed: int) -> Outcome:
    """The episode by the rule that knows it: the fewest GPU hours with 99 % of the requests within the objectives."""
    requests = list(episode.requests(seed))

    def plan_for(trust: float) -> oracle.Plan:
        return oracle.plan(requests, lambda _: 1 / (REQUESTS_S * trust), START_S, (LEAST, MOST))

    def by(plan: Planned) -> Outcome:
        return Simulation(episode.setup(START_S), plan, seed).run(requests)

    return oracle.best(by, plan_for, SLO, 0.99)


def table(results: dict[str, list[dict[str, float]]]) -> Table:
    """The means over the seeds."""
    shown = Table("", *SHOWN)
    for name, rows in results.items():
        shown.add_row(name, *(f"{mean(row[column] for row in rows):.3f}" for column in SHOWN))
    return shown


def main() -> None:
    """Runs, shows, and writes where it is asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--rule", action="append", help="only this rule; may be given several times")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    seeds = range(1, asked.seeds + 1)
    names = asked.rule or [*RULES, "oracle"]
    results: dict[str, list[dict[str, float]]] = {}
    for name in names:
        outcomes = (with_oracle(seed) if name == "oracle" else run(RULES[name](), seed) for seed in seeds)
        results[name] = [outcome.figures(SLO) for outcome in outcomes]
    Console(width=160).print(table(results))
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

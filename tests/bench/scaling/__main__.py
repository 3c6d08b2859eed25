"""`python -m tests.bench.scaling`: every rule under every load, over some seeds; the same seeds for all rules.

Ours knows what production's adapter tells it: the planner's pace of a replica. Each of the others has the numbers that its source gives,
and two of them a replica's capacity as well. Results are written after each rule, so a run that was ended goes on where it was. The two
oracles are held to ours (`knowing.py`), and are measured anew where ours is; a hundred or more simulations for each seed.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from cluster.scaling.limits import Forecast, Limits
from deployments.commands.simulating.peers import RayDefault
from deployments.simulation.autoscaling import keda
from deployments.simulation.autoscaling.herd_rule import HerdRule
from deployments.simulation.autoscaling.llmd import SloAware, TokenAware
from deployments.simulation.autoscaling.rules import Rule
from deployments.simulation.cluster import Simulation
from deployments.simulation.outcome import Outcome
from tests.bench.scaling import knowing
from tests.bench.scaling.dynamo import DynamoPlanner
from tests.bench.scaling.ray_rules import RayTtft
from tests.bench.scaling.scenarios import Scenario, scenarios

RESULTS = Path(__file__).parents[1] / "results" / "scaling.json"
HERD, NO_TREND = "herd", "herd, no trend"
#: Rules behind the herd's own gateway. `herd, no line` is behind one as the others have it.
OURS = (HERD, NO_TREND)
#: Rules that know the load: the present, or all of it.
ORACLE = "oracle"
ORACLES = ("oracle of the present", ORACLE)
ORACLES_SEEDS = 1
KEPT = (
    "requests",
    "attainment",
    "out_of_slo_s",
    "replicas",
    "most_replicas",
    "gpu_hours",
    "scale_events",
    "ttft_p50_s",
    "ttft_p99_s",
    "itl_p90_s",
    "refused",
)
SHOWN = ("attainment", "out_of_slo_s", "replicas", "gpu_hours", "scale_events", "ttft_p99_s", "itl_p90_s")

Results = dict[str, dict[str, list[dict[str, float]]]]
"""By load and rule, the figures of each seed."""


def _herd(one: Scenario, limits: Limits) -> Rule:
    return HerdRule(limits, one.output_tokens)


def _forecast(one: Scenario, name: Forecast) -> Rule:
    return _herd(one, replace(one.limits, tuning=replace(one.limits.tuning, forecast=name)))


RULES: Mapping[str, Callable[[Scenario], Rule]] = {
    HERD: lambda one: _herd(one, one.limits),
    "herd, no line": lambda one: _herd(one, one.limits),
    NO_TREND: lambda one: _forecast(one, "last"),
    "llm-d SLO-aware": lambda one: SloAware(one.slo, *one.bounds),
    "llm-d token-aware": lambda one: TokenAware(one.prefill_tokens_s, *one.bounds),
    "KEDA queue, llm-d": lambda one: keda.llm_d(*one.bounds),
    "KEDA queue, production-stack": lambda one: keda.production_stack(*one.bounds),
    "Ray default, 32 requests": lambda one: RayDefault(32, *one.bounds),
    "Ray default, 64 requests": lambda one: RayDefault(64, *one.bounds),
    "Ray TTFT": lambda one: RayTtft(2.0, *one.bounds),
    "Dynamo": lambda one: DynamoPlanner(one.slo, one.requests_s, one.prefill_tokens_s, *one.bounds),
}


def run(one: Scenario, name: str, seed: int) -> Outcome:
    """Runs one load by one rule."""
    return Simulation(one.herd if name in OURS else one.setup, RULES[name](one), seed).run(one.requests(seed))


def kept(one: Scenario, outcome: Outcome) -> dict[str, float]:
    """Returns the figures that results have."""
    return {key: round(float(value), 4) for key, value in outcome.figures(one.slo).items() if key in KEPT}


def figures(one: Scenario, name: str, seeds: Iterable[int]) -> list[dict[str, float]]:
    """Returns the figures of one rule, one for each seed."""
    return [kept(one, run(one, name, seed)) for seed in seeds]


def of_oracles(one: Scenario, seeds: Iterable[int]) -> dict[str, list[dict[str, float]]]:
    """Returns the figures of both oracles, one for each seed."""
    found = [knowing.oracles(one, seed, run(one, HERD, seed)) for seed in seeds]
    return {
        name: [kept(one, each[number].outcome) | {"plans": each[number].plans} for each in found] for number, name in enumerate(ORACLES)
    }


def table(found: Mapping[str, list[dict[str, float]]]) -> Table:
    """The means over the seeds."""
    shown = Table("", *SHOWN)
    for name, rows in found.items():
        shown.add_row(name, *(f"{mean(row[column] for row in rows):.3f}" for column in SHOWN))
    return shown


def read(path: Path) -> Results:
    """The results that a file has."""
    found: Results = json.loads(path.read_text(encoding="utf-8"))["loads"] if path.exists() else {}
    return found


def write(path: Path, found: Results, settings: Mapping[str, Any]) -> None:
    """Writes results, each load's on lines of its own."""
    loads = {name: rules for name, rules in found.items() if rules}
    path.write_text(json.dumps({"settings": settings, "loads": loads}, indent=1) + "\n", encoding="utf-8")


def measure(one: Scenario, name: str, rules: dict[str, list[dict[str, float]]], seeds: int, again: bool) -> None:
    """Measures one rule, or both oracles, where that is missing."""
    count = min(seeds, ORACLES_SEEDS) if name == ORACLE else seeds
    if not again and len(rules.get(name, ())) >= count:
        return
    if name == ORACLE and one.is_closed:
        return
    if name == ORACLE:
        rules |= of_oracles(one, range(1, count + 1))
        return
    rules[name] = figures(one, name, range(1, count + 1))
    if name == HERD:
        for knowing_ours in ORACLES:
            rules.pop(knowing_ours, None)


def main() -> None:
    """Runs what is missing, shows and writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rule", action="append", help="only this rule; may be given several times")
    parser.add_argument("--load", action="append", help="only loads whose name begins so; may be given several times")
    parser.add_argument("--trace", type=Path, help="Mooncake's trace of conversations; else one of its shape is made")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--again", action="store_true", help="also what the file has already")
    asked = parser.parse_args()
    loads, had = scenarios(asked.trace), read(asked.out)
    ordered: Results = {one.name: had.get(one.name, {}) for one in loads}  # in their order, whichever ran first
    found = {name: rules for name, rules in had.items() if name not in ordered} | ordered
    settings = {"command": "python -m tests.bench.scaling", "seeds": asked.seeds, "trace": bool(asked.trace)}
    for one in loads:
        if asked.load and not one.name.startswith(tuple(asked.load)):
            continue
        rules = found[one.name]
        for name in asked.rule or [*RULES, ORACLE]:
            measure(one, name, rules, asked.seeds, asked.again)
            write(asked.out, found, settings)
        Console(width=160).print(one.name, table(rules))


if __name__ == "__main__":
    main()

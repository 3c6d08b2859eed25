"""`python -m tests.bench.scaling.pareto`: every rule under every load at several settings of its own knob, and what they buy.

One simulation after the other, first seeds and usual settings first, each written when it has ended: a run that was ended goes on where it
was, with the same command. What is shown, and written as `equal`, is what the best other rule reaches for the GPU-hours that ours takes at
its usual setting, and what ours reaches for these by its own knobs (`tests.bench.scaling.compared`). `--deciding 3` measures, for the seeds
that are missing, only what decides that: our usual setting, and of ours and of the three best other rules the settings that take as many
GPU-hours. The interval holds 95 of 100 results with other seeds (bootstrap, in pairs). The comparison is made when the run ends.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import process_time
from typing import Any

from deployments.simulation.cluster import Simulation
from tests.bench.scaling.compared import KEPT, Point, Rows, deciding, equal
from tests.bench.scaling.knobs import KNOBS, OURS
from tests.bench.scaling.scenarios import Scenario, scenarios

RESULTS = Path(__file__).parents[1] / "results" / "scaling_pareto.json"
Results = dict[str, dict[str, dict[str, Rows]]]
"""By load, rule and setting."""


def missing(loads: list[Scenario], rules: list[str], seeds: int, found: Results) -> Iterator[tuple[Scenario, str, float, int]]:
    """Yields what is not in the results yet: the usual settings first, then the others, for each seed."""
    for seed in range(1, seeds + 1):
        for is_usual in (True, False):
            for one in loads:
                for name in rules:
                    for value in KNOBS[name].values:
                        rows = found.get(one.name, {}).get(name, {}).get(f"{value:g}", {})
                        if (value == KNOBS[name].usual) is is_usual and str(seed) not in rows:
                            yield one, name, value, seed


def measured(one: Scenario, name: str, value: float, seed: int) -> Point:
    """Runs one load by one rule at one setting."""
    begun_s = process_time()
    setup = one.herd if name in OURS else one.setup
    figures = Simulation(setup, KNOBS[name].rule(one, value), seed).run(one.requests(seed)).figures(one.slo)
    return {key: round(float(figures[key]), 4) for key in KEPT} | {"cpu_s": round(process_time() - begun_s, 1)}


def read(path: Path) -> Results:
    """Returns the results that a file has."""
    loads: Results = json.loads(path.read_text(encoding="utf-8"))["loads"] if path.exists() else {}
    return loads


def compared_all(found: Results) -> dict[str, dict[str, Any]]:
    """Returns the comparison at equal GPU-hours for each load; seconds, where there are intervals."""
    return {load: said for load, rules in found.items() if (said := equal(rules))}


def write(path: Path, found: Results, trace: bool, compared: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes results, and their comparison."""
    knobs = {name: {"knob": knob.name, "usual": knob.usual} for name, knob in KNOBS.items()}
    settings = {"command": "python -m tests.bench.scaling.pareto", "trace": trace, "knobs": knobs}
    path.write_text(json.dumps({"settings": settings, "equal": compared, "loads": found}, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Runs what is missing, and shows the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--rule", action="append", choices=list(KNOBS), help="only this rule; may be given several times")
    parser.add_argument("--load", action="append", help="only loads whose name begins so; may be given several times")
    parser.add_argument("--trace", type=Path, help="Mooncake's trace of conversations; else one of its shape is made")
    parser.add_argument(
        "--forget", action="append", choices=list(KNOBS), default=[], help="measure this rule anew; may be given several times"
    )
    parser.add_argument("--deciding", type=int, metavar="RULES", help="only what decides the comparison with so many other rules")
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    loads = [one for one in scenarios(asked.trace) if not asked.load or one.name.startswith(tuple(asked.load))]
    found = {load: {name: rows for name, rows in rules.items() if name not in asked.forget} for load, rules in read(asked.out).items()}
    wanted = {load: deciding(rules, asked.deciding) for load, rules in found.items()} if asked.deciding else None
    before = compared_all(found)
    for one, name, value, seed in list(missing(loads, asked.rule or list(KNOBS), asked.seeds, found)):
        if wanted is not None and (name, f"{value:g}") not in wanted[one.name]:
            continue
        row = measured(one, name, value, seed)
        found.setdefault(one.name, {}).setdefault(name, {}).setdefault(f"{value:g}", {})[str(seed)] = row
        write(asked.out, found, bool(asked.trace), before)
        print(f"{one.name}, seed {seed}, {name} at {value:g}: {row}", flush=True)
    compared = compared_all(found)
    write(asked.out, found, bool(asked.trace), compared)
    for load, said in compared.items():
        print(load, said)


if __name__ == "__main__":
    main()

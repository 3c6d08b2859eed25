"""`python -m tests.bench.scaling.pareto`: every rule under every load at several settings of its own knob, and what they buy.

One simulation after the other, first seeds and usual settings first, each written when it has ended: a run that was ended goes on where it
was, with the same command. What is shown, and written as `equal`, is what the best other rule reaches for the GPU-hours that ours takes at
its usual setting; between two settings of one knob it is taken to be on the line between them.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from statistics import mean
from time import process_time
from typing import Any

from deployments.simulation.cluster import Simulation
from tests.bench.scaling.knobs import HERD, KNOBS
from tests.bench.scaling.scenarios import Scenario, scenarios

RESULTS = Path(__file__).parents[1] / "results" / "scaling_pareto.json"
KEPT = ("attainment", "out_of_slo_s", "gpu_hours", "scale_events")

Rows = dict[str, dict[str, float]]
"""The figures of each seed."""
Results = dict[str, dict[str, dict[str, Rows]]]
"""By load, rule and setting."""
Point = dict[str, float]


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
    figures = Simulation(one.setup, KNOBS[name].rule(one, value), seed).run(one.requests(seed)).figures(one.slo)
    return {key: round(float(figures[key]), 4) for key in KEPT} | {"cpu_s": round(process_time() - begun_s, 1)}


def curve(settings: Mapping[str, Rows], seeds: set[str]) -> list[Point]:
    """Returns the means over the seeds of each setting that has them all, by GPU-hours."""
    full = [rows for rows in settings.values() if seeds <= set(rows)]
    return sorted(({key: mean(rows[seed][key] for seed in seeds) for key in KEPT} for rows in full), key=lambda point: point["gpu_hours"])


def at(points: list[Point], gpu_hours: float) -> Point | None:
    """Returns the point of a curve with the least time out of SLO at no more than so many GPU-hours; None where all take more."""
    found = [point for point in points if point["gpu_hours"] <= gpu_hours + 1e-9]
    for less, more in pairwise(points):
        if less["gpu_hours"] < gpu_hours < more["gpu_hours"]:
            part = (gpu_hours - less["gpu_hours"]) / (more["gpu_hours"] - less["gpu_hours"])
            found.append({key: less[key] + part * (more[key] - less[key]) for key in KEPT})
    return min(found, key=lambda point: (point["out_of_slo_s"], -point["attainment"]), default=None)


def equal(rules: Mapping[str, Mapping[str, Rows]]) -> dict[str, Any] | None:
    """Returns ours at its usual setting, and the best other rule at no more GPU-hours; None where one of both is missing."""
    usual = rules.get(HERD, {}).get(f"{KNOBS[HERD].usual:g}", {})
    seeds = {seed for seed in usual if all(seed in rows for name in rules if name != HERD for rows in rules[name].values())}
    if not seeds or set(rules) != set(KNOBS):
        return None
    own = curve({"": usual}, seeds)[0]
    others = {name: at(curve(settings, seeds), own["gpu_hours"]) for name, settings in rules.items() if name != HERD}
    known = {name: point for name, point in others.items() if point is not None}
    best = min(known, key=lambda name: (known[name]["out_of_slo_s"], -known[name]["attainment"]), default=None)
    said = {"seeds": len(seeds), "herd": _rounded(own), "others": {name: _rounded(point) for name, point in known.items()}}
    return {**said, "best": best}


def _rounded(point: Point) -> Point:
    return {key: round(value, 4) for key, value in point.items()}


def read(path: Path) -> Results:
    """Returns the results that a file has."""
    loads: Results = json.loads(path.read_text(encoding="utf-8"))["loads"] if path.exists() else {}
    return loads


def write(path: Path, found: Results, trace: bool) -> None:
    """Writes results, and the comparison at equal GPU-hours that follows from them."""
    compared = {load: said for load, rules in found.items() if (said := equal(rules))}
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
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    loads = [one for one in scenarios(asked.trace) if not asked.load or one.name.startswith(tuple(asked.load))]
    found = {load: {name: rows for name, rows in rules.items() if name not in asked.forget} for load, rules in read(asked.out).items()}
    for one, name, value, seed in list(missing(loads, asked.rule or list(KNOBS), asked.seeds, found)):
        row = measured(one, name, value, seed)
        found.setdefault(one.name, {}).setdefault(name, {}).setdefault(f"{value:g}", {})[str(seed)] = row
        write(asked.out, found, bool(asked.trace))
        print(f"{one.name}, seed {seed}, {name} at {value:g}: {row}", flush=True)
    for load, said in ((load, equal(rules)) for load, rules in found.items()):
        print(load, said)


if __name__ == "__main__":
    main()

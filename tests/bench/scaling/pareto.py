"""`python -m tests.bench.scaling.pareto`: every rule under every load at several settings of its own knob, and what they buy.

One simulation after the other, first seeds and usual settings first, each written when it has ended: a run that was ended goes on where it
was, with the same command. What is shown, and written as `equal`, is what the best other rule reaches for the GPU-hours that ours takes at
its usual setting; between two settings of one knob it is taken to be on the line between them. `--deciding 3` measures, for the seeds that
are missing, only what decides that: our usual setting, and of the three best other rules the settings that take as many GPU-hours. The
interval holds 95 of 100 results with other seeds (bootstrap, in pairs). The comparison is made when the run ends.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import inf
from pathlib import Path
from random import Random
from statistics import mean
from time import process_time
from typing import Any

from deployments.simulation.cluster import Simulation
from tests.bench.scaling.knobs import HERD, KNOBS
from tests.bench.scaling.scenarios import Scenario, scenarios

RESULTS = Path(__file__).parents[1] / "results" / "scaling_pareto.json"
DRAWS = 400
"""With other seeds, of those that were measured."""
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


def deciding(rules: Mapping[str, Mapping[str, Rows]], most: int) -> set[tuple[str, str]]:
    """Returns the rules and settings that decide the comparison at equal GPU-hours, by the seeds that all settings have.

    Args:
        rules: the results under one load.
        most: other rules, the best ones.
    """
    usual = f"{KNOBS[HERD].usual:g}"
    seeds = set.intersection(*(set(rows) for settings in rules.values() for rows in settings.values()))
    own = curve({"": rules[HERD][usual]}, seeds)[0]["gpu_hours"]
    found = {(HERD, usual)}
    for name in _best({name: at(curve(rules[name], seeds), own) for name in rules if name != HERD})[:most]:
        by_hours = {next(iter(curve({value: rows}, seeds)))["gpu_hours"]: value for value, rows in rules[name].items()}
        less = [value for hours, value in sorted(by_hours.items()) if hours <= own]
        more = [value for hours, value in sorted(by_hours.items()) if hours > own]
        found |= {(name, value) for value in (*less[-2:], *more[:1])}
    return found


def _best(reached: Mapping[str, Point | None]) -> list[str]:
    """Returns the rules that reach anything, the best one first."""
    known = {name: point for name, point in reached.items() if point is not None}
    return sorted(known, key=lambda name: (known[name]["out_of_slo_s"], -known[name]["attainment"]))


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
    full = {seed for seed in usual if all(seed in rows for name in rules if name != HERD for rows in rules[name].values())}
    if not full or set(rules) != set(KNOBS):
        return None
    return _told(rules, usual, full) | {"deciding": _decided(rules, usual, len(full))}


def _told(rules: Mapping[str, Mapping[str, Rows]], usual: Rows, seeds: set[str]) -> dict[str, Any]:
    """Returns a comparison for the file."""
    own, reached = _compared(rules, usual, seeds)
    others = {name: _rounded(point) for name, point in reached.items()}
    return {"seeds": len(seeds), "herd": _rounded(own), "others": others, "best": next(iter(_best(reached)), None)}


def _compared(rules: Mapping[str, Mapping[str, Rows]], usual: Rows, seeds: set[str]) -> tuple[Point, dict[str, Point]]:
    """Returns ours, and what each other rule reaches for as many GPU-hours."""
    own = curve({"": usual}, seeds)[0]
    others = {name: at(curve(settings, seeds), own["gpu_hours"]) for name, settings in rules.items() if name != HERD}
    return own, {name: point for name, point in others.items() if point is not None}


def _decided(rules: Mapping[str, Mapping[str, Rows]], usual: Rows, full: int) -> dict[str, Any] | None:
    """Returns the comparison over all seeds of ours, by the settings that have these; None where all settings have as many."""
    seeds = set(usual)
    few = {name: {value: rows for value, rows in settings.items() if seeds <= set(rows)} for name, settings in rules.items()}
    few = {name: settings for name, settings in few.items() if settings and name != HERD}
    if not few or len(seeds) <= full:
        return None
    return _told(few, usual, seeds) | {"more_out_of_slo_s": _interval(few, usual, sorted(seeds))}


def _interval(few: Mapping[str, Mapping[str, Rows]], usual: Rows, seeds: list[str]) -> list[float]:
    """Returns by how many seconds the best other rule is longer out of SLO than ours: the least and the most of 95 in 100 draws."""
    draws, random = [], Random(0)
    for _ in range(DRAWS):
        own, reached = _compared(
            _drawn(few, drawn := random.choices(seeds, k=len(seeds))), _row(usual, drawn), set(map(str, range(len(seeds))))
        )
        draws.append(min((point["out_of_slo_s"] for point in reached.values()), default=inf) - own["out_of_slo_s"])
    draws.sort()
    return [round(draws[DRAWS // 40], 1), round(draws[-1 - DRAWS // 40], 1)]


def _drawn(few: Mapping[str, Mapping[str, Rows]], drawn: list[str]) -> dict[str, dict[str, Rows]]:
    return {name: {value: _row(rows, drawn) for value, rows in settings.items()} for name, settings in few.items()}


def _row(rows: Rows, drawn: list[str]) -> Rows:
    """Returns the figures of the drawn seeds, one of which may come several times."""
    return {str(place): rows[seed] for place, seed in enumerate(drawn)}


def _rounded(point: Point) -> Point:
    return {key: round(value, 4) for key, value in point.items()}


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

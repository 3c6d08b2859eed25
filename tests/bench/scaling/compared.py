"""Rules compared at equal GPU-hours: ours as it is shipped, and ours by its own knobs, against every other rule by its knob.

A rule's front is what it reaches with the best setting of its knob, chosen for each load after the fact; between two settings it is taken
to be on the line between them. Ours has two knobs, the margin and the operator's `scaling.headroom`, and the better one counts.
"""

from collections.abc import Collection, Mapping
from itertools import pairwise
from math import inf
from random import Random
from statistics import mean
from typing import Any

from tests.bench.scaling.knobs import HERD, KNOBS, OURS

DRAWS = 400
"""With other seeds, of those that were measured."""
BUDGETS = (0.8, 1.0, 1.25, 1.5)
"""GPU-hours at which fronts are compared, in those that ours takes at its usual setting."""
KEPT = ("attainment", "out_of_slo_s", "gpu_hours", "scale_events")

Rows = dict[str, dict[str, float]]
"""The figures of each seed."""
Rules = Mapping[str, Mapping[str, Rows]]
"""By rule and setting, under one load."""
Point = dict[str, float]
Reached = tuple[str, Point]
"""A rule, and what it reaches."""


def deciding(rules: Rules, most: int) -> set[tuple[str, str]]:
    """Returns the rules and settings that decide the comparison at equal GPU-hours, by the seeds that all settings have.

    Args:
        rules: the results under one load.
        most: other rules, the best ones.
    """
    usual = f"{KNOBS[HERD].usual:g}"
    seeds = _common(rules)
    own = curve({"": rules[HERD][usual]}, seeds)[0]["gpu_hours"]
    found = {(HERD, usual)}
    best = _best({name: at(curve(rules[name], seeds), own) for name in _others(rules)})[:most]
    for name in (*best, *(name for name in OURS if name in rules)):
        by_hours = {next(iter(curve({value: rows}, seeds)))["gpu_hours"]: value for value, rows in rules[name].items()}
        less = [value for hours, value in sorted(by_hours.items()) if hours <= own]
        more = [value for hours, value in sorted(by_hours.items()) if hours > own]
        found |= {(name, value) for value in (*less[-2:], *more[:1])}
    return found


def _others(rules: Rules) -> list[str]:
    return [name for name in rules if name not in OURS]


def _common(rules: Rules) -> set[str]:
    """The seeds that all settings have."""
    return set.intersection(*(set(rows) for settings in rules.values() for rows in settings.values()))


def _best(reached: Mapping[str, Point | None]) -> list[str]:
    """Returns the rules that reach anything, the best one first."""
    known = {name: point for name, point in reached.items() if point is not None}
    return sorted(known, key=lambda name: (known[name]["out_of_slo_s"], -known[name]["attainment"]))


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


def front(rules: Rules, names: Collection[str], seeds: set[str], gpu_hours: float) -> Reached | None:
    """Returns the best of some rules at no more than so many GPU-hours, and what it reaches; None where all take more."""
    reached = {name: at(curve(rules[name], seeds), gpu_hours) for name in names if name in rules}
    best = next(iter(_best(reached)), None)
    point = reached[best] if best is not None else None
    return (best, point) if best is not None and point is not None else None


def equal(rules: Rules) -> dict[str, Any] | None:
    """Returns ours at its usual setting, and the best other rule at no more GPU-hours; None where one of both is missing."""
    usual = rules.get(HERD, {}).get(f"{KNOBS[HERD].usual:g}", {})
    full = {seed for seed in usual if all(seed in rows for name in _others(rules) for rows in rules[name].values())}
    if not full or set(rules) != set(KNOBS):
        return None
    return _told(rules, usual, full) | {"fronts": _fronts(rules, usual), "deciding": _decided(rules, usual, len(full))}


def _told(rules: Rules, usual: Rows, seeds: set[str]) -> dict[str, Any]:
    """Returns a comparison for the file."""
    own, reached = _compared(rules, usual, seeds)
    others = {name: _rounded(point) for name, point in reached.items()}
    return {"seeds": len(seeds), "herd": _rounded(own), "others": others, "best": next(iter(_best(reached)), None)}


def _compared(rules: Rules, usual: Rows, seeds: set[str]) -> tuple[Point, dict[str, Point]]:
    """Returns ours, and what each other rule reaches for as many GPU-hours."""
    own = curve({"": usual}, seeds)[0]
    others = {name: at(curve(rules[name], seeds), own["gpu_hours"]) for name in _others(rules)}
    return own, {name: point for name, point in others.items() if point is not None}


def _fronts(rules: Rules, usual: Rows) -> dict[str, Any]:
    """Returns what both fronts reach for a few budgets, over the seeds that all settings of all rules have."""
    seeds = _common(rules)
    hours = curve({"": usual}, seeds)[0]["gpu_hours"] if seeds else 0.0
    found = [_both(rules, seeds, times * hours) | {"times": times} for times in BUDGETS if seeds]
    return {"seeds": len(seeds), "budgets": found}


def _both(rules: Rules, seeds: set[str], gpu_hours: float) -> dict[str, Any]:
    """Returns what the fronts of ours and of the others reach for so many GPU-hours."""
    found: dict[str, Any] = {"gpu_hours": round(gpu_hours, 4)}
    for whose, names in (("ours", OURS), ("others", _others(rules))):
        best = front(rules, names, seeds, gpu_hours)
        found[whose] = None if best is None else {"rule": best[0]} | _rounded(best[1])
    return found


def _decided(rules: Rules, usual: Rows, full: int) -> dict[str, Any] | None:
    """Returns the comparison over all seeds of ours, by the settings that have these; None where all settings have as many."""
    seeds = set(usual)
    few = {name: {value: rows for value, rows in settings.items() if seeds <= set(rows)} for name, settings in rules.items()}
    few = {name: settings for name, settings in few.items() if settings}
    if not _others(few) or len(seeds) <= full:
        return None
    told = _told(few, usual, seeds) | {"more_out_of_slo_s": _interval(few, usual, sorted(seeds), fronts=False)}
    if sum(len(few[name]) for name in OURS if name in few) == 1:
        return told
    both = _both(few, seeds, curve({"": usual}, seeds)[0]["gpu_hours"])
    return told | {"front": both["ours"] | {"more_out_of_slo_s": _interval(few, usual, sorted(seeds), fronts=True)}}


def _interval(few: Rules, usual: Rows, seeds: list[str], *, fronts: bool) -> list[float]:
    """Returns by how many seconds the best other rule is longer out of SLO than ours: the least and the most of 95 in 100 draws.

    Args:
        few: the settings that have the seeds.
        usual: ours at its usual setting.
        seeds: to draw from.
        fronts: whether ours is by the best setting of its knobs, too.
    """
    draws, random = [], Random(0)
    names = set(map(str, range(len(seeds))))
    for _ in range(DRAWS):
        drawn = random.choices(seeds, k=len(seeds))
        rules = _drawn(few, drawn)
        own = curve({"": _row(usual, drawn)}, names)[0]
        ours = front(rules, OURS, names, own["gpu_hours"]) if fronts else (HERD, own)
        others = front(rules, _others(rules), names, own["gpu_hours"])
        assert ours is not None
        draws.append((others[1]["out_of_slo_s"] if others else inf) - ours[1]["out_of_slo_s"])
    draws.sort()
    return [round(draws[DRAWS // 40], 1), round(draws[-1 - DRAWS // 40], 1)]


def _drawn(few: Rules, drawn: list[str]) -> dict[str, dict[str, Rows]]:
    return {name: {value: _row(rows, drawn) for value, rows in settings.items()} for name, settings in few.items()}


def _row(rows: Rows, drawn: list[str]) -> Rows:
    """Returns the figures of the drawn seeds, one of which may come several times."""
    return {str(place): rows[seed] for place, seed in enumerate(drawn)}


def _rounded(point: Point) -> Point:
    return {key: round(value, 4) for key, value in point.items()}

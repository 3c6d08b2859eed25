"""Plots of `results/*.json` beside them, as SVG: `python -m tests.bench.plots`.

Decides what is worth a picture: figures that change with the load. The others stand in the tables of `tests/README.md`. The same results
make the same bytes.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

RESULTS = Path(__file__).parent / "results"
_NO_DATE = {"Date": None, "Creator": None}


def _trace(said: Mapping[str, Any]) -> Figure:
    """Goodput and prefix hit rate by load, a row for each size of the KV cache."""
    figure = Figure((11, 4 * len(said["virtual"])), layout="constrained")
    axes = figure.subplots(len(said["virtual"]), 2, squeeze=False)
    for row, part in zip(axes, said["virtual"], strict=True):
        loads = sorted(part["loads"], key=float)
        for axis, what, title in ((row[0], "goodput", "goodput"), (row[1], "hit_rate", "prefix hit rate")):
            for name in part["loads"][loads[0]]:
                heavy = 2.5 if name == "herd" else 1.0
                axis.plot([float(load) for load in loads], [part["loads"][load][name][what] for load in loads], ".-", label=name, lw=heavy)
            axis.set(
                title=f"{title}, {part['kv_tokens'] // 1000}K KV tokens per replica", xlabel="load (1: the trace's own)", ylim=(0, None)
            )
        row[1].axhline(part["shared_lru_hit_rate"], color="gray", ls=":", label="one shared LRU cache")
    figure.legend(*axes[0][1].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize="small")
    return figure


def _cpu(said: Mapping[str, Any]) -> Figure:
    """CPU time per chunk and per request, with the spread of the repetitions."""
    figure = Figure((8, 3), layout="constrained")
    names = list(said["proxies"])
    for axis, key, what in zip(figure.subplots(1, 2), ("us_per_chunk", "us_per_request"), ("streamed chunk", "request"), strict=True):
        medians = [said["proxies"][name][key] for name in names]
        spreads = [said["proxies"][name][f"{key}_spread"] for name in names]
        below = [median - low for median, (low, _) in zip(medians, spreads, strict=True)]
        above = [high - median for median, (_, high) in zip(medians, spreads, strict=True)]
        axis.barh(names, medians, xerr=[below, above], color="tab:blue", ecolor="gray")
        axis.set(title=f"CPU time per {what}", xlabel="µs")
        axis.invert_yaxis()
    return figure


def _saturation(said: Mapping[str, Any]) -> Figure:
    """Requests a second by how many are under way, with eight engines and one core for the gateway."""
    figure = Figure((11, 3.5), layout="constrained")
    rates, used = figure.subplots(1, 2)
    for name, curve in said["several"]["curve"].items() if "several" in said else ():
        at_once = [int(count) for count in curve]
        rates.plot(at_once, [one["requests_per_s"] for one in curve.values()], ".-", label=name)
        used.plot(at_once, [one["core_used"] for one in curve.values()], ".-", label=name)
    rates.set(title="requests a second, one core, eight engines", xlabel="requests under way", xscale="log", ylim=(0, None))
    used.set(title="share of its core that is used", xlabel="requests under way", xscale="log", ylim=(0, 1.05))
    rates.legend(fontsize="small")
    return figure


def _scaling(said: Mapping[str, Any]) -> Figure:
    """Each rule's share of requests within both objectives by its GPU-hours, a picture for each load: up and to the left is better."""

    def draw_load(axis: Any, rules: Mapping[str, Any]) -> None:
        for number, (name, found) in enumerate(rules.items()):
            hours, shares = (sum(one[what] for one in found) / len(found) for what in ("gpu_hours", "attainment"))
            ours = name.startswith("herd")
            axis.plot(hours, 100 * shares, "*" if ours else "osD^vP"[number % 6], label=name, ms=13 if name == "herd" else 7)

    return _by_load(said["loads"], draw_load)


def _scaling_pareto(said: Mapping[str, Any]) -> Figure:
    """The same for each setting of a rule's own knob, in a line; the larger mark is the usual setting."""

    def draw_load(axis: Any, rules: Mapping[str, Any]) -> None:
        for number, (name, settings) in enumerate(rules.items()):
            usual, color = f"{said['settings']['knobs'][name]['usual']:g}", f"C{number}"
            points = {
                setting: [sum(row[what] for row in rows.values()) / len(rows) for what in ("gpu_hours", "attainment")]
                for setting, rows in settings.items()
            }
            line = sorted(points.values())
            axis.plot(
                [one[0] for one in line],
                [100 * one[1] for one in line],
                ".-",
                color=color,
                label=name,
                lw=3 if name.startswith("herd") else 1,
            )
            if usual in points:
                axis.plot(points[usual][0], 100 * points[usual][1], "*" if name == "herd" else "o", color=color, ms=11)

    return _by_load(said["loads"], draw_load)


def _by_load(loads: Mapping[str, Any], draw_load: Callable[[Any, Any], None]) -> Figure:
    rows = -(-len(loads) // 3)
    figure = Figure((12, 3 * rows + 0.8), layout="constrained")
    axes = [axis for row in figure.subplots(rows, 3, squeeze=False) for axis in row]
    for axis, (load, rules) in zip(axes, loads.items(), strict=False):
        draw_load(axis, rules)
        axis.set(title=load, xlabel="GPU-hours", ylabel="% in SLO", xlim=(0, None), ylim=(None, 102))
    for axis in axes[len(loads) :]:
        axis.remove()
    labels = {label: handle for axis in axes[: len(loads)] for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(labels.values(), labels.keys(), loc="outside lower center", ncols=4, fontsize="small")
    return figure


PLOTS: Mapping[str, Callable[[Mapping[str, Any]], Figure]] = {
    "trace": _trace,
    "cpu": _cpu,
    "saturation": _saturation,
    "scaling": _scaling,
    "scaling_pareto": _scaling_pareto,
}
"""By the name of the picture."""
_RESULTS_OF = {"saturation": "cpu"}
"""Whose results a picture shows, where they are called otherwise."""


def draw(name: str, results: Path, into: Path) -> None:
    """One file of results as a picture.

    Raises:
        OSError: there are no such results.
    """
    figure = PLOTS[name](json.loads((results / f"{_RESULTS_OF.get(name, name)}.json").read_text(encoding="utf-8")))
    with mpl.rc_context({"svg.hashsalt": "llama-herd", "svg.fonttype": "none"}):
        figure.savefig(into / f"{name}.svg", metadata=_NO_DATE)


if __name__ == "__main__":
    for plot in PLOTS:
        draw(plot, RESULTS, RESULTS)

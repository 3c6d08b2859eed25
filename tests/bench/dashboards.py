"""Pictures of the dashboards, for `monitoring/README.md`: each panel's own queries over the data of a real Prometheus, drawn by matplotlib.

`python -m pytest tests/own_herd/test_dashboards.py -s` says where it has left such data; `python -m
tests.bench.dashboards FOLDER` draws it.

Decides how a panel looks on paper: as in Grafana, as far as a still picture can. Rows that Grafana shows closed are open.
"""

import io
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from tests.own_herd.prometheus import Labels, Prometheus, Series, running
from tests.unit.monitoring.dashboards import ROOT, boards, chosen

PICTURES = ROOT / "monitoring" / "pictures"
MOST_BYTES = 150_000
COLUMN_IN, ROW_IN, DPI = 0.62, 0.36, 78
PAPER, INK, PALE = "#181b1f", "#d8d9da", "#34383e"
COLOURS = {"green": "#56a64b", "orange": "#ff9830", "red": "#e02f44", "blue": "#5794f2"}
LINES = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#37872d", "#fade2a", "#fa6400", "#1f60c4", "#8f3bb8")
#: A line is broken where there was no value for so long.
GAP_MIN = 0.2
#: Series in a legend; the rest is drawn without a name.
NAMED = 6


def main(data: Path) -> None:
    """Draws every dashboard over a Prometheus' folder of data."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(data / "data", Path(folder) / "data", ignore=shutil.ignore_patterns("lock"))
        with running(Path(folder), {}) as prometheus:
            first_s, last_s = _span(prometheus)
            for name, board in boards().items():
                drawn = _picture(board, prometheus, first_s, last_s)
                assert len(drawn) <= MOST_BYTES, f"{name}: {len(drawn)} bytes"
                (PICTURES / f"{name}.png").write_bytes(drawn)


def _span(prometheus: Prometheus) -> tuple[float, float]:
    head = httpx.get(f"{prometheus.address}/api/v1/status/tsdb", timeout=30).json()["data"]["headStats"]
    return head["minTime"] / 1000, head["maxTime"] / 1000


def _picture(board: Mapping[str, Any], prometheus: Prometheus, first_s: float, last_s: float) -> bytes:
    places = list(_places(board))
    rows = max(y + panel["gridPos"]["h"] for panel, y in places)
    figure = Figure((24 * COLUMN_IN, (rows + 1) * ROW_IN), facecolor=PAPER)
    figure.text(0.01, 1 - 0.5 / (rows + 1), board["title"], color=INK, fontsize=15, va="center", weight="bold")
    for panel, y in places:
        place = panel["gridPos"]
        if panel["type"] == "row":
            figure.text(0.01, 1 - (y + 1.5) / (rows + 1), f"▾ {panel['title']}", color=INK, fontsize=12, va="center")
            continue
        tall, flat = 1 / (rows + 1), panel["type"] in ("stat", "table")
        left, width = place["x"] / 24, place["w"] / 24
        bottom, height = 1 - (y + 1 + place["h"]) * tall, place["h"] * tall
        under = (0.3 if flat else 1.75) * tall  # for the legend
        axes = figure.add_axes((left + 0.03, bottom + under, width - 0.04, height - under - tall), facecolor=PAPER)
        axes.set_title(panel["title"], color=INK, fontsize=8.5, loc="left", x=-0.02 / width)
        _draw(axes, panel, prometheus, first_s, last_s)
    raw = io.BytesIO()
    figure.savefig(raw, format="png", dpi=DPI, facecolor=PAPER)
    small = io.BytesIO()
    Image.open(raw).convert("RGB").quantize(48, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
    return small.getvalue()


def _places(board: Mapping[str, Any]) -> Iterator[tuple[dict[str, Any], int]]:
    """Every panel and the row of the grid where it stands when all sections are open."""
    below = 0
    for panel in board["panels"]:
        yield panel, panel["gridPos"]["y"] + below
        if panel["type"] == "row":
            inside = panel["panels"]
            yield from ((one, one["gridPos"]["y"] + below) for one in inside)
            below += max(one["gridPos"]["y"] + one["gridPos"]["h"] for one in inside) - panel["gridPos"]["y"] - 1


def _draw(axes: Axes, panel: Mapping[str, Any], prometheus: Prometheus, first_s: float, last_s: float) -> None:
    if panel["type"] in ("stat", "table"):
        values = dict(_instant(panel, prometheus, first_s, last_s))
        (_number if panel["type"] == "stat" else _table)(axes, panel, values)
        return
    series = {
        _name(target["legendFormat"], labels): _gaps([((when - first_s) / 60, value) for when, value in points])
        for target in panel["targets"]
        for labels, points in prometheus.over(chosen(target["expr"]), first_s, last_s).items()
    }
    (_states if panel["type"] == "state-timeline" else _lines)(axes, panel, series)
    axes.set_xlim(0, (last_s - first_s) / 60)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda minutes, _: f"{minutes:g} min")
    axes.tick_params(colors=INK, labelsize=6.5, length=2)
    axes.grid(color=PALE, linewidth=0.5)
    for spine in axes.spines.values():
        spine.set_color(PALE)


def _gaps(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns points with a nothing where there was no value for long, so that no line crosses it."""
    broken = [((one + other) / 2, math.nan) for (one, _), (other, _) in pairwise(points) if other - one > GAP_MIN]
    return sorted([*points, *broken])


def _instant(panel: Mapping[str, Any], prometheus: Prometheus, first_s: float, last_s: float) -> Iterator[tuple[str, float]]:
    for target in panel["targets"]:
        expr = chosen(target["expr"]).replace("600s", f"{last_s - first_s:.0f}s")
        yield from ((_name(target["legendFormat"], labels), value) for labels, value in prometheus.at(expr, last_s).items())


def _name(legend: str, labels: Labels) -> str:
    return re.sub(r"\{\{(\w+)\}\}", lambda match: dict(labels).get(match[1], "")[-22:], legend).strip()


def _lines(axes: Axes, panel: Mapping[str, Any], series: Mapping[str, list[tuple[float, float]]]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults["custom"].get("stacking", {}).get("mode") == "normal"
    times = sorted({when for points in series.values() for when, _ in points})
    base = dict.fromkeys(times, 0.0)
    for number, (name, points) in enumerate(series.items()):
        colour, label = LINES[number % len(LINES)], name if number < NAMED else None
        if stacked:
            values = {when: value for when, value in points if value == value}
            top = {when: base[when] + values.get(when, 0.0) for when in times}
            axes.fill_between(times, list(base.values()), list(top.values()), color=colour, alpha=0.35, lw=0)
            points, base = list(top.items()), top
        axes.plot([when for when, _ in points], [value for _, value in points], color=colour, lw=1.3, label=label)
    for step in defaults["thresholds"]["steps"][1:]:
        axes.axhline(step["value"], color=COLOURS[step["color"]], ls="--", lw=0.9)
    highest = max((value for points in series.values() for _, value in points if value == value), default=1.0)
    axes.set_ylim(0, defaults.get("max") or (max(base.values(), default=0) if stacked else highest) * 1.1 or 1)
    axes.yaxis.set_major_formatter(lambda value, _: written(value, defaults["unit"]))
    if series:
        columns = 2 if panel["gridPos"]["w"] <= 6 else 3
        named = axes.legend(loc="upper left", bbox_to_anchor=(0, -0.1), borderaxespad=0, ncols=columns, fontsize=6, frameon=False)
        for text in named.get_texts():
            text.set_color(INK)
    else:
        axes.text(0.5, 0.5, defaults.get("noValue", "no data"), color=INK, transform=axes.transAxes, ha="center")


def _states(axes: Axes, panel: Mapping[str, Any], series: Series | Mapping[str, list[tuple[float, float]]]) -> None:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    for number, points in enumerate(series.values()):
        for (when, value), (until, _) in pairwise(points):
            colour = COLOURS[_colour(steps, value)]
            axes.barh(number, until - when, left=when, color=colour, height=0.6, lw=0)
    axes.set_yticks([])
    for number, name in enumerate(series):
        axes.text(0.02, (number + 0.5) / len(series), str(name), color="white", fontsize=7, va="center", transform=axes.transAxes)
    axes.set_ylim(-0.5, max(len(series), 1) - 0.5)


def _number(axes: Axes, panel: Mapping[str, Any], values: Mapping[str, float]) -> None:
    axes.set_axis_off()
    defaults = panel["fieldConfig"]["defaults"]
    shown = values or {defaults["noValue"]: math.nan}
    for number, (name, value) in enumerate(shown.items()):
        colour = COLOURS[_colour(defaults["thresholds"]["steps"], value)] if value == value else PALE
        text = f"{written(value, defaults['unit'])}\n{name}" if value == value else name
        place = (number + 0.5) / len(shown)
        axes.text(
            place,
            0.45,
            text,
            color="white",
            fontsize=10,
            ha="center",
            va="center",
            transform=axes.transAxes,
            bbox={"facecolor": colour, "lw": 0, "pad": 6},
        )


def _table(axes: Axes, panel: Mapping[str, Any], values: Mapping[str, float]) -> None:
    axes.set_axis_off()
    axes.text(0, 1, "\n".join(values) or "none", color=INK, fontsize=8, va="top", transform=axes.transAxes)


def _colour(steps: list[Mapping[str, Any]], value: float) -> str:
    return str(next(step["color"] for step in reversed(steps) if step["value"] is None or value >= step["value"]))


def written(value: float, unit: str) -> str:
    """A value as a reader wants it: 1.5 GiB, 20 ms, 90 %."""
    if unit == "percentunit":
        return f"{value * 100:,.0f} %" if abs(value) >= 10 else f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if abs(value) < 1 and value else f"{value:.3g} s"
    size, step = (1024, ("", "Ki", "Mi", "Gi", "Ti")) if unit == "bytes" else (1000, ("", "k", "M", "G", "T"))
    power = min(int(math.log(abs(value), size)), 4) if abs(value) >= size else 0
    after = {"bytes": "B", "Bps": "B/s", "reqps": "/s", "celsius": "°C", "watt": "W", "hertz": "Hz", "cps": "/s", "short": ""}
    return f"{value / size**power:.3g} {step[power]}{after.get(unit, unit.removeprefix('suffix: '))}".strip()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Plots as SVG, drawn by hand: lines and stacked areas over time, with a grid, a legend, and nothing from elsewhere."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from math import floor, log10

from deployments.simulation.report.series import Values

WIDTH, HEIGHT = 900, 190
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 8, 24
DAY_S, HOUR_S = 86_400.0, 3600.0
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
#: Distances of the marks of an axis of time, in seconds; at most so many marks.
MARKS_S, MOST_MARKS = (10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 172_800), 10


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot, or one layer of a stack."""

    name: str
    values: Values
    colour: str
    is_stacked: bool = False
    """It is an area on those before it."""


@dataclass(frozen=True, slots=True)
class Axes:
    """The axes of a plot."""

    span_s: float
    """Seconds between two values."""
    spans: int
    unit: str = ""
    limit: float | None = None
    """A dashed line: an objective."""
    most: float | None = None
    """Values above it are cut off at the upper edge."""


def plot(lines: Sequence[Line], axes: Axes) -> str:
    """Returns one plot as an SVG element."""
    top = _top(lines, axes)
    stacked = [one for one in lines if one.is_stacked]
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        *_grid(axes, top),
        *_areas(stacked, axes, top),
        *(_line(one, axes, top) for one in lines if not one.is_stacked),
    ]
    if axes.limit is not None and axes.limit <= top:
        y = _y(axes.limit, top)
        parts.append(f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    return "".join((*parts, "</svg>", _legend(lines, axes)))


def clock(at_s: float, until_s: float) -> str:
    """Returns a time as people say it: minutes of short simulations, hours of longer ones, days of the week of those over two days."""
    if until_s > 2 * DAY_S:
        return f"{DAYS[int(at_s // DAY_S) % 7]} {int(at_s % DAY_S // HOUR_S):02}:{int(at_s % HOUR_S // 60):02}"
    if until_s > 2 * HOUR_S:
        return f"{int(at_s // HOUR_S)}:{int(at_s % HOUR_S // 60):02} h"
    return f"{int(at_s // 60)} min" if at_s % 60 == 0 else f"{int(at_s // 60)}:{int(at_s % 60):02} min"


def _top(lines: Sequence[Line], axes: Axes) -> float:
    """Returns the value at the upper edge: all values are below it but those that are cut off."""
    stacks = [sum(values) for values in zip(*([each or 0.0 for each in one.values] for one in lines if one.is_stacked), strict=True)]
    told = [value for one in lines if not one.is_stacked for value in one.values if value is not None]
    most = max((*told, *stacks, axes.limit or 0.0))
    if axes.most is not None:
        most = min(most, axes.most)
    return most * 1.06 or 1.0


def _x(place: float, axes: Axes) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * place / axes.spans


def _y(value: float, top: float) -> float:
    return TOP + (HEIGHT - TOP - BOTTOM) * (1 - min(value, top) / top)


def _line(line: Line, axes: Axes, top: float) -> str:
    """Returns a line, in pieces where values are missing."""
    pieces = []
    for is_told, group in groupby(enumerate(line.values), key=lambda pair: pair[1] is not None):
        if is_told:
            points = " ".join(f"{_x(place + 0.5, axes):.1f},{_y(value or 0.0, top):.1f}" for place, value in group)
            pieces.append(f'<polyline points="{points}" stroke="{line.colour}"/>')
    return "".join(pieces)


def _areas(layers: Sequence[Line], axes: Axes, top: float) -> Iterator[str]:
    """Yields the layers of a stack, each on top of those before it, as steps."""
    below = [0.0] * axes.spans
    for layer in layers:
        above = [under + (value or 0.0) for under, value in zip(below, layer.values, strict=True)]
        points = [*_steps(above, axes, top), *reversed(_steps(below, axes, top))]
        yield f'<polygon points="{" ".join(points)}" fill="{layer.colour}"/>'
        below = above


def _steps(values: Sequence[float], axes: Axes, top: float) -> list[str]:
    return [f"{_x(place + side, axes):.1f},{_y(value, top):.1f}" for place, value in enumerate(values) for side in (0, 1)]


def _grid(axes: Axes, top: float) -> Iterator[str]:
    for value in _marks(top):
        y = _y(value, top)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}{escape(axes.unit)}</text>'
    until_s = axes.span_s * axes.spans
    every_s = next((each for each in MARKS_S if until_s / each <= MOST_MARKS), until_s)
    for number in range(int(until_s / every_s) + 1):
        x = _x(number * every_s / axes.span_s, axes)
        anchor = "start" if number == 0 else "middle" if x < WIDTH - 40 else "end"
        yield f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{clock(number * every_s, until_s)}</text>'


def _marks(top: float) -> Iterable[float]:
    """Returns round values from 0 to the upper edge, about four."""
    rough = top / 4
    size = 10.0 ** floor(log10(rough))
    step = next(size * times for times in (1, 2, 5, 10) if size * times >= rough)
    return [step * number for number in range(int(top / step) + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.2g}"


def _legend(lines: Sequence[Line], axes: Axes) -> str:
    marks = [f'<span><i style="background:{one.colour}"></i>{escape(one.name)}</span>' for one in lines]
    if axes.limit is not None:
        marks.append(f'<span><i class="dashed"></i>objective: {axes.limit:g}{escape(axes.unit)}</span>')
    return f'<p class="legend">{"".join(marks)}</p>'

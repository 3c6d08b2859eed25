"""Small charts of an hour, as SVG without scripts, styles or files: bars for counts, lines for levels.

Decides their scale, and the words beside them, which tell the same as the chart to somebody who does not see it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deployments.gateway.status.markup import Markup, el, together

WIDTH, HEIGHT = 240, 56
#: Room above the highest value.
TOP = 4

Values = Sequence[float | None]
"""A value for each minute, oldest first; None where nothing is known."""


@dataclass(frozen=True, slots=True)
class Series:
    """One line, or one colour of bars."""

    called: str
    look: str
    """The name of its class in the style sheet."""
    values: Values


def chart(title: str, told: Callable[[float], str], series: Sequence[Series], bars: bool = False) -> Markup:
    """Returns a figure with its title, its chart, and the last and the highest value of each series in words.

    Args:
        title: the figure's subject and unit.
        told: writes a value with its unit.
        series: drawn over each other, the first one at the back.
        bars: bars from the ground instead of lines.
    """
    most = max((value for one in series for value in one.values if value is not None), default=0.0)
    words = "; ".join(_words(one, told) for one in series)
    drawn = (_bars(one, most) if bars else _lines(one, most) for one in series)
    ground = el("line", class_="ground", x1="0", x2=str(WIDTH), y1=str(HEIGHT), y2=str(HEIGHT))
    view = f"0 0 {WIDTH} {HEIGHT + 1}"
    svg = el("svg", ground, *drawn, role="img", aria_label=f"{title}. {words}.", viewBox=view, preserveAspectRatio="none")
    keys = together(*(_key(one, told) for one in series))
    return el("figure", el("figcaption", el("b", title), keys), svg)


def _words(one: Series, told: Callable[[float], str]) -> str:
    known = [value for value in one.values if value is not None]
    if not known:
        return f"{one.called}: nothing in the last hour"
    last = one.values[-1]
    return f"{one.called}: {'nothing' if last is None else told(last)} in the last minute, at most {told(max(known))}"


def _key(one: Series, told: Callable[[float], str]) -> Markup:
    known = [value for value in one.values if value is not None]
    last = one.values[-1] if one.values else None
    shown = ("–" if last is None else told(last)) + (f" (max {told(max(known))})" if known else "")
    return el("span", el("i", class_=one.look, aria_hidden="true"), f"{one.called} {shown}")


def _bars(one: Series, most: float) -> Markup:
    wide = WIDTH / max(1, len(one.values))
    found = []
    for index, value in enumerate(one.values):
        if value and most:
            high = (HEIGHT - TOP) * value / most
            found.append(f"M{index * wide:.1f} {HEIGHT}v{-high:.1f}h{wide * 0.8:.1f}v{high:.1f}z")
    return el("path", class_=f"bar {one.look}", d="".join(found)) if found else Markup()


def _lines(one: Series, most: float) -> Markup:
    """Draws a line through values that follow each other; a value alone is a short stroke."""
    found = []
    for run in _runs(one.values):
        points = [f"{_x(index, len(one.values)):.1f} {_y(value, most):.1f}" for index, value in run]
        found.append(f"M{'L'.join(points)}" + ("h2" if len(points) == 1 else ""))
    return el("path", class_=f"line {one.look}", d="".join(found)) if found else Markup()


def _runs(values: Values) -> Iterator[list[tuple[int, float]]]:
    run: list[tuple[int, float]] = []
    for index, value in enumerate(values):
        if value is not None:
            run.append((index, value))
        elif run:
            yield run
            run = []
    if run:
        yield run


def _x(index: int, count: int) -> float:
    return (index + 0.5) * WIDTH / count


def _y(value: float, most: float) -> float:
    return HEIGHT - (HEIGHT - TOP) * value / most if most else float(HEIGHT)

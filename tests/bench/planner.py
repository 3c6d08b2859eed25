"""The planner beside public logs and reports: `python -m tests.bench.planner` writes `cluster/planner/POINTS.md`.

Decides how the points are shown; what they are lies in `tests/unit/cluster/planner/points`, where a test holds the bar.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median

from cluster.planner.memory.engine import version_of
from tests.unit.cluster.planner.points import Fit, Point, figure_points, fit_points, log_points, memory_points, speed_points

PAGE = Path(__file__).parents[2] / "cluster/planner/POINTS.md"
HEAD = """# The planner beside public logs and reports

Written by `python -m tests.bench.planner`; a test fails where this page and the planner differ. The points and their
sources are in `tests/unit/cluster/planner/points`.
"""


def within(points: Iterable[Point], most: float) -> float:
    """The share of the points whose error is at most so large."""
    errors = [abs(point.error) for point in points]
    return sum(error <= most for error in errors) / len(errors)


def summary(name: str, points: list[Point], most: float) -> str:
    """One row: how many points, the median and the largest error, and the share within a bound."""
    errors = [abs(point.error) for point in points]
    return f"| {name} | {len(points)} | {median(errors):.1%} | {max(errors):.1%} | {within(points, most):.0%} within {most:.0%} |"


def new(points: Iterable[Point]) -> list[Point]:
    """The points of vLLM 0.17 and later, whose parts of memory are those of today but for the sampler."""
    return [point for point in points if version_of(point.vllm) >= (0, 17)]


def old(points: Iterable[Point]) -> list[Point]:
    """The points of older versions."""
    return [point for point in points if version_of(point.vllm) < (0, 17)]


def page() -> str:
    """The whole page."""
    memory, speeds, fits = memory_points(), [*speed_points(), *figure_points()], fit_points()
    right = sum(fit.right for fit in fits)
    rows = [
        summary("KV cache, vLLM 0.17 on", new(memory), 0.05),
        summary("KV cache, older", old(memory), 0.10),
        summary("KV cache, every startup log of 0.19 whose model can be read", log_points(), 0.05),
        summary("Speed", speeds, 0.30),
        f"| Fits, or runs out of memory | {len(fits)} | | | {right} of {len(fits)} right |",
    ]
    table = "\n".join(("| what | points | median error | largest | bar |", "|---|---|---|---|---|", *rows))
    parts = [
        HEAD,
        table,
        *_points("KV cache", memory, "tokens, or GiB of one GPU"),
        *_points("Every startup log of vLLM 0.19", log_points(), "tokens"),
        *_fits(fits),
    ]
    return "\n".join([*parts, *_points("Speed", speeds, "tokens/s, or seconds")]) + "\n"


def _points(title: str, points: Iterable[Point], unit: str) -> Iterator[str]:
    yield f"\n## {title}\n\n| point | what | vLLM | reported ({unit}) | planned | error | source |\n|---|---|---|---|---|---|---|"
    for one in points:
        yield (
            f"| {one.id} | {one.what} | {one.vllm} | {_figure(one.reported)} | {_figure(one.planned)} | {one.error:+.1%} | {one.source} |"
        )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _fits(fits: Iterable[Fit]) -> Iterator[str]:
    yield "\n## Fits, or runs out of memory\n\n| point | what | vLLM | really | planned | source |\n|---|---|---|---|---|---|"
    for one in fits:
        planned = "; ".join(one.problems) or "fits"
        yield f"| {one.id} | {one.what} | {one.vllm} | {'ran' if one.ran else 'did not run'} | {planned} | {one.source} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

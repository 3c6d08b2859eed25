"""The planner beside public logs and reports: the bar. `cluster/planner/POINTS.md` shows every point."""

from statistics import median

import pytest

from cluster.planner.speed import efficiency
from tests.bench.planner import PAGE, new, old, page, within
from tests.unit.cluster.planner.points import Fit, engine_of, figure_points, fit_points, log_points, memory_points, rows, speed_points


def test_kv_cache_of_todays_versions_is_within_5_percent_on_9_of_10_and_never_10_off() -> None:
    points = new(memory_points())
    assert within(points, 0.05) >= 0.9
    assert within(points, 0.10) == 1


def test_kv_cache_of_older_versions_is_within_10_percent_on_9_of_10() -> None:
    assert within(old(memory_points()), 0.10) >= 0.9


def test_every_startup_log_is_met_whatever_its_dtype_length_and_shape() -> None:
    points = log_points()
    assert len(points) >= 30
    assert within(points, 0.005) >= 0.9
    assert within(points, 0.05) == 1


@pytest.mark.parametrize("point", fit_points(), ids=lambda point: point.id)
def test_what_ran_fits_and_what_did_not_does_not(point: Fit) -> None:
    assert point.right, point.problems


def test_speeds_are_within_15_percent_in_the_middle_and_30_on_9_of_10() -> None:
    points = [*speed_points(), *figure_points()]
    assert median(abs(point.error) for point in points) <= 0.15
    assert within(points, 0.30) >= 0.9


@pytest.mark.parametrize(
    "row", [row for row in rows("speed.csv") if row["concurrency"] == "1" and row["what"] == "replica"], ids=lambda row: row["id"]
)
def test_floor_of_a_step_is_below_every_measured_whole_step(row: dict[str, str]) -> None:
    architecture = engine_of(row).architecture
    assert efficiency(architecture).layer_s * architecture.layers < 1 / float(row["value"])


def test_page_shows_the_points_as_they_are() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `python -m tests.bench.planner`"

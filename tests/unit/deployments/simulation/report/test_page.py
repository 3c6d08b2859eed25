"""The page of a simulation needs nothing from elsewhere, shows every value within its plots, and escapes what others wrote."""

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from cluster.scaling.work import Slo
from deployments.simulation.outcome import Decided
from deployments.simulation.report.page import MOST_LISTED, Page, Part, html
from deployments.simulation.report.series import Series
from deployments.simulation.report.svg import HEIGHT, WIDTH, Axes, Line, clock, plot

SERIES = Series(
    10.0,
    *((0.0, 2.0, 4.0),) * 6,
    *((0.1, None, 99.0),) * 5,
    attainment=(1.0, None, 0.5),
    gpu_hours=(0.1, 0.2, 0.3),
)
PAGE = Page(
    "scout <under> load", ("It needs 3 & more.",), ("rule", "replicas"), (("herd", "3.0"),), ("A note.",), Slo(1.0, 0.1),
    (Part("herd on 2×H100", SERIES, (Decided(10.0, 1, 3, "2 < 3 replicas"),), 2.5),),
)  # fmt: skip


def test_page_needs_nothing_from_elsewhere_and_has_all_plots() -> None:
    page = html(PAGE)
    assert not re.search(r"<script|https?://|<link|src=|@import|url\(", page)
    assert page.count("<svg") == 8
    assert page == html(PAGE)
    for title in ("Requests a second", "Replicas", "Time to the first token", "Money", "GPU-hours", "both objectives"):
        assert title in page
    for svg in re.findall(r"<svg.*?</svg>", page):
        ElementTree.fromstring(svg)


def test_page_escapes_texts() -> None:
    page = html(PAGE)
    assert "scout &lt;under&gt; load" in page
    assert "3 &amp; more" in page
    assert "2 &lt; 3 replicas" in page


def test_page_without_a_price_has_no_money_and_one_without_decisions_says_so() -> None:
    page = html(replace(PAGE, parts=(Part("static", SERIES, ()),)))
    assert "Money" not in page
    assert "did not change" in page


def test_only_the_first_decisions_are_listed() -> None:
    many = tuple(Decided(float(at), 1, 2, "why") for at in range(MOST_LISTED + 7))
    assert "7 more are in the JSON" in html(replace(PAGE, parts=(Part("herd", SERIES, many),)))


@pytest.mark.parametrize("top", [0.0, 0.003, 1.0, 7.0, 1e6])
def test_every_point_is_inside_its_plot(top: float) -> None:
    lines = [Line("a", (top, 0.0), "red", True), Line("b", (top, top), "blue", True), Line("c", (None, top), "black")]
    for most in (None, top / 2):
        drawn = plot(lines, Axes(1800.0, 2, " s", limit=top / 3, most=most))
        points = [tuple(map(float, pair.split(","))) for found in re.findall(r'points="([^"]*)"', drawn) for pair in found.split()]
        assert points
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)


def test_objective_above_the_plot_is_not_drawn() -> None:
    drawn = plot([Line("a", (1.0, 1.0), "red")], Axes(1.0, 2, limit=100.0, most=2.0))
    assert 'class="limit"' not in drawn
    assert "objective: 100" in drawn


@pytest.mark.parametrize(
    ("at_s", "until_s", "told"),
    [(60.0, 600.0, "1 min"), (90.0, 600.0, "1:30 min"), (5400.0, 9000.0, "1:30 h"), (86_400 + 9 * 3600.0, 604_800.0, "Tue 09:00")],
)
def test_time_is_told_as_people_say_it(at_s: float, until_s: float, told: str) -> None:
    assert clock(at_s, until_s) == told

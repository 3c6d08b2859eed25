"""The status page as text: what is escaped, charts and their words, states, and which rows are shown."""

import html
import math
import re
from html.parser import HTMLParser

import pytest
from msgspec.structs import replace

from deployments.gateway.status import page as pages
from deployments.gateway.status.charts import Series, chart
from deployments.gateway.status.figures import Model, last_hour, latencies, state_of, told_all
from deployments.gateway.status.markup import Markup, el, together
from deployments.policy.fleet.model_state import ModelState
from deployments.policy.records.history import Minute, Now, Totals
from deployments.policy.records.verdict import Verdict
from deployments.policy.routing.types import ReplicaState, ReplicaView
from monitoring.metrics import ITL, TTFT

EVIL = """</h2><script>alert(1)</script>"'&"""
AT, NOW_S = 1000, 1001 * 60.0


def shown(*models: Model, gateways: int = 1, missing: bool = False) -> str:
    return "".join(pages.page(models, gateways, missing, AT, NOW_S))


def replica(
    name: str, state: ReplicaState = ReplicaState.READY, ready_s: float = 100.0, slow: bool = False, host: str = "h"
) -> ReplicaView:
    return ReplicaView(name, "m", host, 1, state, 3, 1, ready_s=ready_s, about={"gpus": 8}, slow=slow)


def minute(at: int, requests: int = 6, failed: int = 1) -> Minute:
    ttft = tuple(int(index == 2) * requests for index in range(len(TTFT.buckets) + 1))
    itl = tuple(int(index == 1) * requests for index in range(len(ITL.buckets) + 1))
    return Minute(at, Totals(requests, failed, 10, 1200, ttft, itl), Now(1, 2, 3))


class Reader(HTMLParser):
    """Finds elements that are opened and not closed, and the other way round."""

    EMPTY = ("meta", "link", "input", "line", "path", "br")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == "input":
            self.open.remove("input")
            return
        assert self.open.pop() == tag


def test_text_is_escaped_and_markup_is_not() -> None:
    assert el("p", EVIL, el("b", "x"), class_="a", aria_label=EVIL, open=None) == (
        f'<p class="a" aria-label="{html.escape(EVIL)}">{html.escape(EVIL)}<b>x</b></p>'
    )
    assert together("<", Markup("<br>")) == "&lt;<br>"
    assert isinstance(together("<"), Markup)


def test_every_text_of_a_herd_is_escaped() -> None:
    odd = replace(replica(EVIL, ReplicaState.SICK, host=EVIL), canary=EVIL, about={"gpus": EVIL})
    model = Model(EVIL, ModelState.UNHEALTHY, 0, 1, 2, Verdict(1.0, 3, 2, EVIL), [EVIL], [odd], [minute(AT)])
    text = shown(model)
    assert EVIL not in text
    assert "<script>alert" not in text
    assert text.count(html.escape(EVIL)) == 8
    assert text.count("<script") == 1


@pytest.mark.parametrize("models", [(), (Model("m", ModelState.RUNNING, 1, 2, 0, None, (), [replica("r")], [minute(AT - 5), minute(AT)]),)])
def test_page_is_whole_html_with_each_id_once(models: tuple[Model, ...]) -> None:
    text = shown(*models)
    reader = Reader()
    reader.feed(text)
    assert reader.open == []
    assert len(reader.ids) == len(set(reader.ids))
    assert text.startswith("<!doctype html>\n<html lang=")
    assert ("This herd serves no model." in text) is (not models)


def test_policy_names_exactly_the_style_and_the_script_of_the_page() -> None:
    text = shown()
    assert re.findall(r"<style>(.*?)</style>", text, re.DOTALL) == [pages.STYLE]
    assert re.findall(r"<script>(.*?)</script>", text, re.DOTALL) == [pages.SCRIPT]
    assert "</" not in pages.STYLE + pages.SCRIPT
    assert dict(pages.HEADERS)[b"content-security-policy"].decode() == pages.POLICY
    assert pages.POLICY.count("'sha256-") == 2
    assert "unsafe" not in pages.POLICY


@pytest.mark.parametrize(
    ("state", "ready", "replicas", "well"),
    [
        (ModelState.RUNNING, 1, [replica("a")], 1),
        (ModelState.RUNNING, 1, [replica("a"), replica("b", ReplicaState.SICK)], 0),
        (ModelState.RUNNING, 1, [replica("a", slow=True)], 0),
        (ModelState.AT_ZERO, 0, [], 1),
        (ModelState.STOPPED, 0, [], 1),
        (ModelState.STARTING, 0, [], 0),
        (ModelState.UNHEALTHY, 0, [], 0),
    ],
)
def test_head_counts_models_that_are_as_they_should_be(state: ModelState, ready: int, replicas: list[ReplicaView], well: int) -> None:
    assert f"{well} of 1 model as they should be." in shown(Model("m", state, ready, replicas=replicas))


def test_model_that_should_have_more_replicas_is_not_as_it_should_be() -> None:
    text = shown(Model("m", ModelState.RUNNING, 1, size=Verdict(1.0, 2, 1, "more"), replicas=[replica("a")]))
    assert "0 of 1 model as" in text
    assert "1 of 2 replicas" in text


def test_gateways_that_did_not_tell_are_told_of() -> None:
    assert "those of 3 gateways. As of" in shown(gateways=3)
    assert "Others could not be asked." in shown(missing=True)


def test_replicas_that_need_a_look_come_first_and_many_are_cut() -> None:
    many = [replica(f"r{number:03d}") for number in range(80)]
    text = shown(
        Model("m", ModelState.RUNNING, 80, replicas=[*many, replica("z-dead", ReplicaState.DEAD, math.inf), replica("y", slow=True)])
    )
    rows = re.findall(r'<th scope="row">(.*?)</th>', text)
    assert rows[:3] == ["y", "z-dead", "r000"]
    assert len(rows) == pages.MOST_REPLICAS
    assert "32 more are ready." in text
    assert 'open="open"' in text
    assert 'class="bad">ready, slow<' in text
    assert 'open="open"' not in shown(Model("m", ModelState.RUNNING, 1, replicas=[replica("a")]))


def test_model_without_an_hour_says_so() -> None:
    assert "Nothing of the last hour is written down yet" in shown(Model("m", ModelState.STARTING))
    assert "<svg" not in shown(Model("m", ModelState.STARTING, minutes=[minute(AT - 60)]))
    assert shown(Model("m", ModelState.STARTING, minutes=[minute(AT - 59)])).count("<svg") == 4


def test_chart_tells_in_words_what_it_draws() -> None:
    drawn = chart("Requests", lambda value: f"{value:g}", [Series("all", "good", [None, 2.0, 4.0, None, 1.0])])
    assert 'aria-label="Requests. all: 1 in the last minute, at most 4."' in drawn
    assert "all 1 (max 4)" in drawn
    (line,) = re.findall(r' d="(.*?)"', drawn)
    assert line == "M72.0 30.0L120.0 4.0M216.0 43.0h2"  # a hole is left open, a value alone is a stroke


def test_bars_stand_on_the_ground_and_the_highest_one_is_as_high_as_the_chart() -> None:
    drawn = chart("Requests", str, [Series("all", "good", [0, 1, None, 2])], bars=True)
    assert re.findall(r' d="(.*?)"', drawn) == ["M60.0 56v-26.0h48.0v26.0zM180.0 56v-52.0h48.0v52.0z"]


@pytest.mark.parametrize("bars", [True, False])
@pytest.mark.parametrize("values", [[], [None, None], [0, 0, None]])
def test_chart_of_nothing_is_drawn_without_failing(values: list[float | None], bars: bool) -> None:
    drawn = chart("Requests", lambda value: f"{value:g}", [Series("all", "good", values)], bars=bars)
    assert ("nothing in the last hour" in drawn) is not any(value is not None for value in values)
    assert "nan" not in drawn


@pytest.mark.parametrize(("value", "told"), [(0, "0"), (0.4, "0.4"), (7, "7"), (99.6, "100"), (12_345, "12k"), (23_000_000, "23M")])
def test_counts_are_short(value: float, told: str) -> None:
    assert pages._plain(value) == told


@pytest.mark.parametrize(("value", "told"), [(0.0244, "24 ms"), (1.25, "1.2 s"), (61.0, "61.0 s")])
def test_latencies_have_their_unit(value: float, told: str) -> None:
    assert pages._seconds(value) == told


@pytest.mark.parametrize(
    ("ready", "known", "starting", "at_zero", "state"),
    [
        (1, 2, 1, False, ModelState.RUNNING),
        (0, 2, 0, False, ModelState.UNHEALTHY),
        (0, 0, 0, True, ModelState.AT_ZERO),
        (0, 0, 1, True, ModelState.STARTING),
        (0, 0, 0, False, ModelState.STARTING),
    ],
)
def test_state_is_one_word(ready: int, known: int, starting: int, at_zero: bool, state: ModelState) -> None:
    assert state_of(ready, known, starting, at_zero) is state


def test_hour_has_a_row_for_each_minute() -> None:
    rows = last_hour([minute(AT - 60), minute(AT - 59), minute(AT), minute(AT + 1)], AT)
    assert len(rows) == 60
    assert [index for index, one in enumerate(rows) if one is not None] == [0, 59]


def test_programs_get_counts_and_quantiles() -> None:
    (row,) = told_all({"m": [minute(AT)]}, 60.0)["m"]
    assert row == latencies(minute(AT), 60.0)
    assert (row["at"], row["requests"], row["failed"], row["completion_tokens"], row["ready"]) == (60_000, 6, 1, 1200, 3)
    assert row["ttft_s"]["p50"] == pytest.approx((TTFT.buckets[1] + TTFT.buckets[2]) / 2)
    assert latencies(Minute(1, Totals(), Now()), 60.0)["itl_s"] == {"p50": None, "p95": None}

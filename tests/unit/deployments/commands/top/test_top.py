"""`herd top` without a terminal or a network: pages are read, figures compared, keys followed, lines drawn."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from rich.cells import cell_len

from deployments.commands.looking.top import drawing, keys, metrics_page
from deployments.commands.looking.top.drawing import frame, plain
from deployments.commands.looking.top.figures import MOST_DECISIONS, Figures, Latency, Look, Row, compare, decided
from deployments.commands.looking.top.keys import DOWN, END, ENTER, ESCAPE, HOME, ORDERS, PAGE_DOWN, UP, State, after, shown
from deployments.commands.looking.top.metrics_page import Counters, Histogram
from deployments.commands.looking.top.watching import WINDOW_S, Memory
from deployments.policy.fleet.model_state import ModelState
from deployments.policy.fleet.seats import Seat
from deployments.policy.records.verdict import Verdict
from monitoring.export import Meter
from monitoring.labels import Outcome
from monitoring.metrics import ITL, TTFT
from tests.unit.deployments.commands.top.looks import BOUNDS, NOW_S, counters, facts, look, many

A, B = "10.1.0.1:9000", "10.1.0.2:9000"


def test_page_of_a_gateway_is_read_as_it_counts() -> None:
    meter = Meter()
    for outcome in (Outcome.OK, Outcome.OK, Outcome.TIMEOUT, Outcome.CLIENT_ERROR):
        meter.ended('a"\\\nb', "chat", outcome, 0.1)
    meter.used("m", 7, 30)
    meter.waiting("m", 4)
    meter.streamed("m", 0.0, [0.3, 0.31, 0.33])
    page = metrics_page.read(meter.text().decode())
    assert page['a"\\\nb'] == Counters(4, 1)
    assert (page["m"].tokens, page["m"].waiting, page["m"].requests) == (30, 4, 0)
    assert (page["m"].ttft.bounds, page["m"].itl.bounds) == (TTFT.buckets, ITL.buckets)
    assert (page["m"].ttft.all, page["m"].itl.all) == (1, 2)
    assert page["m"].ttft.counts[TTFT.buckets.index(0.5)] == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing of ours 3",
        'herd_requests_total{model="m"} much',
        'herd_requests_total{model="m"} NaN',
        'herd_requests_total{model="m"} -3',
        'herd_time_to_first_token_seconds_bucket{model="m",le="x"} 0',
    ],
)
def test_page_that_is_no_gateways_counts_nothing(text: str) -> None:
    assert all(one.requests == 0 and one.ttft.all == 0 for one in metrics_page.read(text).values())


def test_rates_are_sums_of_all_gateways_that_answered_twice() -> None:
    before = look(100, [facts("m")], {A: {"m": counters(10, 100)}, B: {"m": counters(5, 0)}})
    now = look(110, [facts("m")], {A: {"m": counters(30, 300, failed=5)}, B: {"m": counters(15, 100)}, "new": {"m": counters(9e9)}})
    figures = compare(before, now)
    (row,) = figures.rows
    assert (row.requests_s, row.failed_s, row.tokens_s) == (3, 0.5, 30)
    assert (figures.window_s, figures.answered) == (10, 3)


def test_gateway_that_began_anew_counts_from_zero() -> None:
    before = look(0, [facts("m")], {A: {"m": counters(1000, 5000, (9, 9, 9, 9))}})
    (row,) = compare(before, look(10, [facts("m")], {A: {"m": counters(20, 50, (0, 2, 0, 0))}})).rows
    assert (row.requests_s, row.tokens_s) == (2, 5)
    assert row.ttft.half == pytest.approx(0.15)
    assert row.ttft.most == pytest.approx(0.195)


def test_tokens_are_pieces_of_streams_where_these_are_more() -> None:
    before = look(0, [facts("m")], {A: {"m": counters()}})
    (row,) = compare(before, look(10, [facts("m")], {A: {"m": counters(2, 10, (0, 2, 0, 0), (0, 98, 0, 0))}})).rows
    assert row.tokens_s == 10


def test_latencies_of_gateways_with_other_buckets_are_left_out() -> None:
    other = Counters(ttft=Histogram((1.0,), (5, 5)))
    before = look(0, [facts("m")], {A: {}, B: {}})
    (row,) = compare(before, look(10, [facts("m")], {A: {"m": counters(ttft=(0, 2, 0, 0))}, B: {"m": other}})).rows
    assert row.ttft.half == pytest.approx(0.15)


def test_first_look_has_no_rates() -> None:
    figures = compare(None, look(5, [facts("m", ready=2, ongoing=3, waiting=1)], {A: {"m": counters(9, waiting=4)}}))
    (row,) = figures.rows
    assert (row.requests_s, row.tokens_s, row.ttft, figures.window_s) == (None, None, Latency(), 0)
    assert (row.running, row.waiting, row.ready, row.target) == (4, 6, 2, 2)
    assert compare(look(5, [facts("m")], {}), look(5, [facts("m")], {})).window_s == 0


def test_queue_is_that_of_the_page_of_status_where_no_gateway_shows_its_metrics() -> None:
    assert compare(None, look(5, [facts("m")], {})).rows[0].waiting == 8


def test_model_with_starts_and_no_replica_is_starting_and_its_target_is_autoscalings() -> None:
    down = replace(facts("m", ready=0), standing=replace(facts("m").standing, state=ModelState.UNHEALTHY, running=0, target=1))
    (row,) = compare(None, look(5, [down], {}, starting={"m": ["it loads"]})).rows
    assert (row.state, row.target, row.starting) == (ModelState.STARTING, 2, ("it loads",))
    (row,) = compare(None, look(5, [facts("m", size=Verdict(1.0, 6, 5, "more"))], {})).rows
    assert row.target == 6


def test_decisions_are_remembered_where_the_target_changes() -> None:
    def told(target: int, at_s: float, before: int = 1) -> Figures:
        return Figures((Row("m", ModelState.RUNNING, 1, target, 0, 0, size=Verdict(at_s, target, before, f"to {target}")),))

    known = decided((), told(2, 1.0))
    known = decided(known, told(2, 3.0))
    known = decided(known, told(3, 5.0))
    known = decided(known, told(2, 7.0))
    assert [(one.verdict.target, one.verdict.at_s) for one in known] == [(2, 7.0), (3, 5.0), (2, 1.0)]
    for number in range(2 * MOST_DECISIONS):
        known = decided(known, told(number, 10.0 + number))
    assert len(known) == MOST_DECISIONS
    assert decided((), Figures((Row("m", ModelState.RUNNING, 1, 1, 0, 0),))) == ()


def test_rates_are_counted_over_half_a_minute() -> None:
    memory = Memory()
    for at_s in range(0, 100, 2):
        memory.take(many(float(at_s), 2, 4))
    assert memory.figures.window_s == pytest.approx(WINDOW_S, abs=2)
    assert memory.figures.rows[0].requests_s == pytest.approx(4 * 10)


def test_models_stay_while_the_page_of_status_does_not_answer() -> None:
    memory = Memory()
    memory.take(many(0.0, 2, 4))
    memory.take(Look(2.0, problems=["/-/status: no answer."]))
    assert [row.model for row in memory.figures.rows] == ["model-000", "model-001"]
    assert memory.figures.problems == ("/-/status: no answer.",)
    memory.failed("it broke.")
    assert (memory.figures.problems, len(memory.figures.rows)) == (("it broke.",), 2)


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1b[B\x1bOA", [UP, DOWN, UP]),
        ("\x1b", [ESCAPE]),
        ("\x1b[5~\x1b[200~x", ["page up", "x"]),
        ("\r\n\x7f", [ENTER, ENTER, "backspace"]),
        ("ü/", ["ü", "/"]),
        ("", []),
    ],
)
def test_keys_are_read_from_what_a_terminal_sends(sent: str, found: list[str]) -> None:
    assert keys.read(sent) == found


FIGURES = compare(None, many(1.0, 30, 900))


def after_all(pressed: Sequence[str], figures: Figures = FIGURES, state: State | None = None) -> State:
    state = state or State()
    for key in pressed:
        state = after(state, key, figures)
    return state


@pytest.mark.parametrize(
    ("pressed", "changed"),
    [
        (["q"], {"over": True}),
        (["j"], {"chosen": "model-001"}),
        ([DOWN, DOWN, UP], {"chosen": "model-001"}),
        (["k"], {"chosen": "model-000"}),
        (["G"], {"chosen": "model-029"}),
        ([END, HOME], {"chosen": "model-000"}),
        ([PAGE_DOWN], {"chosen": "model-010"}),
        (["x"], {"chosen": "model-000"}),
        (["?"], {"helps": True}),
        (["?", "x"], {}),
        (["?", "q"], {"over": True}),
        (["s"], {"order": 1}),
        (["s"] * len(ORDERS), {}),
        (["/", "a", "b", "backspace"], {"types": True, "words": "a"}),
        (["/", "2", "9", ENTER], {"words": "29"}),
        (["/", "2", ESCAPE], {}),
        (["/", "q", ENTER], {"words": "q"}),
        (["/", "q", UP, ENTER, ESCAPE], {}),
        (["/", "2", ENTER, ESCAPE], {"chosen": ""}),
        (["j", ENTER], {"chosen": "model-001", "detail": True}),
        (["j", ENTER, DOWN, DOWN], {"chosen": "model-001", "detail": True, "first": 2}),
        (["j", ENTER, END], {"chosen": "model-001", "detail": True, "first": 29}),
        (["j", ENTER, ESCAPE], {"chosen": "model-001"}),
        (["j", ENTER, "q"], {"chosen": "model-001", "detail": True, "over": True}),
    ],
)
def test_keys_change_the_state(pressed: list[str], changed: dict[str, Any]) -> None:
    assert after_all(pressed) == State(**changed)


def test_keys_before_anything_is_known_do_no_harm() -> None:
    assert after_all(["j", ENTER, "s", DOWN], Figures()) == State(order=1)
    assert after(State(detail=True), DOWN, Figures()) == State(detail=True)


def row(model: str, **more: Any) -> Row:
    return Row(model, ModelState.RUNNING, 1, 1, more.pop("running", 0), more.pop("waiting", 0), **more)


@pytest.mark.parametrize(
    ("order", "first"), [("name", "a"), ("running", "b"), ("waiting", "c"), ("tokens/s", "d"), ("first token", "e"), ("failed", "f")]
)
def test_orders(order: str, first: str) -> None:
    rows = [
        row("f", failed_s=1.0),
        row("e", ttft=Latency(1, 2)),
        row("d", tokens_s=5.0),
        row("c", waiting=9),
        row("b", running=9),
        row("a"),
    ]
    found = shown(Figures(rows), State(order=list(ORDERS).index(order)))
    assert found[0].model == first
    assert len(found) == 6


def test_chosen_model_stays_chosen_when_the_order_changes() -> None:
    rows = [row("a", running=1), row("b", running=5)]
    state = after_all([DOWN, "s"], Figures(rows))
    assert keys.place(shown(Figures(rows), state), state) == 0
    assert state.chosen == "b"


def text(figures: Figures, state: State, size: tuple[int, int] = (80, 24), decisions: Sequence[Any] = ()) -> list[str]:
    lines = [line.plain for line in frame(figures, state, decisions, "http://gateway:8000", size, NOW_S)]
    assert len(lines) <= size[1]
    assert all(cell_len(line) <= size[0] for line in lines)
    assert all(line.isprintable() for line in lines)
    return lines


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 3), (10, 1), (200, 60)])
@pytest.mark.parametrize(
    "state",
    [State(), State(helps=True), State(detail=True), State(types=True, words="x" * 60), State(words="no such"), State(chosen="model-029")],
    ids=["list", "help", "detail", "typing", "none", "last"],
)
def test_frame_fits_any_terminal(size: tuple[int, int], state: State) -> None:
    figures = replace(FIGURES, problems=["gateway 10.0.0.1:9: " + "x" * 200] * 9)
    text(figures, state, size, decided((), figures))
    text(Figures(), state, size)


def test_list_has_the_chosen_model_in_it_and_problems_and_decisions_below() -> None:
    figures = replace(compare(many(0.0, 30, 900), many(10.0, 30, 900)), problems=["gateway x: no answer."])
    lines = text(figures, State(chosen="model-020"), decisions=decided((), figures))
    assert lines[0].startswith("herd top · http://gateway:8000")
    assert "4 of 4 gateways · last 10 s" in lines[0]
    assert lines[1].split() == ["MODEL", "STATE", "READY", "RUN", "WAIT", "REQ/S", "TOK/S", "FIRST95", "NEXT95"]
    (chosen,) = [line for line in lines if line.startswith("model-020")]
    assert (
        chosen.split() == ["model-020", "running", "30/30", "60", "38", "40.0", "8000", "400", "ms", "196", "ms"][:7] + chosen.split()[7:]
    )
    assert "! gateway x: no answer." in lines
    assert "model-001 3→4, 0 s ago: The load grows, and a start takes 95 s." in lines
    assert lines[-1].startswith("q quit")


def test_detail_has_latencies_reasons_starts_and_replicas_from_where_its_reader_is() -> None:
    size = Verdict(NOW_S, 4, 3, "The queue grows.", 3.2, 3.5, binds="gpus", held="unknown")
    look_now = look(5, [facts("m", ready=100, size=size)], {}, starting={"m": ["replica x on n: loading weights, 41 s"]})
    figures = compare(None, look_now)
    lines = text(figures, State(detail=True, first=90))
    assert lines[1] == "m: running, 100 of 4 replicas"
    assert "first token   no stream in this time" in lines
    assert any(line.startswith("autoscaling   The queue grows. Load: 3.2 replicas now") for line in lines)
    assert "Limit: gpus. Held: unknown." in " ".join(" ".join(lines).split())
    assert "starting      replica x on n: loading weights, 41 s" in lines
    replicas = [line for line in lines if line.startswith("m#")]
    assert replicas[0].split() == ["m#r0090", "ready", "10.0.0.90", "8", "0", "1", "60", "s"]
    assert len(replicas) <= 10


def test_what_is_not_known_of_a_replica_is_a_dash_and_a_slow_one_is_called_so() -> None:
    rows = [row("m", replicas=(Seat("r1", "ready", slow=True), Seat("r2", "sick")), ttft=Latency(0.1, 2.0), requests_s=20_000.0)]
    lines = text(Figures(rows), State(detail=True))
    assert [line.split() for line in lines if line.startswith("r")][-2:] == [
        ["r1", "slow", "–", "–", "0", "0", "–"],
        ["r2", "sick", "–", "–", "0", "0", "–"],
    ]
    assert "first token   half within 100 ms, 95 % within 2.0 s" in lines
    assert any("20.0k/s" in line for line in lines)


def test_no_text_of_a_herd_reaches_the_terminal_as_a_command() -> None:
    evil = "a\x1b]0;x\x07\x1b[2Jb\r\n\u202e"
    size = Verdict(NOW_S, 4, 3, evil * 3)
    seats = (Seat(evil, evil, evil),)
    figures = Figures([replace(row(evil), replicas=seats, size=size, starting=(evil,))], problems=[evil])
    for state in (State(), State(detail=True), State(types=True, words=evil), State(words="a")):
        text(figures, state, decisions=decided((), figures))
    assert plain(evil) == "a�]0;x��[2Jb���"


class Counted(Sequence[Any]):
    """Replicas of which it is known how many are looked at."""

    def __init__(self, seats: Sequence[Any]) -> None:
        self._seats = seats
        self.looked_at = 0

    def __len__(self) -> int:
        return len(self._seats)

    def __getitem__(self, index: Any) -> Any:
        found = self._seats[index]
        self.looked_at += len(found) if isinstance(index, slice) else 1
        return found

    def __iter__(self) -> Iterator[Any]:
        self.looked_at += len(self._seats)
        return iter(self._seats)


@pytest.mark.parametrize("count", [100, 10_000])
@pytest.mark.parametrize("key", [DOWN, ENTER, "s", "?", "/"])
def test_a_key_costs_the_same_however_many_replicas_there_are(count: int, key: str) -> None:
    seats = Counted(facts("m", ready=count).seats)
    figures = Figures([row("m", replicas=seats)])
    for state in (State(), State(chosen="m", detail=True, first=count // 2)):
        state = after(state, key, figures)
        lines = frame(figures, state, (), "x", (80, 24), NOW_S)
        assert len(lines) <= 24
    assert seats.looked_at <= 2 * 24


@pytest.mark.parametrize("count", [10, 1000])
def test_only_models_that_are_seen_are_drawn(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    figures = Figures([replace(row(f"model-{number}"), requests_s=1.0) for number in range(count)])
    real = drawing._model

    def counting(row: Row, width: int, chosen: bool) -> Any:
        drawn.append(row.model)
        return real(row, width, chosen)

    monkeypatch.setattr(drawing, "_model", counting)
    frame(figures, State(chosen=f"model-{count // 2}"), (), "x", (80, 24), NOW_S)
    assert len(drawn) <= 22
    assert f"model-{count // 2}" in drawn


def test_buckets_of_the_made_up_herd_are_those_of_its_histograms() -> None:
    page = many(1.0, 1, 1).pages["10.1.0.0:9000"]["model-000"]
    assert len(page.ttft.counts) == len(BOUNDS) + 1

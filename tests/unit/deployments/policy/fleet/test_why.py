"""Why a model waits, in sentences that an operator reads at night."""

from dataclasses import replace

import pytest

from deployments.policy.fleet.events import Event, Kind
from deployments.policy.fleet.model_state import ModelState, Standing
from deployments.policy.fleet.seats import PLACING, STARTING, Seat
from deployments.policy.fleet.why import ASK_THERE, MOST_CHARACTERS, NO_DECISION, OLD_S, WAIT, Facts, Finding, why
from deployments.policy.records.starts import ENGINE, FAILED, GATE, LOAD, READY, WEIGHTS, Start
from deployments.policy.records.verdict import Verdict

NOW = 2000.0
STARTS = Standing(ModelState.STARTING, 0, 1)
UP = Start("scout", "old", "10.0.0.2", "0.1.0", 100.0, ((WEIGHTS, 100.0), (ENGINE, 101.0), (LOAD, 110.0), (GATE, 205.0)), 210.0, READY)
GOING = Start("scout", "abc", "10.0.0.2", "0.1.0", 1938.0, ((WEIGHTS, 1938.0), (ENGINE, 1940.0), (LOAD, 1959.0)))
SEAT = Seat("abc", STARTING, "10.0.0.2", since=1938.0, start=GOING)


def said(facts: Facts) -> list[str]:
    return [finding.what for finding in why(facts, NOW)]


def test_model_at_zero_says_that_it_starts_with_its_first_request() -> None:
    zero = Facts("scout", Standing(ModelState.AT_ZERO, 0, 0), ())
    assert why(zero, NOW) == (Finding("It is at zero: it has no replica while nobody asks for it, and starts with its first request.", ""),)
    assert said(replace(zero, starts=(UP,), queue=2)) == [
        "It is at zero: it has no replica while nobody asks for it, and starts with its first request, which takes about 110 s. "
        "2 requests wait for that now."
    ]
    failed = replace(UP, outcome=FAILED, error="no memory")
    assert said(replace(zero, starts=(failed,), queue=1))[0].endswith("1 request waits for that now.")
    assert said(replace(zero, starts=(failed,)))[1].endswith("no memory")


def test_engine_without_a_place_says_what_is_short_and_since_when() -> None:
    short = "it takes 8 GPUs on one node; 10.0.0.1 has 2 of 8 free"
    waits = Facts("scout", replace(STARTS, why=short), (Seat("abc", PLACING),), asked=NOW - 300)
    (finding,) = why(waits, NOW)
    assert finding.what == f"It waits for a place: {short}. The last change began 5 min ago."
    assert finding.todo
    assert finding.since_s == 300
    assert said(replace(waits, asked=None)) == [f"It waits for a place: {short}."]
    assert why(replace(waits, standing=STARTS), NOW) == (Finding("Ray is placing 1 replica.", WAIT),)


def test_start_says_its_phase_its_seconds_and_what_is_usual() -> None:
    (finding,) = why(Facts("scout", STARTS, (SEAT,), (UP, GOING)), NOW)
    assert finding == Finding(
        "Replica abc on 10.0.0.2: loading weights, 41 s of about 95 s, 62 s in all; a start takes about 110 s.", "", 62.0
    )
    assert said(Facts("scout", STARTS, (SEAT,), (GOING,))) == [
        "Replica abc on 10.0.0.2: loading weights, 41 s (no earlier start to compare), 62 s in all."
    ]


def test_start_that_takes_far_longer_than_usual_has_a_way_out() -> None:
    late = replace(SEAT, start=replace(GOING, phases=((LOAD, 1000.0),)))
    (finding,) = why(Facts("scout", STARTS, (late,), (UP,)), NOW)
    assert finding.todo == "That is far more than usual. `herd logs scout --replica abc -f` shows what it does."


def test_process_that_has_not_begun_its_start_imports_vllm() -> None:
    assert said(Facts("scout", STARTS, (replace(SEAT, start=None, since=1990.0),))) == [
        "Replica abc on 10.0.0.2: its process starts, and imports vLLM, 10 s."
    ]
    assert said(Facts("scout", STARTS, (Seat("abc", STARTING),))) == ["Replica abc: its process starts, and imports vLLM."]


def test_replicas_that_are_there_and_not_well_are_told() -> None:
    up = Standing(ModelState.RUNNING, 1, 3)
    rows = (
        Seat("s", "sick", "10.0.0.1", canary="wrong", since=1000.0),
        Seat("t", "sick", "10.0.0.1"),
        Seat("d", "dead", "10.0.0.2"),
        Seat("l", "ready", "10.0.0.3", slow=True),
    )
    assert said(Facts("scout", up, rows)) == [
        "Replica s on 10.0.0.1 is sick: its canary is wrong.",
        "Replica t on 10.0.0.1 is sick: its canary is not right.",
        "The engine of replica d on 10.0.0.2 is dead, or does not answer.",
        "Replica l on 10.0.0.3 is far slower than the others, and gets requests only while these are full.",
    ]
    assert all(finding.todo for finding in why(Facts("scout", up, rows), NOW))
    its_words = "its canary is wrong: it said ' 8, 7' instead of ' 8, 9'"
    assert said(Facts("scout", up, rows[:1], canaries={"s": its_words})) == [f"Replica s on 10.0.0.1 is sick: {its_words}."]


def test_last_failures_say_their_cause_and_where_its_log_is() -> None:
    failed = replace(GOING, replica="f", ended=1990.0, outcome=FAILED, error="ValueError: no such tokenizer")
    killed = replace(GOING, replica="k", phases=())
    facts = Facts("scout", STARTS, (SEAT,), (UP, failed, killed, GOING))
    first, second, third = why(facts, NOW)
    assert first.what.startswith("Replica abc")
    assert second.what == "A start on 10.0.0.2 failed 10 s ago while loading weights: ValueError: no such tokenizer"
    assert second.todo.startswith("Put the tokenizer's files")
    assert second.todo.endswith("`herd logs scout --replica f` has all of it.")
    assert third.todo.startswith("`dmesg -T")
    assert third.what == (
        "A start on 10.0.0.2 failed 62 s ago: it ended without a word, as a process that is killed (no memory left, or by hand)"
    )
    well = Facts("scout", Standing(ModelState.RUNNING, 1, 1), (Seat("a", "ready", since=1400.0),), (failed,))
    assert said(well) == ["It runs, its oldest replica for 10 min.", second.what], "an upgrade was tried in vain"
    later = replace(UP, replica="l", began=1995.0)
    assert said(replace(well, starts=(failed, later))) == ["It runs, its oldest replica for 10 min."]


def test_replicas_that_die_again_and_again_are_told_though_the_model_runs() -> None:
    deaths = [
        Event(NOW - 900 + 300 * number, Kind.DEATH, "it is gone from 10.0.0.2 without a word", "scout", f"d{number}") for number in range(3)
    ]
    runs = Facts("scout", Standing(ModelState.RUNNING, 1, 1), (Seat("a", "ready", since=1990.0),), (), deaths=deaths)
    _, dying = why(runs, NOW)
    assert dying.what == "3 of its replicas have died, the last one 5 min ago: it is gone from 10.0.0.2 without a word."
    assert dying.todo.startswith("`herd logs scout --replica d2` has its last lines. `dmesg -T")
    assert len(why(replace(runs, deaths=deaths[:1]), NOW)) == 1, "one death is an accident"


def test_death_is_told_while_the_replica_is_missing() -> None:
    death = Event(NOW - 5, Kind.DEATH, "the engine says that it is dead", "scout", "old")
    facts = Facts("scout", Standing(ModelState.UNHEALTHY, 0, 1), (SEAT,), (UP, GOING), deaths=[death])
    starting, died = why(facts, NOW)
    assert starting.what.startswith("Replica abc")
    assert died.what == "One of its replicas has died 5 s ago: the engine says that it is dead."
    assert died.todo == "`herd logs scout --replica old` has its last lines."


def test_application_that_ray_serve_has_given_up_says_its_last_words() -> None:
    given_up = Facts("scout", Standing(ModelState.UNHEALTHY, 0, 1), (), said="NotFit: no\n" + "x" * 9999)
    (finding,) = why(given_up, NOW)
    assert finding.what.startswith("Ray Serve says: NotFit: no xxx")
    assert len(finding.what) == MOST_CHARACTERS + len("Ray Serve says: ")
    assert finding.todo == "Mend the cause, then `herd up FILE` again."
    assert said(replace(given_up, seats=(Seat("abc", PLACING),))) == ["Ray is placing 1 replica."], "it goes on by itself"


def test_model_that_ray_serve_has_not_begun_is_told_so() -> None:
    assert said(Facts("scout", STARTS, ())) == ["1 of 1 replicas are not there, and Ray Serve has not begun them."]


def test_gateway_alone_does_not_know_what_ray_serve_does() -> None:
    (finding,) = why(Facts("scout", STARTS, (), by_http=True), NOW)
    assert finding == Finding("No replica takes requests, as far as a gateway can tell.", ASK_THERE)


def test_model_that_runs_says_so_and_who_waits() -> None:
    up = Standing(ModelState.RUNNING, 2, 2)
    assert said(Facts("scout", up, (), queue=1)) == ["It runs. 1 request waits at the gateway: all replicas are full."]


def test_model_that_is_stopped_says_how_it_is_started() -> None:
    failed = Start("scout", "a", "10.0.0.2", "0.1.0", 900.0, ended=950.0, outcome="failed", error="no memory")
    (found,) = why(Facts("scout", Standing(ModelState.STOPPED, 0, 0), (), (failed,)), 1000.0)
    assert (found.what, found.todo) == ("It is stopped: its operator has taken its engines away.", "`herd start scout` starts it.")


def test_size_by_the_load_has_its_reason() -> None:
    up = Standing(ModelState.RUNNING, 2, 2)
    size = Verdict(NOW - 4, 2, 1, "1.4 replicas of load now: 2 instead of 1, for 2 GPUs.")
    *_, last = why(Facts("scout", up, (), size=size), NOW)
    assert last == Finding("Autoscaling: 1.4 replicas of load now: 2 instead of 1, for 2 GPUs.", "", 4.0)


@pytest.mark.parametrize(
    ("binds", "todo"),
    [
        ("gpus", "`scaling.gpus` allows no more."),
        ("other models", "`scaling.priority` says which model comes first."),
        ("cluster", "The cluster has no more GPUs."),
    ],
)
def test_limit_that_keeps_replicas_away_is_named_by_its_field(binds: str, todo: str) -> None:
    size = Verdict(NOW, 2, 2, "9 replicas of load now: 2 stay, for 2 GPUs.", binds=binds)
    assert why(Facts("scout", STARTS, (SEAT,), size=size), NOW)[-1].todo == todo


def test_decision_that_is_old_says_that_none_is_made() -> None:
    size = Verdict(NOW - OLD_S - 1, 2, 2, "2 stay.")
    last = why(Facts("scout", STARTS, (SEAT,), size=size), NOW)[-1]
    assert last == Finding("Autoscaling last decided 61 s ago: 2 stay.", NO_DECISION, 61.0)


def test_objective_that_no_number_meets_is_told() -> None:
    size = Verdict(NOW, 2, 2, "2 stay.", notice="no number of replicas meets slo.ttft_s 0.1")
    assert said(Facts("scout", STARTS, (SEAT,), size=size))[-1] == "No number of replicas meets slo.ttft_s 0.1."

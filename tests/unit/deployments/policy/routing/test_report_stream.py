"""The stream of a replica's reports: its pace, its lines, and when it is late."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.routing.load_query import LONGEST_S
from deployments.policy.routing.policies import WARM_S
from deployments.policy.routing.replica_report import SUSPECTED_AFTER
from deployments.policy.routing.report_stream import HEARTBEAT_S, MOST_PER_S, Pace, changes, is_due, is_news, pace, patience_s, until_tick

IDLE = {"ongoing": 0, "kv_usage": 0.0, "ready_s": 100.0}


@pytest.mark.parametrize("replicas", [0, 1, 8, 32])
def test_few_replicas_speak_every_period_and_once_a_second_while_idle(replicas: int) -> None:
    assert pace(0.2, replicas) == Pace(0.2, 0.2, HEARTBEAT_S)
    assert pace(5.0, replicas) == Pace(5.0, 5.0, 5.0)


@given(st.integers(1, 10_000), st.floats(0.001, 10))
def test_gateway_hears_no_more_lines_however_many_replicas_there_are(replicas: int, period_s: float) -> None:
    wanted = pace(period_s, replicas)
    assert replicas / wanted.every_s <= max(MOST_PER_S, replicas / period_s if replicas / period_s < MOST_PER_S else 0) + 1e-6
    assert wanted.every_s <= wanted.quiet_s <= LONGEST_S


def test_one_more_replica_seldom_changes_the_pace_of_all() -> None:
    assert len({pace(0.2, replicas) for replicas in range(513, 1025)}) == 1


def test_replica_that_speaks_every_period_is_suspected_after_so_many() -> None:
    assert patience_s(0.2, 0.2) == pytest.approx(SUSPECTED_AFTER * 0.2)
    assert patience_s(1.0, 0.2) == pytest.approx(1.4), "an idle one as many periods after its heartbeat is late"


def test_line_has_what_differs() -> None:
    assert changes({}, IDLE) == IDLE
    assert changes(IDLE, IDLE | {"ongoing": 1, "canary": ""}) == {"ongoing": 1, "canary": ""}


def test_age_alone_is_news_only_of_a_young_replica() -> None:
    assert not is_news(IDLE, IDLE | {"ready_s": 101.0})
    assert is_news(IDLE, IDLE | {"ongoing": 1})
    young = IDLE | {"ready_s": WARM_S / 2}
    assert is_news(young, young | {"ready_s": WARM_S / 2 + 1})
    assert not is_news({"ongoing": 0}, {"ongoing": 0})


@given(st.floats(0, 1e6), st.floats(0.01, 60))
def test_next_tick_is_neither_at_once_nor_late(now_s: float, every_s: float) -> None:
    left = until_tick(now_s, every_s)
    assert 0.1 * every_s < left <= 1.1 * every_s


def test_replicas_that_speak_equally_often_tick_together() -> None:
    assert {round(now_s + until_tick(now_s, 0.2), 6) for now_s in (10.01, 10.05, 10.1)} == {10.2}
    assert until_tick(10.1999, 0.2) == pytest.approx(0.2001), "a timer that came early is no second tick"


def test_idle_replica_speaks_at_the_last_tick_before_it_would_be_late() -> None:
    second = Pace(0.2, 0.2, 1.0)
    assert [is_due(silent_s, second) for silent_s in (0.2, 0.8, 1.0)] == [False, False, True]
    many = Pace(0.2, 5.12, 5.12)
    assert is_due(5.12, many)
    assert is_due(3.0, many), "its first tick comes at any time"

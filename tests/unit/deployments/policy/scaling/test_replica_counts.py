"""Which replicas are starting, from the numbers of Ray Serve."""

import pytest

from cluster.scaling.observation import Start
from deployments.policy.records import starts
from deployments.policy.scaling.replica_counts import MOST_LEFT, Counts, draining, followed, start_times_s, starting, whole


@pytest.mark.parametrize(
    ("wanted", "running", "ranks", "replicas"),
    [(3, 2, 1, (3, 2)), (8, 4, 4, (2, 1)), (8, 7, 4, (2, 1)), (5, 3, 4, (2, 0)), (0, 0, 4, (0, 0))],
)
def test_trap_18_ranks_are_counted_as_whole_replicas(wanted: int, running: int, ranks: int, replicas: tuple[int, int]) -> None:
    assert whole(wanted, running, ranks) == replicas


def after(*steps: tuple[float, int, int]) -> Counts:
    """What is known after Ray Serve has told this target and this number of running replicas at each of these times."""
    counts: Counts | None = None
    for now_s, target, ready in steps:
        counts = followed(counts, target, ready, now_s)
    assert counts is not None
    return counts


def test_start_begins_when_the_target_grows() -> None:
    assert after((0, 1, 1), (5, 3, 1), (9, 4, 1)).begun_s == (5, 5, 9)


def test_oldest_start_becomes_ready_first() -> None:
    assert after((0, 1, 1), (5, 2, 1), (9, 3, 1), (20, 3, 2)).begun_s == (9,)


def test_newest_start_is_given_up_first() -> None:
    assert after((0, 1, 1), (5, 2, 1), (9, 3, 1), (10, 2, 1)).begun_s == (5,)


def test_replica_that_died_starts_again_from_then_on() -> None:
    assert after((0, 3, 3), (7, 3, 2)).begun_s == (7,)


def test_more_replicas_than_wanted_are_no_starts() -> None:
    assert after((0, 1, 3)).begun_s == ()


def test_trap_16_replica_that_ran_and_was_given_up_drains_for_a_while() -> None:
    counts = after((0, 3, 3), (10, 2, 3), (11, 2, 2), (20, 1, 2))
    assert [draining(counts, 30, now_s) for now_s in (20, 39, 41, 51)] == [2, 2, 1, 0]


def test_time_since_which_one_is_ready_begins_anew_where_none_was() -> None:
    assert after((0, 1, 0)).ready_s is None
    assert after((0, 1, 0), (5, 1, 1), (9, 2, 2)).ready_s == 5
    assert after((0, 1, 1), (5, 1, 0), (9, 1, 1)).ready_s == 9


def test_replica_that_was_given_up_before_it_was_ready_drains_nothing() -> None:
    assert draining(after((0, 3, 1), (5, 1, 1)), 30, 6) == 0
    assert draining(after((0, 3, 2), (5, 1, 2)), 30, 6) == 1
    assert draining(after((0, 3, 2)), 30, 6) == 0


def test_replicas_that_were_given_up_are_remembered_within_bounds() -> None:
    assert len(after((0, 500, 500), (5, 1, 500)).left_s) == MOST_LEFT


def start(began: float, ended: float | None, outcome: str) -> starts.Start:
    return starts.Start("scout", "r", "node", "1.0", began, ended=ended, outcome=outcome)


def test_trap_9_failed_attempts_since_a_start_was_asked_for_are_told_of_the_oldest() -> None:
    known = [start(1, 4, starts.FAILED), start(11, 15, starts.FAILED), start(16, 19, starts.FAILED), start(30, 35, starts.FAILED)]
    assert starting(Counts(3, 1, (10.0, 20.0)), known) == (Start(10.0, 2), Start(20.0, 1))
    assert starting(Counts(2, 1, (10.0,)), known) == (Start(10.0, 3),)
    assert starting(Counts(1, 1), known) == ()


def test_start_times_are_those_that_came_up() -> None:
    known = [start(1, 4, starts.FAILED), start(11, 41, starts.READY), start(50, None, "")]
    assert start_times_s(known) == (30.0,)

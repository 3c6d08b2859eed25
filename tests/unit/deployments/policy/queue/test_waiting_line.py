"""Who waits for room: the order, the bounds, and what is said about time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.queue.waiting_line import DwellTimes, Line
from deployments.policy.request.calls import Priority

NOW, HURRY, BATCH = 100.0, Priority.INTERACTIVE, Priority.BATCH


def line_of(*waiting: tuple[str, Priority]) -> Line[str]:
    line: Line[str] = Line()
    for name, priority in waiting:
        line.join(name, priority, NOW)
    return line


def test_who_is_in_a_hurry_goes_first_and_else_who_came_first() -> None:
    line = line_of(("a", BATCH), ("b", HURRY), ("c", BATCH), ("d", HURRY))
    assert list(line) == ["b", "d", "a", "c"]
    assert (len(line), line.ahead(HURRY), line.ahead(BATCH)) == (4, 2, 4)
    line.leave("d", HURRY)
    line.leave("d", HURRY)
    line.leave("a", BATCH)
    assert list(line) == ["b", "c"]


@given(st.lists(st.tuples(st.integers(), st.sampled_from(Priority)), unique_by=lambda one: one[0]))
def test_nobody_in_a_hurry_waits_behind_a_batch(waiting: list[tuple[int, Priority]]) -> None:
    line: Line[int] = Line()
    for name, priority in waiting:
        line.join(name, priority, NOW)
    classes = dict(waiting)
    assert [classes[name] for name in line] == sorted(classes.values())


def test_how_long_it_takes_follows_from_how_fast_requests_end() -> None:
    line = line_of(("a", HURRY), ("b", BATCH))
    assert line.expected_s(HURRY, NOW) is None, "nothing has ended yet"
    for ends in range(1, 5):
        line.ended(NOW + ends)
    assert line.expected_s(HURRY, NOW + 4) == 2.0
    assert line.expected_s(BATCH, NOW + 4) == 3.0


def test_until_a_request_has_ended_the_pace_is_that_of_those_before() -> None:
    dwell = DwellTimes()
    assert dwell.between_ends_s is None
    for _ in range(4):
        dwell.began()
    assert dwell.between_ends_s is None, "none has ended, and so none says how long they take"
    for lasted_s in (3.0, 5.0):
        dwell.ended(lasted_s)
    line: Line[str] = Line(dwell.between_ends_s)
    line.join("a", HURRY, NOW)
    assert line.expected_s(HURRY, NOW) == 4.0, "two are there, for four seconds each, and there is one before"
    line.ended(NOW + 1)
    assert line.expected_s(HURRY, NOW + 1) == 2.0
    line.interrupted()
    assert line.expected_s(HURRY, NOW + 2) is None


def test_a_line_that_should_move_and_does_not_is_expected_to_stand_as_long_again() -> None:
    line: Line[str] = Line(0.5)
    line.join("a", HURRY, NOW)
    assert [line.retry_after_s(HURRY, NOW + stands_s) for stands_s in (0, 17)] == [1, 17]


def test_a_quiet_hour_before_the_line_formed_says_nothing() -> None:
    line: Line[str] = Line()
    for ends in range(5):
        line.ended(NOW + ends)
    line.join("a", HURRY, NOW + 3600)
    assert line.expected_s(HURRY, NOW + 3600) is None
    line.ended(NOW + 3601)
    assert line.expected_s(HURRY, NOW + 3601) == 2.0


def test_a_full_line_refuses_and_a_half_full_one_refuses_batches() -> None:
    line = line_of(("a", HURRY), ("b", HURRY))
    assert line.refusal(HURRY, NOW, most=3, longest_s=9) is None
    assert line.refusal(BATCH, NOW, most=4, longest_s=9) is not None
    refusal = line.refusal(HURRY, NOW, most=2, longest_s=9)
    assert refusal is not None
    assert refusal.retry_after_s == 1


def test_who_would_wait_too_long_is_refused_at_once_with_the_time() -> None:
    line = line_of(*((str(number), HURRY) for number in range(9)))
    line.ended(NOW + 2)
    assert line.refusal(HURRY, NOW + 2, most=99, longest_s=23) is None
    refusal = line.refusal(HURRY, NOW + 2, most=99, longest_s=22)
    assert refusal is not None
    assert refusal.retry_after_s == 20


@pytest.mark.parametrize(("ended_after_s", "told"), [(0.0, 1), (0.2, 1), (3.55, 8), (1e9, 120)])
def test_times_that_clients_are_told(ended_after_s: float, told: int) -> None:
    line = line_of(("a", HURRY))
    line.ended(NOW + ended_after_s)
    assert line.retry_after_s(HURRY, NOW + ended_after_s) == told


def test_a_line_that_does_not_move_is_expected_to_stand_as_long_again() -> None:
    line = line_of(("a", HURRY))
    assert [line.retry_after_s(HURRY, NOW + stands_s) for stands_s in (0, 17, 500)] == [1, 17, 120]


def test_what_was_before_all_replicas_went_says_nothing() -> None:
    line = line_of(("a", HURRY))
    line.ended(NOW + 1)
    line.interrupted()
    assert (line.expected_s(HURRY, NOW + 300), line.retry_after_s(HURRY, NOW + 300)) == (None, 1)
    for ends in range(2):
        line.ended(NOW + 300 + ends)
    assert line.expected_s(HURRY, NOW + 301) == 2.0

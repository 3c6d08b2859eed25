"""`deployments.policy.routing.availability`: what clients are told to wait comes true."""

import pytest

from deployments.policy.routing.availability import NEVER, RETRY_AFTER_S

READY, DEAD, NONE = (True, 40.0), (False, 40.0), (False, 0.0)
"""Whether a replica takes requests, and how long its start took."""


def test_model_that_has_never_been_there_promises_nothing() -> None:
    never = NEVER.after(*NONE, 100.0)
    assert (never.ever_ready, never.retry_after_s(500.0)) == (False, RETRY_AFTER_S)


@pytest.mark.parametrize(("later_s", "told_s"), [(0.0, 40), (10.5, 30), (39.5, 1), (40.0, RETRY_AFTER_S), (900.0, RETRY_AFTER_S)])
def test_who_asks_later_is_told_to_wait_less(later_s: float, told_s: int) -> None:
    gone = NEVER.after(*READY, 0.0).after(*DEAD, 100.0).after(*NONE, 105.0)
    assert gone.retry_after_s(100.0 + later_s) == told_s


def test_an_outage_says_more_than_a_start() -> None:
    """Ray must notice, and the process must come up, before a start begins."""
    back = NEVER.after(*READY, 0.0).after(*NONE, 100.0).after(*READY, 170.0)
    assert back.gone_at is None
    assert back.after(*NONE, 500.0).retry_after_s(500.0) == 70


def test_a_moments_doubt_does_not_make_the_next_start_shorter() -> None:
    doubted = NEVER.after(*READY, 0.0).after(*DEAD, 100.0).after(*READY, 100.2)
    assert doubted.after(*NONE, 500.0).retry_after_s(500.0) == 40


def test_start_that_took_longer_is_what_the_next_one_takes() -> None:
    ready = NEVER.after(*READY, 0.0)
    assert ready.after(True, 30.0, 1.0) is ready
    assert ready.after(True, 50.0, 1.0).after(*NONE, 500.0).retry_after_s(500.0) == 50


def test_idle_time_of_a_model_that_starts_on_demand_is_no_outage() -> None:
    gone = NEVER.after(*READY, 0.0, True).after(*NONE, 100.0, True)
    back = gone.after(True, 30.0, 5000.0, True)
    assert (back.gone_at, back.takes_s) == (None, 30.0), "its last start, and not the hour without requests"
    unknown = gone.after(True, 0.0, 5000.0, True)
    assert unknown.takes_s == 40.0

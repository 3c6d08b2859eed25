"""`deployments.policy.routing.availability`: what clients are told to wait comes true."""

import pytest

from deployments.policy.routing.availability import NEVER, RETRY_AFTER_S
from deployments.policy.routing.types import ReplicaState, ReplicaView


def view(state: ReplicaState, start_s: float = 40.0) -> ReplicaView:
    return ReplicaView("one", "scout", "127.0.0.1", 1, state, 0, start_s=start_s)


READY, DEAD = view(ReplicaState.READY), view(ReplicaState.DEAD)


def test_model_that_has_never_been_there_promises_nothing() -> None:
    never = NEVER.after([], 100.0)
    assert (never.ever_ready, never.retry_after_s(500.0)) == (False, RETRY_AFTER_S)


@pytest.mark.parametrize(("later_s", "told_s"), [(0.0, 40), (10.5, 30), (39.5, 1), (40.0, RETRY_AFTER_S), (900.0, RETRY_AFTER_S)])
def test_who_asks_later_is_told_to_wait_less(later_s: float, told_s: int) -> None:
    gone = NEVER.after([READY], 0.0).after([DEAD], 100.0).after([], 105.0)
    assert gone.retry_after_s(100.0 + later_s) == told_s


def test_an_outage_says_more_than_a_start() -> None:
    """Ray must notice, and the process must come up, before a start begins."""
    back = NEVER.after([READY], 0.0).after([], 100.0).after([READY], 170.0)
    assert back.gone_at is None
    assert back.after([], 500.0).retry_after_s(500.0) == 70


def test_a_moments_doubt_does_not_make_the_next_start_shorter() -> None:
    doubted = NEVER.after([READY], 0.0).after([DEAD], 100.0).after([READY], 100.2)
    assert doubted.after([], 500.0).retry_after_s(500.0) == 40

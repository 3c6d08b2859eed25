"""`deployments.policy.routing.types`: who may serve, and what is said where nobody can."""

import pytest
from msgspec.structs import replace

from deployments.policy.request.calls import Priority
from deployments.policy.routing.types import RunsAtOnce, most_requests, unavailable
from tests.unit.samples import replica


@pytest.mark.parametrize(
    ("ever_ready", "code", "word"), [(False, "engine_starting", "is starting"), (True, "engine_gone", "a replacement")]
)
def test_error_says_whether_it_was_ever_there(ever_ready: bool, code: str, word: str) -> None:
    error = unavailable("llama", ever_ready, 5)
    assert (error.status, error.reason, error.retry_after_s) == (503, code, 5)
    assert word in error.message
    assert error.message.endswith("Try again in 5 s.")


@pytest.mark.parametrize(
    ("slots", "requests", "priority", "room"),
    [
        (0, 10_000, Priority.INTERACTIVE, True),
        (0, 10_000, Priority.BATCH, True),
        (16, 15, Priority.INTERACTIVE, True),
        (16, 16, Priority.INTERACTIVE, False),
        (16, 13, Priority.BATCH, True),
        (16, 14, Priority.BATCH, False),
        (2, 1, Priority.BATCH, False),
        (1, 0, Priority.BATCH, True),
    ],
)
def test_room_for_another_request(slots: int, requests: int, priority: Priority, room: bool) -> None:
    assert (requests < most_requests(replace(replica("a"), slots=slots), priority)) is room


def test_full_memory_with_requests_before_it_is_no_room() -> None:
    full = replace(replica("a"), slots=16, kv_usage=0.99)
    assert most_requests(full, Priority.INTERACTIVE) == 16
    assert most_requests(replace(full, waiting=1), Priority.INTERACTIVE) == 0


@pytest.mark.parametrize(
    ("slots", "ongoing", "waiting", "kv_usage", "room"),
    [(0, 5, 0, 0.5, 0), (16, 5, 0, 0.99, 16), (16, 5, 2, 0.9, 16), (16, 5, 2, 0.99, 3), (16, 2, 2, 0.99, 1)],
)
def test_replica_with_full_memory_runs_what_it_has(slots: int, ongoing: int, waiting: int, kv_usage: float, room: int) -> None:
    assert RunsAtOnce().after(slots, ongoing, waiting, kv_usage) == room


def test_limit_of_memory_is_kept_until_more_runs_without_being_held_up() -> None:
    runs = RunsAtOnce()
    seen = [(12, 4, 0.99), (6, 0, 0.7), (0, 0, 0.0), (11, 0, 0.8), (30, 2, 0.5), (20, 5, 0.97)]
    assert [runs.after(16, *one) for one in seen] == [8, 8, 8, 11, 16, 15]

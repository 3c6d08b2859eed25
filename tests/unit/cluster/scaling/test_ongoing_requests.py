"""`cluster.scaling.ongoing_requests`: enough replicas, no more than enough; and the hook that Ray Serve calls."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scaling.ongoing_requests import desired_replicas
from deployments.ray_calls.scaling_policy import ONGOING, ROOM, WAITING, ByOngoingRequests

ONGOING_REQUESTS = st.lists(st.integers(0, 10_000).map(float), max_size=20)
TARGETS = st.integers(1, 4096).map(float)


@pytest.mark.parametrize(
    ("ongoing", "target", "replicas"), [([], 32, 1), ([0, 0], 32, 1), ([32], 32, 1), ([33], 32, 2), ([40, 40, 40], 32, 4), ([3], 0.5, 6)]
)
def test_replicas(ongoing: list[float], target: float, replicas: int) -> None:
    assert desired_replicas(ongoing, target) == replicas


@given(ONGOING_REQUESTS, TARGETS)
def test_enough_and_no_more_than_enough(ongoing: list[float], target: float) -> None:
    replicas = desired_replicas(ongoing, target)
    assert replicas >= 1
    assert replicas * target >= sum(ongoing)
    assert replicas == 1 or (replicas - 1) * target < sum(ongoing)


@given(ONGOING_REQUESTS, st.integers(0, 10_000), TARGETS, TARGETS)
def test_more_requests_or_a_lower_target_never_need_fewer(ongoing: list[float], more: float, target: float, other: float) -> None:
    low, high = sorted((target, other))
    assert desired_replicas([*ongoing, more], high) >= desired_replicas(ongoing, high)
    assert desired_replicas(ongoing, low) >= desired_replicas(ongoing, high)


@pytest.mark.parametrize(
    ("ongoing", "waiting", "room", "replicas"),
    [
        ([16], [0], [16], 1),
        ([16], [1], [16], 2),
        ([16], [1], [0], 1),
        ([16, 16], [20, 20], [16, 16], 4),
        ([16, 16], [20, 5], [16, 16], 4),
        ([16, 16], [20, 20], [16, 0], 4),
        ([16], [0], [64], 1),
        ([9], [3], [9], 2),
        ([8, 8, 0], [4, 4, 4], [8, 8, 256], 3),
        ([7, 7, 6], [0, 0, 0], [8, 8, 8], 3),
        ([1, 20, 20], [0, 0, 0], [1, 64, 64], 2),
    ],
    ids=[
        "full",
        "full and one waits",
        "room unknown",
        "waiting counts once",
        "one has heard less",
        "one has not said",
        "target below",
        "KV full",
        "a new replica has not met its limit",
        "load that is spread out keeps its replicas",
        "one with a giant request is no measure",
    ],
)
def test_what_waits_is_demand_and_a_target_beyond_the_room_is_not_believed(
    ongoing: list[float], waiting: list[float], room: list[float], replicas: int
) -> None:
    assert desired_replicas(ongoing, 32, 1, waiting, room) == replicas


def test_ranks_of_a_replica_have_the_room_of_all_together_and_hear_of_the_same_line() -> None:
    assert desired_replicas([4.0] * 4, 32, 4, [6.0] * 4, [4.0] * 4) == 8, "16 run and 6 wait, and a replica of four ranks runs 16"


@given(st.lists(st.integers(1, 64).map(float), min_size=1, max_size=8), st.integers(1, 10_000), TARGETS)
def test_model_whose_replicas_are_all_full_gets_one_more_while_requests_wait(slots: list[float], waiting: int, target: float) -> None:
    per_replica = [slots[0]] * len(slots)
    assert desired_replicas(per_replica, target, 1, [float(waiting)] * len(slots), per_replica) > len(slots)


@dataclass
class Range:
    """As much of Ray Serve's autoscaling config as the hook reads."""

    target_ongoing_requests: float = 10


@dataclass
class Context:
    """As much of Ray Serve's `AutoscalingContext` as the hook reads."""

    aggregated_metrics: dict[str, dict[str, float]] | None
    config: Range = field(default_factory=Range)


@pytest.mark.parametrize(("metrics", "replicas"), [(None, 1), ({}, 1), ({"other": {"a": 99.0}}, 1), ({ONGOING: {"a": 15.0, "b": 6.0}}, 3)])
def test_hook_reads_what_engines_say_of_themselves(metrics: dict[str, dict[str, float]] | None, replicas: int) -> None:
    assert ByOngoingRequests()(Context(metrics)) == (replicas, {})
    assert ByOngoingRequests(ranks=4)(Context(metrics)) == (4 * replicas, {}), "Ray counts ranks, and a replica has four"


def test_hook_reads_what_waits_at_gateways_and_what_engines_can_run() -> None:
    metrics = {ONGOING: {"a": 4.0, "b": 4.0}, WAITING: {"a": 5.0, "b": 5.0}, ROOM: {"a": 4.0, "b": 4.0}}
    assert ByOngoingRequests()(Context(metrics)) == (4, {}), "8 run and 5 wait, and a replica runs 4"

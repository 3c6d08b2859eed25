"""`cluster.scaling.ongoing_requests`: enough replicas, no more than enough; and the hook that Ray Serve calls."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scaling.ongoing_requests import desired_replicas
from deployments.ray_calls.scaling_policy import ONGOING, ByOngoingRequests

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

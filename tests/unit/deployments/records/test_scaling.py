"""The policy in Ray Serve's controller tells of a target that has changed, and decides as before."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.policy.fleet.events import Kind
from deployments.ray_calls.scaling_policy import ONGOING, ROOM, WAITING, ByOngoingRequests
from deployments.records import scaling
from deployments.records.scaling import Scaling


@dataclass
class Context:
    """What Ray Serve tells a policy."""

    target_num_replicas: int
    app_name: str = "model.org~scout"
    aggregated_metrics: dict[str, dict[str, float]] = field(
        default_factory=lambda: {ONGOING: {"a": 12.0}, WAITING: {"a": 0.0}, ROOM: {"a": 4.0}}
    )
    config: Any = field(default_factory=lambda: SimpleNamespace(target_ongoing_requests=4))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    events: list[tuple[str, str, str]] = []

    class Told:
        def __init__(self, who: str) -> None:
            assert who == "autoscaling"

        def tell(self, kind: str, words: str, model: str) -> None:
            events.append((kind, words, model))

    monkeypatch.setattr(scaling, "Teller", Told)
    return events


def test_changed_target_is_an_event_and_the_first_and_a_steady_one_are_none(told: list[tuple[str, str, str]]) -> None:
    policy = Scaling()
    for target in (2, 2, 3, 3, 1):
        policy(Context(target))
    assert told == [
        (Kind.SCALE, "Ray Serve now wants 3 replicas instead of 2", "org/scout"),
        (Kind.SCALE, "Ray Serve now wants 1 replicas instead of 3", "org/scout"),
    ]


def test_ranks_are_told_as_whole_replicas(told: list[tuple[str, str, str]]) -> None:
    policy = Scaling(ranks=4)
    for target in (4, 8):
        policy(Context(target))
    assert [words for _, words, _ in told] == ["Ray Serve now wants 2 replicas instead of 1"]


@pytest.mark.usefixtures("told")
def test_number_is_decided_as_before() -> None:
    assert Scaling()(Context(2)) == ByOngoingRequests()(Context(2))

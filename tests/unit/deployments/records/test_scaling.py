"""The policy in Ray Serve's controller tells of a target that has changed, and decides as before."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from deployments.policy.fleet.events import Kind
from deployments.ray_calls.scaling_policy import ONGOING, ROOM, WAITING, ByOngoingRequests
from deployments.records.event_log import Teller
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


class Told(Teller):
    """Keeps events in a list."""

    def __init__(self, process: str) -> None:
        super().__init__(process)
        self.process = process
        self.events: list[tuple[str, str, str]] = []

    def tell(self, kind: str, words: str, model: str = "", subject: str = "") -> None:
        assert not subject
        self.events.append((kind, words, model))


def told(*targets: int, ranks: int = 1) -> list[tuple[str, str, str]]:
    """Returns the events of a policy that Ray Serve asks while it wants these numbers, one after the other."""
    tellers: list[Told] = []

    def teller(process: str) -> Told:
        tellers.append(Told(process))
        return tellers[-1]

    policy = Scaling(ranks, teller)
    for target in targets:
        policy(Context(target))
    assert [one.process for one in tellers] == ["autoscaling"]
    return tellers[0].events


def test_changed_target_is_an_event_and_the_first_and_a_steady_one_are_none() -> None:
    assert told(2, 2, 3, 3, 1) == [
        (Kind.SCALE, "Ray Serve now wants 3 replicas instead of 2", "org/scout"),
        (Kind.SCALE, "Ray Serve now wants 1 replicas instead of 3", "org/scout"),
    ]


def test_ranks_are_told_as_whole_replicas() -> None:
    assert [words for _, words, _ in told(4, 8, ranks=4)] == ["Ray Serve now wants 2 replicas instead of 1"]


def test_number_is_decided_as_before() -> None:
    assert Scaling()(Context(2)) == ByOngoingRequests()(Context(2))

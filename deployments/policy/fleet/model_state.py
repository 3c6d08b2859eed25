"""How a model is doing, in one word, from what Ray Serve says and what the gateways see.

Decides over plain counts. Ray Serve alone goes on calling a replica healthy whose engine is dead; the gateways' rosters know better.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class ModelState(StrEnum):
    """One word for a model."""

    RUNNING = "running"
    """At least one replica takes requests."""
    STARTING = "starting"
    UNHEALTHY = "unhealthy"
    """No replica takes requests, and it is not because they are still starting."""
    AT_ZERO = "at zero"
    """It has no replica because nobody asks for it, and starts with its first requests."""
    STOPPED = "stopped"
    """An operator has taken its engines away."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A model's state and replicas."""

    state: ModelState
    running: int
    target: int
    ongoing: int = 0
    """Requests inside its replicas."""
    why: str = ""
    """The lack for which an engine of it waits, where one has no place."""


_GOING = frozenset({"STOPPING"})
_FAILED = frozenset({"DEPLOY_FAILED", "UNHEALTHY"})


def standing(application: str | None, replicas: Mapping[str, int], ready: int, wanted: int, ongoing: int = 0, ranks: int = 1) -> Standing:
    """How a model is doing.

    Args:
        application: Ray Serve's word for its application; None where there is none.
        replicas: Ray Serve's count of its processes that answer requests, by their state.
        ready: those that say to a gateway that they take requests.
        wanted: the fewest that the config wants; with 0 it may have none.
        ongoing: requests inside its replicas.
        ranks: processes of one replica that answer requests (data-parallel attention); it counts while any of them does.
    """
    staying = {state: count for state, count in replicas.items() if state not in _GOING}
    target = max(wanted, -(-sum(staying.values()) // ranks))
    if ready:
        return Standing(ModelState.RUNNING, -(-ready // ranks), target, ongoing)
    if not wanted and not staying and application == "RUNNING":
        return Standing(ModelState.AT_ZERO, 0, 0, ongoing)
    starting = application in (None, "NOT_STARTED", "DEPLOYING") or staying.get("STARTING", 0) or not staying
    state = ModelState.STARTING if starting and application not in _FAILED else ModelState.UNHEALTHY
    return Standing(state, 0, target, ongoing)

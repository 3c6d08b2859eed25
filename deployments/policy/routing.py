"""Which replica serves a request: filter, score, pick, over frozen views.

Decides from what a replica said of itself and what this gateway has in flight there. Further scorers (prefix overlap, KV pressure,
session) are further functions into [0, 1] beside `idleness`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from deployments.policy.errors import Unavailable


class ReplicaState(StrEnum):
    """What a replica says of itself."""

    READY = "ready"
    LEAVING = "leaving"
    """Finishes what it has and takes nothing new."""
    DEAD = "dead"
    """Its process lives and its engine does not."""


class Reason(StrEnum):
    """Why a replica was picked; also a metric's label."""

    ONLY = "only"
    LEAST_LOADED = "least_loaded"


@dataclass(frozen=True, slots=True)
class ReplicaView:
    """One engine replica as a gateway sees it."""

    id: str
    model: str
    host: str
    port: int
    state: ReplicaState
    ongoing: int
    """Requests inside it when it last spoke."""


@dataclass(frozen=True, slots=True)
class Pick:
    """The replica that serves a request, and why this one."""

    replica: ReplicaView
    reason: Reason


def pick(replicas: Sequence[ReplicaView], sent: Mapping[str, int]) -> Pick | None:
    """The least loaded of the replicas that take requests; None where none does.

    Args:
        replicas: every replica of one model.
        sent: requests that this gateway has in flight, by replica id. It is newer than what the replica said, and other gateways'
            requests are in what it said: the larger of the two is the better guess.
    """
    ready = [replica for replica in replicas if replica.state is ReplicaState.READY]
    if not ready:
        return None
    best = max(ready, key=lambda replica: (idleness(replica, sent), replica.id))
    return Pick(best, Reason.ONLY if len(ready) == 1 else Reason.LEAST_LOADED)


def idleness(replica: ReplicaView, sent: Mapping[str, int]) -> float:
    """1 where nothing runs, towards 0 the more does."""
    return 1 / (1 + max(replica.ongoing, sent.get(replica.id, 0)))


def unavailable(model: str, ever_ready: bool, retry_after_s: int) -> Unavailable:
    """The error for a model that no replica serves now: it is starting, or it was there and has gone."""
    if ever_ready:
        message, code = f"No engine of '{model}' is alive at the moment; a replacement is starting.", "engine_gone"
    else:
        message, code = f"The model '{model}' is starting.", "engine_starting"
    return Unavailable(f"{message} Try again in {retry_after_s} s.", code=code, retry_after_s=retry_after_s)

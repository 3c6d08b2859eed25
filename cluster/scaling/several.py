"""Several models on GPUs of a fixed number: which gets how many, by priority, and in which order replicas come and go.

First every model gets its `min_replicas`, those of higher priority first. The rest goes by priority to what the load asks for; models of
one priority share it so that each has about the same part of what it asks for, the first replica of each before the second of any. One that
is there is not taken away for a part that is larger by a hair: noise in what two models ask for would move replicas to and fro. A model
that must come up takes the GPUs of lower ones: these give replicas up at once, and the start waits until the last of them has drained. At
no time do ready, starting and draining replicas ask for more GPUs than exist.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import floor

from cluster.scaling.limits import Bound
from cluster.scaling.work import TINY


@dataclass(frozen=True, slots=True)
class Claim:
    """The replicas that one model asks for, and those that it has. A model that is split into prefill and decode makes two claims."""

    model: str
    priority: int
    """Higher ones come first."""
    wanted: int
    """Replicas: the target of the model's own decision."""
    least: int
    present: int
    """Replicas that it was last told to have."""
    draining: int = 0
    gpus_per_replica: float = 1.0


@dataclass(frozen=True, slots=True)
class Grant:
    """The replicas that one model gets."""

    model: str
    target: int
    """Replicas that it may have now."""
    due: int
    """Replicas that it will have once others have drained."""
    reason: str
    binds: Bound | None = None
    """The limit that keeps it below the replicas it asks for."""


def share(claims: Sequence[Claim], gpus: float, used: float = 0.0) -> tuple[Grant, ...]:
    """Returns a grant for each claim, in their order.

    Args:
        claims: of all models.
        gpus: that exist.
        used: of these, as Ray sees it: also by what makes no claim, or drains for longer than is thought.
    """
    due = _due(claims, gpus)
    down = [min(one.present, replicas) for one, replicas in zip(claims, due, strict=True)]
    # A replica that is given up now holds its GPUs until it has drained, like those that drain already.
    held = sum((one.present + one.draining) * one.gpus_per_replica for one in claims)
    free = gpus - max(held, used)
    targets = list(down)
    for index in sorted(range(len(claims)), key=lambda index: -claims[index].priority):
        one = claims[index]
        room = max(0, floor(free / one.gpus_per_replica + TINY))
        more = max(0, min(due[index] - one.present, room))
        targets[index] += more
        free -= more * one.gpus_per_replica
        if targets[index] < due[index]:
            free = 0.0  # what drains now is for this one: none of lower priority takes it before
    return tuple(
        Grant(one.model, target, replicas, _reason(one, target, replicas, claims, due), _bound(one, target, claims, due))
        for one, target, replicas in zip(claims, targets, due, strict=True)
    )


def _due(claims: Sequence[Claim], gpus: float) -> list[int]:
    """The replicas of each model once all drains are over."""
    order = sorted(range(len(claims)), key=lambda index: -claims[index].priority)
    due, left = [0] * len(claims), gpus
    for index in order:
        one = claims[index]
        due[index] = min(max(0, one.least), floor(left / one.gpus_per_replica + TINY))
        left -= due[index] * one.gpus_per_replica
    for _, group in groupby(order, key=lambda index: claims[index].priority):
        left = _fill(claims, list(group), due, left)
    return due


def _fill(claims: Sequence[Claim], group: Sequence[int], due: list[int], left: float) -> float:
    """Gives one replica after the other to the model of a group that has the smallest part of what it asks for; returns what is left."""
    while True:
        short = [index for index in group if due[index] < claims[index].wanted and claims[index].gpus_per_replica <= left + TINY]
        if not short:
            return left
        index = min(short, key=lambda index: _part(claims[index], due[index]))
        due[index] += 1
        left -= claims[index].gpus_per_replica


def _part(one: Claim, due: int) -> float:
    """The part of what a model asks for that it has with so many replicas. The first one comes first, and one that is there sooner."""
    return (due - (due < one.present)) / one.wanted if due else -1.0


def _bound(one: Claim, target: int, claims: Sequence[Claim], all_due: Sequence[int]) -> Bound | None:
    if target >= max(one.wanted, one.least):
        return None
    others = (other is not one and (due or other.present or other.draining) for other, due in zip(claims, all_due, strict=True))
    return "other models" if any(others) else "cluster"


def _reason(one: Claim, target: int, due: int, claims: Sequence[Claim], all_due: Sequence[int]) -> str:
    wanted = max(one.wanted, one.least)
    if target < due:
        giving = [other.model for other, replicas in zip(claims, all_due, strict=True) if replicas < other.present or other.draining]
        of = f" of {' and '.join(giving)}" if giving else ""
        return f"{one.model}: {target} now, {due} once GPUs{of} are free."
    if due == wanted:
        return f"{one.model}: {due}, as it asks for."
    first = [other.model for other in claims if other.priority > one.priority and (other.wanted or other.least)]
    floors = [other.model for other in claims if other.priority < one.priority and other.least]
    why = f"the GPUs go to {' and '.join(first)} first" if first else "there are no more GPUs"
    kept = f", but for those of min_replicas of {' and '.join(floors)}" if floors else ""
    return f"{one.model}: {due} of the {wanted} that it asks for; {why}{kept}."

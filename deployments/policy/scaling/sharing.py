"""One model among others that want the same GPUs: what it claims, and its decision as far as GPUs are there for it.

Decides what a model gives up for others and what it keeps: where its load is not known, or while two releases of it run, it keeps all that
it has. Who gets what is `cluster.scaling.several`'s.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cluster.scaling import schedules
from cluster.scaling.decision import Decision
from cluster.scaling.limits import Limits
from cluster.scaling.several import Claim, Grant
from deployments.policy.scaling.replica_counts import Counts, draining
from deployments.policy.scaling.turn import Memory

#: Ray's view of free GPUs may be so old. A replica that is given up holds its own for as long, whatever Ray says; then Ray is believed.
VIEW_S = 10.0
NOT_KNOWN = "The GPUs and the claims of all models are not known yet, so that no replica is added."


@dataclass(frozen=True, slots=True)
class Place:
    """One model's place among all: it stands in the arguments of its policy."""

    priority: int = 0
    gpus: float = 0.0
    """Of one replica; 0: it takes none."""
    coming: float = 0.0
    """GPUs that the cluster may have, where Ray adds nodes; 0: it has those that are there."""


def place_of(plain: Mapping[str, Any] | None) -> Place:
    """Reads a place from the arguments of a policy; that of a model which takes no GPU where there is none.

    Raises:
        TypeError: it is another release's.
    """
    return Place(**(plain or {}))


def claimed(model: str, place: Place, decision: Decision, memory: Memory, limits: Limits, now_s: float) -> Claim:
    """Returns the claim of a model that has just decided for itself, from the memory of that turn."""
    counts = memory.counts or Counts(decision.target, decision.target)
    if decision.held is not None or memory.rolling:
        least = min(decision.target, counts.target)
    else:
        hour = schedules.floor(limits.schedules, now_s, 0.0) if limits.schedules else None
        floor = decision.target if decision.binds == "schedule" else max(limits.least, hour.least if hour is not None else 0)
        least = min(decision.target, floor)
    return replace(fixed(model, place, counts, now_s, memory.leaving), wanted=decision.target, least=least)


def fixed(model: str, place: Place, counts: Counts, now_s: float, leaving: int = 0) -> Claim:
    """Returns the claim of a model that keeps the number that it has.

    Args:
        model: its id.
        place: among all.
        counts: of its replicas.
        now_s: the time.
        leaving: replicas that say themselves that they drain.
    """
    # More than are wanted run while an upgrade starts new ones beside the old ones, and until Ray Serve stops those that are given up.
    drain = max(leaving, draining(counts, VIEW_S, now_s), counts.ready - counts.target)
    return Claim(model, place.priority, counts.target, counts.target, counts.target, drain, place.gpus)


def kept(claim: Claim) -> Claim:
    """Returns the claim of a model that has not told one lately: it keeps what it has."""
    return replace(claim, wanted=claim.present, least=claim.present)


def granted(decision: Decision, grant: Grant) -> Decision:
    """Returns a model's own decision as far as it is granted."""
    if grant.target >= decision.target:
        return decision
    reason = f"By itself: {decision.reason} Among all models: {grant.reason}"
    return replace(decision, target=grant.target, reason=reason, binds=grant.binds)


def waiting(decision: Decision, present: int) -> Decision:
    """Returns a model's own decision while it is not known what there is to share: nothing is added to what it has."""
    if decision.target <= present:
        return decision
    return replace(decision, target=present, reason=f"By itself: {decision.reason} {NOT_KNOWN}")

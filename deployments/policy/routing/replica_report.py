"""A replica's report, as a gateway's view of it, and the meaning of its silence.

Decides over decoded JSON and ages. A report of an older or newer release may lack fields or have more: what is missing keeps its default.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from deployments.policy.routing.types import ReplicaState, ReplicaView, Trust

_SAID = frozenset(ReplicaView.__struct_fields__) - {"trust"}
_STATES = frozenset(ReplicaState)

#: Periods without a report after which a replica is suspected, avoided, and given up if its machine takes no connection either.
SUSPECTED_AFTER, AVOIDED_AFTER, GIVEN_UP_AFTER = 3, 8, 25


def view_of(report: Mapping[str, Any]) -> ReplicaView:
    """A replica's report as a view of it. A state that only a newer release knows is none in which to send it requests."""
    said = {name: value for name, value in report.items() if name in _SAID}
    state = ReplicaState(said["state"]) if said["state"] in _STATES else ReplicaState.LEAVING
    return ReplicaView(**said | {"state": state})


def after_silence(view: ReplicaView, periods: float, reached: bool) -> ReplicaView:
    """The view of a replica that has not been heard of for so many periods; the same one where nothing changes.

    A single lost report is nothing: an engine that is busy with a long prompt answers late. One that is given up takes no requests until
    it is heard of again. A replica whose machine still takes connections is never given up for its silence: the check of one client's
    large request can make it silent for seconds, and it may be the only replica. Where there are others, it is avoided. If it never answers
    again, Ray's health check ends it.

    Args:
        view: what is known of it.
        periods: how long it has been silent.
        reached: its machine took a new connection a moment ago.
    """
    if periods >= GIVEN_UP_AFTER and not reached:
        return view if view.state is ReplicaState.DEAD else replace(view, state=ReplicaState.DEAD, trust=Trust.AVOIDED)
    trust = Trust.AVOIDED if periods >= AVOIDED_AFTER else Trust.SUSPECTED if periods >= SUSPECTED_AFTER else Trust.TRUSTED
    return view if view.trust is trust else replace(view, trust=trust)


def is_older(view: ReplicaView, other: ReplicaView) -> bool:
    """Whether a replica had made a report before another one of its own, as far as it counts them."""
    return 0 < view.number < other.number


def still_silent(before: ReplicaView | None, told: ReplicaView) -> ReplicaView:
    """Returns the view of a replica that a gateway doubts: Ray can reach it, and that it answers requests is not said by that."""
    if before is None or before.trust is Trust.TRUSTED:
        return told
    given_up = before.trust is Trust.AVOIDED and before.state is ReplicaState.DEAD
    return replace(told, trust=before.trust, state=ReplicaState.DEAD if given_up else told.state)

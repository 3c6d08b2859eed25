"""The notices of a cloud before it takes a machine away: what to ask its metadata server, and what the answers mean.

Sources: AWS, "Spot Instance interruption notices" and "Scheduled events for your instances"; Google Cloud, "Preempted VMs" and "Live
migration and host maintenance" (machines with GPUs do not migrate, and are told an hour before).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType

from configs.inventory import Cloud

#: Google Cloud takes a preempted machine away after 30 s, and one with GPUs an hour after it has announced maintenance.
PREEMPTED_S, MAINTENANCE_S = 30.0, 3600.0
#: What is announced for later than this is not yet a reason to leave.
LEAD_S = 3600.0
#: Left over for the machine's own way down.
SPARE_S = 10.0

AWS_SPOT, AWS_EVENTS = "/latest/meta-data/spot/instance-action", "/latest/meta-data/events/maintenance/scheduled"
GCP_PREEMPTED, GCP_EVENT = "/computeMetadata/v1/instance/preempted", "/computeMetadata/v1/instance/maintenance-event"
#: What to ask, by cloud.
QUESTIONS: Mapping[Cloud, tuple[str, ...]] = MappingProxyType({"aws": (AWS_SPOT, AWS_EVENTS), "gcp": (GCP_PREEMPTED, GCP_EVENT)})
#: Scheduled events after which nothing of the machine's processes is left.
_ENDS = frozenset({"instance-reboot", "instance-retirement", "instance-stop", "system-reboot", "system-maintenance"})


@dataclass(frozen=True, slots=True)
class Notice:
    """This machine will be taken away."""

    why: str
    within_s: float
    """Seconds in which everything should have left it; never below one."""


def notice(question: str, body: str, now: datetime) -> Notice | None:
    """Reads the notice in an answer to a question; none where the machine stays, or the answer is not understood.

    Args:
        question: one of `QUESTIONS`.
        body: of an answer with status 200. Anything else means no.
        now: with its zone.
    """
    try:
        read = _READERS[question](body.strip())
        if read is None:
            return None
        why, when = read
        left_s = when if isinstance(when, float) else (when - now).total_seconds()
        return Notice(why, max(1.0, left_s - SPARE_S)) if left_s <= LEAD_S else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


_Read = tuple[str, datetime | float] | None


def _spot(said: str) -> _Read:
    told = json.loads(said)
    return f"spot {told['action']}", datetime.fromisoformat(told["time"])


def _events(said: str) -> _Read:
    coming = [
        (datetime.strptime(one["NotBefore"], "%d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC), str(one["Code"]))
        for one in json.loads(said)
        if one["Code"] in _ENDS and one.get("State", "active") == "active"
    ]
    return (min(coming)[1], min(coming)[0]) if coming else None


def _preempted(said: str) -> _Read:
    return ("preempted", PREEMPTED_S) if said == "TRUE" else None


def _maintenance(said: str) -> _Read:
    return ("host maintenance", MAINTENANCE_S) if said == "TERMINATE_ON_HOST_MAINTENANCE" else None


_READERS = MappingProxyType({AWS_SPOT: _spot, AWS_EVENTS: _events, GCP_PREEMPTED: _preempted, GCP_EVENT: _maintenance})

"""The arguments of a model's policy, among them the decision's limits, as JSON and back.

Decides nothing. Ray Serve keeps the arguments of a policy as JSON, and tells them again to a controller that starts anew.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from cluster.scaling.limits import Limits, Tuning
from cluster.scaling.schedules import schedule
from cluster.scaling.work import Pace, Slo
from deployments.policy.scaling.load_report import Unit


@dataclass(frozen=True, slots=True)
class Wanted:
    """The arguments of one model's policy."""

    limits: Limits
    unit: Unit
    """In which requests are weighed: `tokens` where `limits.pace` is the planner's."""
    target_ongoing: float
    ranks: int = 1
    """Of data-parallel attention, which Ray counts as replicas."""

    @property
    def moves(self) -> bool:
        """Returns whether there is anything to decide."""
        return self.limits.least != self.limits.most


def as_plain(wanted: Wanted) -> dict[str, Any]:
    """Returns it as JSON has it."""
    hours = [{"text": one.text, "zone": one.zone.key, "least": one.least} for one in wanted.limits.schedules]
    return asdict(replace(wanted, limits=replace(wanted.limits, schedules=()))) | {"schedules": hours}


def of_plain(plain: dict[str, Any]) -> Wanted:
    """Reads what `as_plain` wrote.

    Raises:
        Exception: it is another release's.
    """
    rest = {name: value for name, value in plain.items() if name not in ("limits", "schedules")}
    said = dict(plain["limits"])
    made = {
        "pace": Pace(**said.pop("pace")),
        "tuning": Tuning(**said.pop("tuning")),
        "schedules": tuple(schedule(one["text"], one["zone"], one["least"]) for one in plain["schedules"]),
    }
    slo = said.pop("slo")
    return Wanted(limits=Limits(**(said | made | {"slo": None if slo is None else Slo(**slo)})), **rest)

"""The arguments of a model's policy, among them the decision's limits, as JSON and back.

Decides nothing. Ray Serve keeps the arguments of a policy as JSON, and tells them again to a controller that starts anew.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

from cluster.planner.speed import StepCosts
from cluster.scaling.limits import Limits, Tuning
from cluster.scaling.pace import Replica
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
    made: dict[str, Any] = {
        "pace": Pace(**said.pop("pace")),
        "tuning": Tuning(**said.pop("tuning")),
        "schedules": tuple(schedule(one["text"], one["zone"], one["least"]) for one in plain["schedules"]),
    }
    slo, replica = said.pop("slo"), said.pop("replica")
    made["slo"] = None if slo is None else Slo(**slo)
    made["replica"] = None if replica is None else Replica(**(replica | {"costs": StepCosts(**replica["costs"])}))
    return Wanted(limits=Limits(**(said | made)), **rest)

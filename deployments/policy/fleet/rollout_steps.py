"""In which steps a running herd becomes another one, over what is declared to Ray Serve as plain data.

Decides the order: one model after the other, each only when the one before has come up, and then everything else at once. So what is wrong
with a release or a setting costs one engine's start, and the models that come after have not been touched.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

Declared = Mapping[str, Any]
"""Ray Serve's `ServeDeploySchema` as JSON."""

#: What a replica is made of. All else of an application is told to the replicas that run.
_MADE_OF = ("import_path", "args", "runtime_env")


@dataclass(frozen=True, slots=True)
class Step:
    """One step, and what must have come up before the next."""

    declared: Declared
    application: str | None = None
    """The one application whose replicas are replaced by it; None where it is the last step, and everything must be there."""
    places: tuple[str, ...] = ()
    """Applications whose engines must have their places before the next step: smaller ones come after."""


def steps(before: Declared | None, after: Declared, gateway: str) -> tuple[Step, ...]:
    """The steps from what runs to what is wanted; where nothing runs there is one.

    Args:
        before: what was declared when everything last was up.
        after: what is wanted.
        gateway: the gateway's application, which is told of everything in the last step.
    """
    if before is None:
        return (Step(after),)
    now, wanted = _by_name(before), _by_name(after)
    found = []
    for name, application in wanted.items():
        if name != gateway and name in now and _made_of(now[name]) != _made_of(application):
            now = now | {name: application}
            found.append(Step({**before, "applications": list(now.values())}, name))
    return (*found, Step(after))


def largest_first(wanted: Declared, gateway: str) -> tuple[Step, ...]:
    """Returns the steps where nothing runs: engines that take more GPUs get their places before those that take fewer.

    A node that a small engine shares has no room for one that takes it whole, and Ray never moves what it has placed. The gateway comes in
    the last step, and with it models that begin without a replica. Engines of one size, and those without GPUs of a known number, come
    together.

    Args:
        wanted: what is to be declared.
        gateway: the gateway's application.
    """
    sizes = {one["name"]: _gpus(one) for one in wanted["applications"] if one["name"] != gateway and not _begins_at_zero(one)}
    found, declared = [], list[str]()
    for size in sorted(set(sizes.values()), reverse=True)[:-1]:
        placed = tuple(name for name, own in sizes.items() if own == size)
        declared += placed
        found.append(Step({**wanted, "applications": [one for one in wanted["applications"] if one["name"] in declared]}, places=placed))
    return (*found, Step(wanted))


def _begins_at_zero(application: Mapping[str, Any]) -> bool:
    return any((one.get("autoscaling_config") or {}).get("min_replicas") == 0 for one in application.get("deployments") or ())


def _gpus(application: Mapping[str, Any]) -> int:
    """Counts the GPUs of one replica, all its stages and ranks together."""
    shape = (application.get("args") or {}).get("model", {}).get("parallel", {})
    return int(shape.get("tensor", 1)) * int(shape.get("pipeline", 1)) * int(shape.get("data", 1))


def regrouped(running: Mapping[str, Any], wanted: Declared) -> list[str]:
    """The applications that must go before they can come again: their models have another number of ranks now.

    Ray Serve replaces replicas one by one or gang by gang; from one to the other it waits for ever.

    Args:
        running: Ray Serve's details of each application, by its name.
        wanted: what is to be declared.
    """
    named = {name: details.get("deployed_app_config") or {} for name, details in running.items()}
    return [one["name"] for one in wanted["applications"] if one["name"] in named and _ranks(named[one["name"]]) != _ranks(one)]


def _ranks(application: Mapping[str, Any]) -> int:
    return int((application.get("args") or {}).get("model", {}).get("parallel", {}).get("data", 1))


def stopping_first(declared: Declared, names: Collection[str]) -> Declared:
    """The same, where these applications stop an old replica before they start a new one: there is no room for both."""
    return {**declared, "applications": [_stopping_first(one) if one["name"] in names else one for one in declared["applications"]]}


def _stopping_first(application: Mapping[str, Any]) -> dict[str, Any]:
    return {**application, "deployments": [{**one, "max_surge_percent": 0} for one in application["deployments"]]}


def _by_name(declared: Declared) -> dict[str, Mapping[str, Any]]:
    return {one["name"]: one for one in declared["applications"]}


def _made_of(application: Mapping[str, Any]) -> list[Any]:
    return [application.get(name) for name in _MADE_OF]

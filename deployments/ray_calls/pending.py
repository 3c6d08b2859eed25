"""Placement groups of Ray Serve's that wait for room, and the room that there is. Needs a connection to Ray.

Decides nothing. The names that Ray Serve gives its groups are not documented; only this file knows them. Ray is imported when a function is
called: most of the herd's commands run without it.
"""

from typing import Any

from deployments.policy.fleet.placement_reason import Demand, NodeRoom
from deployments.ray_calls.names import ENGINE
from deployments.ray_calls.nodes import free, living

#: How Ray Serve calls the group of a replica, and that of a gang of ranks.
REPLICA, GANG = "SERVE_REPLICA::", "SERVE_GANG::"
WAITING = ("PENDING", "RESCHEDULING")


def pending(application: str) -> Demand | None:
    """Returns what an engine of an application waits for; None where none waits."""
    waiting = (group for group in _groups(application) if group["state"] in WAITING)
    return next((Demand(tuple(dict(bundle) for bundle in group["bundles"].values()), group["strategy"]) for group in waiting), None)


def placed(application: str) -> bool:
    """Tells whether an application's engines have their places: at least one has, and none waits."""
    states = [group["state"] for group in _groups(application) if group["state"] != "REMOVED"]
    return bool(states) and not set(states) & set(WAITING)


def _groups(application: str) -> list[dict[str, Any]]:
    import ray

    beginnings = (f"{REPLICA}{application}#{ENGINE}#", f"{GANG}{application}_{ENGINE}_")
    return [group for group in ray.util.placement_group_table().values() if group["name"].startswith(beginnings)]


def room() -> tuple[NodeRoom, ...]:
    """Returns every node that lives, with what Ray has left to give there."""
    from deployments.ray_calls.drain import draining

    leaving, left = draining(), free()
    return tuple(
        NodeRoom(node.address, node.resources, left.get(node.id, {}), node.labels, draining=node.id in leaving) for node in living()
    )

"""Ray Serve ↔ `herd up`: declares applications, and reads how they are. Needs a connection to Ray.

Decides nothing. Ray is imported when a function is called: most of the herd's commands run without it.
"""

import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deployments.policy.fleet.rollout_steps import Declared, regrouped
from deployments.policy.fleet.seats import Placed
from deployments.policy.scaling import policy_arguments
from deployments.ray_calls import cluster_store

#: How long Ray may take to find room for one more replica, where there is some.
ROOM_S = 5.0


class CannotStart(RuntimeError):
    """An application cannot come up; the message has what its replicas said."""

    def __init__(self, message: str, application: str = "") -> None:
        """Args:
        message: for an operator.
        application: its name.
        """
        super().__init__(message)
        self.application = application


def declare(declared: Declared) -> None:
    """Tells Ray Serve what there should be; it changes what differs."""
    from ray import serve
    from ray.serve.context import _get_global_client  # what Ray's own REST handler and `serve deploy` end in; no public name
    from ray.serve.schema import ServeDeploySchema

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it would say that it has connected
    serve.start(proxy_location="Disabled")
    client: Any = _get_global_client()
    client.delete_apps(regrouped(client.get_serve_details().get("applications") or {}, declared))
    alone, told = policy_arguments.apart(declared)
    for name, text in told.items():
        cluster_store.keep(name, text)
    client.deploy_apps(ServeDeploySchema.model_validate(alone))


def runs(declared: Declared) -> bool:
    """Tells whether any of these applications is there."""
    from ray import serve

    return bool({one["name"] for one in declared["applications"]} & serve.status().applications.keys())


def running(wanted: Mapping[str, str]) -> set[str]:
    """Returns those of these applications that Ray Serve has brought to where they were declared to be.

    Args:
        wanted: what to call each application, by its name.

    Raises:
        CannotStart: one of them cannot get there.
    """
    from ray import serve

    applications = serve.status().applications
    for app, what in wanted.items():
        if app in applications and applications[app].status == "DEPLOY_FAILED":
            raise CannotStart(f"{what} could not start.\n{_last_words(applications[app])}", app)
    return {app for app in wanted if app in applications and applications[app].status == "RUNNING"}


def replicas(application: str) -> dict[str, int]:
    """Counts the replicas of an application, by Ray Serve's word for their state."""
    from ray import serve

    found = serve.status().applications.get(application)
    deployments = found.deployments.values() if found is not None else ()
    return {str(state): count for one in deployments for state, count in one.replica_states.items()}


def starting(applications: Collection[str]) -> dict[str, int]:
    """Counts the replicas of applications that Ray Serve starts, or finds no room for; those without an application are left out."""
    from ray import serve

    found = serve.status().applications
    return {
        name: sum(one.replica_states.get("STARTING", 0) for one in found[name].deployments.values())
        for name in applications
        if name in found
    }


@dataclass(frozen=True, slots=True)
class Details:
    """Ray Serve's words about one application's engine."""

    replicas: tuple[Placed, ...] = ()
    said: str = ""
    """The last exception of replicas that could not start, or Ray Serve's own sentence; empty where all is well."""


def details(applications: Collection[str]) -> dict[str, Details]:
    """Returns what Ray Serve says of the replicas of each application; nothing for those that it does not know."""
    from ray import serve
    from ray.serve.context import _get_global_client

    overview = serve.status().applications
    if not overview:
        return {}
    client: Any = _get_global_client()
    found = client.get_serve_details().get("applications") or {}
    return {
        name: Details(tuple(_placed(found[name])), _last_words(overview[name]))
        for name in applications
        if name in found and name in overview
    }


def _placed(application: Mapping[str, Any]) -> Iterator[Placed]:
    for deployment in application["deployments"].values():
        for one in deployment["replicas"]:
            yield Placed(
                one["replica_id"], str(getattr(one["state"], "value", one["state"])), one.get("node_ip") or "", one["start_time_s"] or None
            )


def _last_words(application: Any) -> str:  # noqa: ANN401 (ray.serve.schema.ApplicationStatusOverview)
    """Returns the end of the longest message about what went wrong: the last exception, without its traceback."""
    messages = [application.message, *(deployment.message for deployment in application.deployments.values())]
    lines = [line.rstrip() for line in max(messages, key=len).splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if not line.startswith((" ", "\t")) and _is_error(line)]
    return "\n".join(lines[errors[-1] :][:8] if errors else lines[-5:])


def _is_error(line: str) -> bool:
    return any(word in line.partition(":")[0] for word in ("Error", "NotFit"))


def room_for(bundles: list[dict[str, float]], strategy: str, bundle_label_selector: list[dict[str, str]]) -> bool:
    """Tells whether there is room for one more replica now: Ray is asked to keep it free, and gets it back at once."""
    from ray.util import placement_group, remove_placement_group

    kept = placement_group(bundles, strategy=strategy, bundle_label_selector=bundle_label_selector)
    try:
        return bool(kept.wait(timeout_seconds=ROOM_S))
    finally:
        remove_placement_group(kept)

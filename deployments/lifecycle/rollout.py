"""Declares a herd to Ray Serve, waits for it, and remembers the herd that last came up, so that it can be declared again.

Decides neither the order (`policy.fleet.rollout_steps`) nor what a herd is (`deployments.lifecycle.applications`). Ray Serve starts
and stops the replicas. With `max_surge_percent` it starts a new one first, and an application whose new replicas fail to start keeps
its old ones (DEPLOY_FAILED).
"""

import contextlib
import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from configs.schema import Config
from deployments.policy.fleet.rollout_steps import Declared, regrouped, steps, stopping_first
from deployments.ray_calls.names import GATEWAY

#: How long Ray may take to find room for one more replica, where there is some.
ROOM_S = 5.0
_LAST_GOOD = "came-up.json"


class CannotStart(RuntimeError):
    """An application cannot come up; the message has what its replicas said."""


@dataclass(frozen=True, slots=True)
class CameUp:
    """A herd as it was when all of it last was up."""

    config: Config
    declared: Declared

    def remember(self, folder: Path) -> None:
        """Keeps the herd in a file, wholly or not at all."""
        keep(folder / _LAST_GOOD, json.dumps({"config": self.config.model_dump(mode="json"), "declared": self.declared}))


def keep(path: Path, text: str) -> None:
    """Writes a file of a herd's own folder, wholly or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    half = path.with_name(f"{path.name}.{os.getpid()}")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def last_good(folder: Path) -> CameUp | None:
    """Returns the herd that was remembered; None if there is none, or if a release with another config remembered it."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        kept = json.loads((folder / _LAST_GOOD).read_text(encoding="utf-8"))
        return CameUp(Config.model_validate(kept["config"]), kept["declared"])
    return None


def forget(folder: Path) -> None:
    """Forgets the herd that was remembered: nothing of it runs any more."""
    (folder / _LAST_GOOD).unlink(missing_ok=True)


def roll(
    before: CameUp | None,
    wanted: Declared,
    surges: Callable[[str], bool],
    come_up: Callable[[str | None], None],
    say: Callable[[str], None],
) -> Declared:
    """Goes step by step from what runs to what is wanted.

    Args:
        before: the herd that runs; None if none does.
        wanted: the herd that should run.
        surges: whether an application's new replicas start before its old ones stop; asked when its turn comes.
        come_up: returns when an application, or everything, has come up, and raises where it does not.
        say: tells each step.

    Returns:
        The herd that was declared in the end.
    """
    crowded: set[str] = set()
    for step in steps(None if before is None else before.declared, wanted, GATEWAY):
        if step.application is None:
            say("Deploying")
        elif surges(step.application):
            say(f"Replacing {step.application}: new replicas first")
        else:
            crowded.add(step.application)
            say(f"Replacing {step.application}: there is no room for one more replica, so an old one stops first")
        declared = stopping_first(step.declared, crowded)
        declare(declared)
        come_up(step.application)
    return declared


def declare(declared: Declared) -> None:
    """Tells Ray Serve what there should be; it changes what differs. Needs a connection to Ray, as all below."""
    from ray import serve
    from ray.serve.context import _get_global_client  # what Ray's own REST handler and `serve deploy` end in; no public name
    from ray.serve.schema import ServeDeploySchema

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it would say that it has connected
    serve.start(proxy_location="Disabled")
    client: Any = _get_global_client()
    client.delete_apps(regrouped(client.get_serve_details().get("applications") or {}, declared))
    client.deploy_apps(ServeDeploySchema.model_validate(declared))


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
            raise CannotStart(f"{what} could not start.\n{_last_words(applications[app])}")
    return {app for app in wanted if app in applications and applications[app].status == "RUNNING"}


def replicas(application: str) -> dict[str, int]:
    """Counts the replicas of an application by Ray Serve's word for their state."""
    from ray import serve

    found = serve.status().applications.get(application)
    deployments = found.deployments.values() if found is not None else ()
    return {str(state): count for one in deployments for state, count in one.replica_states.items()}


def _last_words(application: Any) -> str:  # noqa: ANN401 (ray.serve.schema.ApplicationStatusOverview)
    """Returns the end of the longest message about a failure: the last exception, without its stack."""
    messages = [application.message, *(deployment.message for deployment in application.deployments.values())]
    lines = [line.rstrip() for line in max(messages, key=len).splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if not line.startswith((" ", "\t")) and _is_error(line)]
    return "\n".join(lines[errors[-1] :][:8] if errors else lines[-5:])


def _is_error(line: str) -> bool:
    return any(word in line.partition(":")[0] for word in ("Error", "NotFit"))


def room_for(bundles: list[dict[str, float]], strategy: str, bundle_label_selector: list[dict[str, str]]) -> bool:
    """Tells whether there is room for one more replica: Ray is asked to keep the room free, which is given back at once."""
    from ray.util import placement_group, remove_placement_group

    kept = placement_group(bundles, strategy=strategy, bundle_label_selector=bundle_label_selector)
    try:
        return bool(kept.wait(timeout_seconds=ROOM_S))
    finally:
        remove_placement_group(kept)

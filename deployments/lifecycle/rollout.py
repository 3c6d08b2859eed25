"""Declares a herd to Ray Serve, waits for it, and remembers the herd that last came up, so that it can be declared again.

Decides neither the order (`policy.fleet.rollout_steps`) nor what a herd is (`deployments.lifecycle.applications`). Ray Serve
(`ray_calls.serve_api`) starts and stops the replicas. With `max_surge_percent` it starts a new one first, and an application whose new
replicas fail to start keeps its old ones (DEPLOY_FAILED).
"""

import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

from configs.schema import Config
from deployments.lifecycle.memory import BEFORE, CAME_UP, Memory
from deployments.policy.fleet.by_hand import DeclaredHerd
from deployments.policy.fleet.rollout_steps import Declared, largest_first, steps, stopping_first
from deployments.ray_calls import serve_api
from deployments.ray_calls.names import GATEWAY

#: For Ray to place engines for which there is room: Serve's controller builds an application in seconds.
PLACES_S = 30.0


@dataclass(frozen=True, slots=True)
class CameUp:
    """A herd as it was when all of it last was up."""

    herd: DeclaredHerd
    declared: Declared

    @property
    def config(self) -> Config:
        """Returns its config, with the changes by hand."""
        return self.herd.config

    def remember(self, memory: Memory) -> None:
        """Keeps the herd, wholly or not at all. The herd that was up with another file is kept beside it, to go back to by hand."""
        before = last_good(memory)
        if before is not None and before.herd.file != self.herd.file:
            memory.keep(BEFORE, before.text)
        memory.keep(CAME_UP, self.text)

    @property
    def text(self) -> str:
        """Returns the herd as JSON."""
        return json.dumps({"herd": self.herd.model_dump(mode="json"), "declared": self.declared})


def last_good(memory: Memory, name: str = CAME_UP) -> CameUp | None:
    """Returns the herd that was remembered under a name; None if there is none, or if another release remembered it."""
    text = memory.kept(name)
    if text is None:
        return None
    with contextlib.suppress(ValueError, KeyError):
        kept = json.loads(text)
        herd = kept["herd"] if "herd" in kept else {"file": kept["config"]}
        came_up = CameUp(DeclaredHerd.model_validate(herd), kept["declared"])
        return came_up if _is_of_this_release(came_up.declared) else None
    return None


def _is_of_this_release(declared: Declared) -> bool:
    """Tells whether the modules that build these applications are there; a release that moved them cannot declare the herd again."""
    modules = {one["import_path"].partition(":")[0] for one in declared["applications"]}
    return all(_is_there(module) for module in modules)


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def roll(
    before: CameUp | None,
    wanted: Declared,
    surges: Callable[[str], bool],
    come_up: Callable[[str | None], None],
    say: Callable[[str], None],
    placed: Callable[[str], bool],
) -> Declared:
    """Goes step by step from what runs to what is wanted.

    Args:
        before: the herd that runs; None if none does.
        wanted: the herd that should run.
        surges: whether an application's new replicas start before its old ones stop; asked when its turn comes.
        come_up: returns when an application, or everything, has come up, and raises where it does not.
        say: tells each step.
        placed: whether every engine of an application that Ray Serve starts has its place.

    Returns:
        The herd that was declared in the end.
    """
    crowded: set[str] = set()
    fresh = before is None and not serve_api.runs(wanted)  # what runs must stay in what is declared
    for step in largest_first(wanted, GATEWAY) if fresh else steps(None if before is None else before.declared, wanted, GATEWAY):
        if step.places:
            say(f"Deploying {', '.join(step.places)} first: its engines take the most GPUs")
            serve_api.declare(step.declared)
            _wait_for_places(step.places, placed)
            continue
        if step.application is None:
            say("Deploying")
        elif not serve_api.replicas(step.application):
            say(f"Replacing {step.application}: it has no replica now")
        elif surges(step.application):
            say(f"Replacing {step.application}: new replicas first")
        else:
            crowded.add(step.application)
            say(f"Replacing {step.application}: there is no room for one more replica, so an old one stops first")
        declared = stopping_first(step.declared, crowded)
        serve_api.declare(declared)
        come_up(step.application)
    return declared


def _wait_for_places(applications: tuple[str, ...], placed: Callable[[str], bool]) -> None:
    """Waits until these have their places, but not for ever: whatever fits beside an engine that has none should serve."""
    deadline = time.monotonic() + PLACES_S
    while time.monotonic() < deadline and not all(placed(one) for one in applications):
        time.sleep(0.5)

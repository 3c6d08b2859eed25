"""Carries out an operator's commands: brings a herd up, changes it in place, looks at it, takes it down.

Decides the order of steps and when a herd is up: when a real generation has come back from every model. Leaves words and colours to
`deployments.commands`, and the applications themselves to `deployments.lifecycle.applications`.
"""

import dataclasses
import time
from collections.abc import Mapping
from typing import NoReturn

import psutil

from cluster.machine.local_node import NodeError
from cluster.planner.engine_groups import pools
from configs.load import Environment
from configs.schema import Model
from deployments.lifecycle import rollout
from deployments.lifecycle.changing import coming_up, preflight
from deployments.lifecycle.changing.coming_up import replicas as replicas
from deployments.lifecycle.changing.preflight import SMALL, SMALL_ENGINE_GIB
from deployments.lifecycle.changing.preflight import planned as planned
from deployments.lifecycle.known import Herd as Herd
from deployments.lifecycle.known import OperationError as OperationError
from deployments.lifecycle.known import connected as connected
from deployments.lifecycle.known import herd as herd
from deployments.lifecycle.known import known as known
from deployments.lifecycle.memory import CAME_UP, CONFIG
from deployments.lifecycle.rollout import CameUp
from deployments.policy.fleet.rollout_steps import Declared
from deployments.progress import Say
from deployments.ray_calls import pending, serve_api
from deployments.ray_calls.names import app_name


def up(herd: Herd, environment: Environment, say: Say, within_s: float) -> None:
    """Brings a herd up, or changes a running one in place, step by step; returns when every model has generated.

    A change that does not come up is undone: the herd that last was up is declared again. No step, and no replica of a step, may take
    longer than `within_s`.

    Raises:
        OperationError: it could not, with the reason and the way out.
    """
    preflight.preflight(herd)
    checkpoints = preflight.small_checkpoints(herd.config, environment, say)
    herd.remember()  # first: what is started now, `down` must find, however this ends
    models = {app_name(pool.id): pool for pool in pools(herd.config.models)}

    def come_up(application: str | None) -> None:
        if application is None:
            coming_up.wait(herd, say, time.monotonic() + within_s)
            return
        seen = None
        while application not in coming_up.running([application]):  # each of its new replicas has passed its own gate before it counts
            if seen != (now := serve_api.replicas(application)):  # one more has come or gone: many take many times as long
                seen, deadline = now, time.monotonic() + within_s
            coming_up.still([models[application].id], deadline)
            time.sleep(1)

    with connected(herd, say, start=True):
        herd.memory.keep(CONFIG, herd.config.model_dump_json())
        preflight.guarded(herd, say)
        preflight.gathered(herd.config.cluster, say)
        before = _before(herd)
        wanted = _wanted(herd, checkpoints)
        try:
            declared = rollout.roll(before, wanted, lambda application: _surges(herd, models[application]), come_up, say, pending.placed)
        except (OperationError, KeyboardInterrupt) as error:
            if before is None:
                raise
            _roll_back(dataclasses.replace(herd, config=before.config), before, error, say, within_s)
        CameUp(herd.config, declared).remember(herd.memory)


def _before(herd: Herd) -> CameUp | None:
    """Returns the herd to go back to, whoever brought it up; None if nothing of it runs."""
    good = rollout.last_good(herd.memory)
    if good is None or good.config.ray.address != herd.config.ray.address or not serve_api.runs(good.declared):
        return None
    return good


def _surges(herd: Herd, model: Model) -> bool:
    """Tells whether a new replica starts before an old one stops: as the config says, else if there is room for both."""
    if model.surge is not None or model.parallel.data > 1:  # whether there is room for all ranks of a replica cannot be asked
        return bool(model.surge)
    free_gib = psutil.virtual_memory().available / 2**30
    if herd.config.ray.address == "local" and model.checkpoint.startswith(SMALL) and free_gib < SMALL_ENGINE_GIB:
        return False
    from deployments.lifecycle.applications import placed

    return serve_api.room_for(**placed(model, herd.config))


def _roll_back(herd: Herd, before: CameUp, error: BaseException, say: Say, within_s: float) -> NoReturn:
    """Declares the herd that last was up again, and raises an error that says how that went."""
    say("Rolling back to the herd that last was up")
    serve_api.declare(before.declared)
    herd.remember()
    herd.memory.keep(CONFIG, herd.config.model_dump_json())
    if isinstance(error, KeyboardInterrupt):
        raise error
    try:
        coming_up.wait(herd, say, time.monotonic() + within_s)
    except OperationError as worse:
        raise OperationError(f"{error}\nThe change was rolled back, and the herd before it has not come up again: {worse}") from error
    raise OperationError(f"{error}\nRolled back: the herd is what it was before.") from error


def down(herd: Herd, say: Say) -> None:
    """Takes a herd down; a Ray node of its own stops with it, a cluster that was there before stays.

    Raises:
        OperationError: it could not.
    """
    if herd.config.ray.address == "local":
        say("Stopping Ray and everything on it")
        try:
            herd.node.stop()
        except NodeError as error:
            raise OperationError(str(error)) from error
    else:
        with connected(herd, say):
            from ray import serve

            say("Stopping the herd; Ray itself stays")
            serve.shutdown()
            for name in (CONFIG, CAME_UP):
                herd.memory.forget(name)
    herd.forget()


def _wanted(herd: Herd, checkpoints: Mapping[str, str]) -> Declared:
    from deployments.doctor.examine import members
    from deployments.lifecycle.applications import declared

    nodes = sum(not member.draining for member in members())  # on the others no gateway would start any more
    wanted: Declared = declared(herd.config, nodes, checkpoints).model_dump(mode="json", exclude_unset=True)
    return wanted

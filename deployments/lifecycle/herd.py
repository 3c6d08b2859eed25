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
from configs.schema import Config, Model
from deployments.lifecycle import rollout
from deployments.lifecycle.changing import coming_up, declared, going_down, preflight, roll_lock
from deployments.lifecycle.changing.preflight import SMALL, SMALL_ENGINE_GIB
from deployments.lifecycle.changing.preflight import planned as planned
from deployments.lifecycle.changing.rolls import Progress
from deployments.lifecycle.known import Herd as Herd
from deployments.lifecycle.known import OperationError as OperationError
from deployments.lifecycle.known import connected as connected
from deployments.lifecycle.known import herd as herd
from deployments.lifecycle.known import known as known
from deployments.lifecycle.known import remembered as remembered
from deployments.lifecycle.memory import ALL, CONFIG, InFolder
from deployments.lifecycle.rollout import CameUp
from deployments.policy.fleet.by_hand import DeclaredHerd, Order, Refused, overruled, resolved
from deployments.policy.fleet.events import Kind
from deployments.policy.fleet.rollout_steps import Declared
from deployments.progress import Say
from deployments.ray_calls import pending, serve_api
from deployments.ray_calls.names import app_name
from deployments.records import event_log


@dataclasses.dataclass(frozen=True, slots=True)
class Terms:
    """How a change is carried out."""

    within_s: float
    """No step, and no replica of a step, may take longer."""
    force: bool = False
    """The planner's arithmetic is no reason against it."""


def carry_out(herd: Herd, order: Order, environment: Environment, progress: Progress, terms: Terms) -> None:
    """Brings a herd up, or changes a running one in place, step by step; returns when every model has generated.

    A change that does not come up is undone: the herd that last was up is declared again.

    Args:
        herd: the herd, with the config of the order's file if it has one.
        order: the change. Only a whole file starts a Ray node of the herd's own.
        environment: of this process.
        progress: is told each step.
        terms: how long it may take.

    Raises:
        OperationError: it could not, with the reason and the way out.
    """
    whole, checkpoints = order.what == "up" and order.model is None, dict[str, str]()
    if whole:
        preflight.preflight(herd)
        checkpoints = preflight.small_checkpoints(herd.config, environment, progress.say)
    if whole and herd.config.ray.address == "local":
        herd.remember()  # first: what is started now, `down` must find, however this ends
    with connected(herd, progress.say, start=whole), roll_lock.in_cluster(herd, progress):
        wanted = resolved_for(herd, order, progress.say)
        herd = dataclasses.replace(herd, config=wanted.config)
        if not whole:
            herd = planned(herd, terms.force)
            checkpoints = preflight.small_checkpoints(herd.config, environment, lambda _: None)
        if whole or InFolder(herd.folder).kept(CONFIG) is not None:
            herd.remember()
        declared.keep(herd.memory, wanted)
        preflight.guarded(herd, progress.say)
        preflight.gathered(herd.config.cluster, progress.say)
        _rolled(herd, order, wanted, as_declared(herd.config, checkpoints, wanted.restarts), progress, terms.within_s)


def resolved_for(herd: Herd, order: Order, say: Say) -> DeclaredHerd:
    """Returns the herd that an order declares, and tells which changes by hand it takes back. Needs `connected`.

    Raises:
        OperationError: it cannot be carried out.
    """
    now = declared.now(herd.memory)
    try:
        wanted = resolved(order, now, declared.before(herd.memory))
    except Refused as error:
        raise OperationError(str(error)) from error
    for sentence in overruled(order, now):
        say(f"{sentence}: the file takes it back")
    return wanted


def _rolled(herd: Herd, order: Order, wanted: DeclaredHerd, applications: Declared, progress: Progress, within_s: float) -> None:
    models = {app_name(pool.id): pool for pool in pools(herd.config.models)}

    def come_up(application: str | None) -> None:
        if application is None:
            coming_up.wait(herd, progress.say, time.monotonic() + within_s)
            return
        seen = None
        while application not in coming_up.running([application]):  # each of its new replicas has passed its own gate before it counts
            if seen != (now := serve_api.replicas(application)):  # one more has come or gone: many take many times as long
                seen, deadline = now, time.monotonic() + within_s
            coming_up.still([models[application].id], deadline)
            time.sleep(1)

    before, model = running_before(herd), _id(herd.config, order.model)
    event_log.tell(Kind.SCALE if order.what == "scale" else Kind.CHANGE, f"`{order.words}` begins", model)

    def step(told: str) -> None:
        progress.say(told)
        event_log.tell(Kind.STEP, told)

    try:
        found = rollout.roll(before, applications, lambda application: surges(herd, models[application]), come_up, step, pending.placed)
    except (OperationError, KeyboardInterrupt) as error:
        event_log.tell(Kind.FAILED, f"`{order.words}` did not come up: {str(error) or 'it was interrupted'}", model)
        if before is None:
            raise
        _roll_back(dataclasses.replace(herd, config=before.config), before, error, progress.say, within_s)
    CameUp(wanted, found).remember(herd.memory)
    at_zero = ", or starts with its first request" if any(one.on_demand for one in models.values()) else ""
    event_log.tell(Kind.UP, f"`{order.words}` is done: every model has answered{at_zero}", model)


def _id(config: Config, name: str | None) -> str:
    """Returns the id of the model that an order is about; empty where it is about the whole herd."""
    return next((model.id for model in config.models if name in (model.id, *model.aliases)), "")


def running_before(herd: Herd) -> CameUp | None:
    """Returns the herd to go back to, whoever brought it up; None if nothing of it runs."""
    good = rollout.last_good(herd.memory)
    if good is None or good.config.ray.address != herd.config.ray.address or not serve_api.runs(good.declared):
        return None
    return good


def surges(herd: Herd, model: Model) -> bool:
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
    event_log.tell(Kind.ROLLBACK, "The herd that last was up is declared again")
    serve_api.declare(before.declared)
    if InFolder(herd.folder).kept(CONFIG) is not None:
        herd.remember()
    declared.keep(herd.memory, before.herd)
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
    going_down.end_change(herd, say)
    if herd.config.ray.address == "local":
        say("Stopping Ray and everything on it")
        try:
            herd.node.stop()
        except NodeError as error:
            raise OperationError(str(error)) from error
    else:
        with connected(herd, say):
            from ray import serve

            if (other := roll_lock.held()) is not None:
                raise other.refusal()
            say("Stopping the herd; Ray itself stays")
            event_log.tell(Kind.DOWN, f"{herd.config.name} is taken down")
            serve.shutdown()
            for name in (*ALL, roll_lock.LAST):
                herd.memory.forget(name)
    herd.forget()


def as_declared(config: Config, checkpoints: Mapping[str, str], restarts: Mapping[str, str]) -> Declared:
    """Returns a herd as it is declared to the Ray Serve of the cluster that this process is connected to."""
    from deployments.doctor.examine import members
    from deployments.lifecycle.applications import declared as built

    nodes = sum(not member.draining for member in members())  # on the others no gateway would start any more
    found: Declared = built(config, nodes, checkpoints, restarts).model_dump(mode="json", exclude_unset=True)
    return found

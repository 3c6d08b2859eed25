"""Carries out an operator's commands: brings a herd up, changes it in place, looks at it, takes it down.

Decides the order of steps and when a herd is up: when a real generation has come back from every model. Leaves words and colours to
`deployments.commands`, and the applications themselves to `deployments.lifecycle.applications`.
"""

import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterable, Mapping
from typing import NoReturn

import psutil

from cluster.machine.local_node import NodeError
from cluster.planner.engine_groups import only_prefills, pools
from cluster.planner.herd_fit import known_cluster
from configs.inventory import Inventory
from configs.load import ConfigError, Environment
from configs.schema import Config, Model
from deployments.lifecycle import rollout
from deployments.lifecycle.fit import CannotPlan, checked
from deployments.lifecycle.known import Herd as Herd
from deployments.lifecycle.known import OperationError as OperationError
from deployments.lifecycle.known import connected as connected
from deployments.lifecycle.known import herd as herd
from deployments.lifecycle.known import known as known
from deployments.lifecycle.known import remembered as remembered
from deployments.lifecycle.memory import CAME_UP, CONFIG
from deployments.lifecycle.operator_pages import Replicas, roster
from deployments.lifecycle.own_certificate import trust
from deployments.lifecycle.rollout import CameUp
from deployments.lifecycle.standings import survey
from deployments.policy.fleet.events import Kind
from deployments.policy.fleet.model_state import ModelState
from deployments.policy.fleet.rollout_steps import Declared
from deployments.progress import Say
from deployments.ray_calls import pending, serve_api
from deployments.ray_calls.names import GATEWAY, app_name
from deployments.ray_calls.nodes import living
from deployments.ray_calls.ray_guard import OPEN, answers_without_token
from deployments.records import event_log

#: Memory that an engine of a small model takes on CPU (2.4 GiB for SmolLM2, 3.7 for the tiny Scout, by proportional set size), and Ray.
SMALL_ENGINE_GIB = 3.0
RAY_GIB = 1.5
SMALL = "small:"
#: Longest wait for the hosts that the config names; then the herd comes up on those that are there.
JOIN_S = 120.0


def planned(herd: Herd, force: bool) -> Herd:
    """Returns the herd with every shape chosen, if the planner agrees; `force` overrules its arithmetic, and never legality.

    Raises:
        OperationError: it cannot work, or the planner says that it does not fit.
    """
    try:
        config, found = checked(herd.config, known_cluster(herd.config))
    except (CannotPlan, ConfigError) as error:
        raise OperationError(str(error)) from error
    if found.refusals:
        raise OperationError("\n".join(found.refusals))
    if found.shortages and not force:
        raise OperationError("\n".join([*found.shortages, "`herd plan` tells what would fit. --force starts the herd all the same."]))
    return dataclasses.replace(herd, config=config)


def up(herd: Herd, environment: Environment, say: Say, within_s: float) -> None:
    """Brings a herd up, or changes a running one in place, step by step; returns when every model has generated.

    A change that does not come up is undone: the herd that last was up is declared again. No step, and no replica of a step, may take
    longer than `within_s`.

    Raises:
        OperationError: it could not, with the reason and the way out.
    """
    _preflight(herd)
    checkpoints = _small_checkpoints(herd.config, environment, say)
    herd.remember()  # first: what is started now, `down` must find, however this ends
    models = {app_name(pool.id): pool for pool in pools(herd.config.models)}

    def come_up(application: str | None) -> None:
        if application is None:
            _wait(herd, say, time.monotonic() + within_s)
            return
        seen = None
        while application not in _running([application]):  # each of its new replicas has passed its own gate before it counts
            if seen != (now := serve_api.replicas(application)):  # one more has come or gone: many take many times as long
                seen, deadline = now, time.monotonic() + within_s
            _still([models[application].id], deadline)
            time.sleep(1)

    with connected(herd, say, start=True):
        herd.memory.keep(CONFIG, herd.config.model_dump_json())
        _guarded(herd, say)
        _gathered(herd.config.cluster, say)
        before = _before(herd)
        wanted = _wanted(herd, checkpoints)
        event_log.tell(Kind.CHANGE, f"a change of the herd began: {', '.join(one.id for one in herd.config.models)}")
        try:
            declared = rollout.roll(
                before, wanted, lambda application: _surges(herd, models[application]), come_up, _telling(say), pending.placed
            )
        except (OperationError, KeyboardInterrupt) as error:
            event_log.tell(Kind.FAILED, f"the change did not come up: {str(error) or 'interrupted'}")
            if before is None:
                raise
            _roll_back(dataclasses.replace(herd, config=before.config), before, error, say, within_s)
        CameUp(herd.config, declared).remember(herd.memory)
        event_log.tell(Kind.UP, "the herd is up: every model has answered")


def _telling(say: Say) -> Say:
    """Returns `say` that also keeps each step among the herd's events."""

    def step(sentence: str) -> None:
        say(sentence)
        event_log.tell(Kind.STEP, sentence)

    return step


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
    event_log.tell(Kind.ROLLBACK, "the herd that last was up is declared again")
    serve_api.declare(before.declared)
    herd.remember()
    herd.memory.keep(CONFIG, herd.config.model_dump_json())
    if isinstance(error, KeyboardInterrupt):
        raise error
    try:
        _wait(herd, say, time.monotonic() + within_s)
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


def _preflight(herd: Herd) -> None:
    """Checks the port and the memory before anything is started, because their faults would show late and obscurely."""
    if herd.config.ray.address != "local" or herd.node.address is not None:
        return
    _require_port(herd.config.gateway.host, herd.config.gateway.port)
    small = sum(pool.scale.min_replicas for pool in pools(herd.config.models) if pool.checkpoint.startswith(SMALL))
    if (free := psutil.virtual_memory().available / 2**30) < (needed := small * SMALL_ENGINE_GIB + RAY_GIB):
        raise OperationError(
            f"Too little memory: {small} engines need about {needed:.1f} GiB, {free:.1f} GiB are free. "
            "Close other programs, or take a model out of the config."
        )


def _require_port(host: str, port: int) -> None:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise OperationError(
            f"The gateway cannot listen on port {port} of {host} ({error.strerror}{_holder(port)}). "
            "Stop the program that uses it, or set gateway.host and gateway.port in the config."
        ) from error


def _holder(port: int) -> str:
    """Returns the process that holds a port, as far as this user may know."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f": process {connection.pid}, {psutil.Process(connection.pid).name()}"
    return ""


def _small_checkpoints(config: Config, environment: Environment, say: Say) -> dict[str, str]:
    from deployments.small_models import SmallModelError, ensure

    paths = {}
    for model in config.models:
        if model.checkpoint.startswith(SMALL):
            say(f"Checkpoint of {model.id}")
            try:
                paths[model.id] = str(ensure(model.checkpoint.removeprefix(SMALL), environment.models))
            except SmallModelError as error:
                raise OperationError(str(error)) from error
    return paths


def _wanted(herd: Herd, checkpoints: Mapping[str, str]) -> Declared:
    from deployments.doctor.examine import members
    from deployments.lifecycle.applications import declared

    nodes = sum(not member.draining for member in members())  # on the others no gateway would start any more
    wanted: Declared = declared(herd.config, nodes, checkpoints).model_dump(mode="json", exclude_unset=True)
    return wanted


def _guarded(herd: Herd, say: Say) -> None:
    """Refuses a Ray that anybody may use, unless the config takes it."""
    import ray

    if answers_without_token(ray.get_runtime_context().gcs_address):
        if herd.config.ray.require_token:
            raise OperationError(OPEN)
        say("Ray asks for no token (ray.require_token: false): a program that reaches its ports can run code on every node")


def _gathered(inventory: Inventory | None, say: Say) -> None:
    """Waits for the hosts that the config names: `ray up` returns when the head runs, and the others come a little later."""
    if inventory is None or inventory.onprem is None:
        return
    wanted, deadline = 1 + len(inventory.onprem.workers), time.monotonic() + JOIN_S
    while (there := len(living())) < wanted and time.monotonic() < deadline:
        say(f"{there} of {wanted} hosts have joined")
        time.sleep(1)


def _wait(herd: Herd, say: Say, deadline: float) -> None:
    """Waits until every model has generated a token for a client, and engines that only compute prompts are there."""
    waiting = {pool.id: pool for pool in pools(herd.config.models)}
    while waiting:
        there, found = _running([GATEWAY, *map(app_name, waiting)]), survey(*replicas(herd))
        settled = [name for name in waiting if {app_name(name), GATEWAY} <= there]
        for name in [name for name in settled if found[name].state is ModelState.RUNNING and _serves(herd, waiting[name])]:
            waiting.pop(name)
            say(f"{name} answers")
        if waiting:
            reasons = "".join(f"\n{name} waits: {found[name].why}." for name in waiting if found[name].why)
            _still(waiting, deadline, reasons)
            say(f"Waiting for {', '.join(waiting)} to generate{reasons}")
            time.sleep(1)


def _still(waiting: Iterable[str], deadline: float, reasons: str = "") -> None:
    if time.monotonic() > deadline:
        way_out = "`herd status` shows how far it is; `herd up` again goes on waiting."
        raise OperationError(f"{', '.join(waiting)} did not answer in time. {way_out}{reasons}")


def _running(applications: Iterable[str]) -> set[str]:
    """Returns those of these applications that are where they were declared to be.

    Raises:
        OperationError: one of them cannot get there.
    """
    called = {name: "The gateway" if name == GATEWAY else f"The engine of '{name.partition('.')[2]}'" for name in applications}
    try:
        return serve_api.running(called)
    except serve_api.CannotStart as error:
        raise OperationError(str(error)) from error


def replicas(herd: Herd) -> tuple[Config, Replicas]:
    """Returns the config of what is up, and the replicas that its gateway knows. Needs `connected`."""
    config = remembered(herd)
    return config, roster(herd.endpoint, config, herd.node)


def _serves(herd: Herd, model: Model) -> bool:
    """Tells whether a model generates for a client; engines that only compute prompts have generated at their own gate."""
    import httpx

    if only_prefills(model):
        return True
    body = {"model": model.id, "prompt": "Llamas are", "max_tokens": 4, "temperature": 0}
    try:
        answer = httpx.post(f"{herd.endpoint}/v1/completions", json=body, timeout=60, verify=trust(herd.config.gateway.tls))
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and bool(answer.json().get("choices"))

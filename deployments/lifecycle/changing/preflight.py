"""Checks and preparations before anything of a herd is started or changed, because their faults would show late and obscurely.

Decides which faults are a reason not to start. Raises `OperationError`, whose message says why and what to do.
"""

import contextlib
import dataclasses
import socket
import time
from collections.abc import Iterable

import psutil

from cluster.planner.engine_groups import pools
from cluster.planner.herd_fit import known_cluster
from configs.inventory import Inventory
from configs.load import ConfigError, Environment
from configs.schema import Config
from deployments.lifecycle.changing import this_machine
from deployments.lifecycle.fit import CannotPlan, checked
from deployments.lifecycle.known import Herd, OperationError
from deployments.progress import Say
from deployments.ray_calls.nodes import living
from deployments.ray_calls.ray_guard import OPEN, answers_without_token

#: Memory that an engine of a small model takes on CPU (2.4 GiB for SmolLM2, 3.7 for the tiny Scout, by proportional set size), and Ray.
SMALL_ENGINE_GIB = 3.0
RAY_GIB = 1.5
SMALL = "small:"
#: Longest wait for the hosts that the config names; then the herd comes up on those that are there.
JOIN_S = 120.0
NOT_JOINED = (
    "If it goes on: a host with another HERD_SECRET, another Ray or Python, or no way to the head's port does not join. "
    "`ray exec FILE 'tail -n 100 /tmp/ray/session_latest/logs/monitor*'` has what its start command said."
)


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


def preflight(herd: Herd) -> None:
    """Checks a herd of this machine's before anything is started or changed: files, and at its start the port, room and memory.

    Raises:
        OperationError: something is missing.
    """
    if herd.config.ray.address != "local":
        return
    _refuse(this_machine.unusable_files(herd.config))
    if herd.node.address is not None:
        return
    _refuse(this_machine.no_room((herd.folder, herd.node.temp), herd.config.ray.object_store_mib))
    _require_port(herd.config.gateway.host, herd.config.gateway.port)
    small = small_engines(herd.config)
    if problem := memory_problem(small, RAY_GIB):
        raise OperationError(f"{problem} Close other programs, or take a model out of the config.")


def _refuse(problems: Iterable[str]) -> None:
    if found := list(problems):
        raise OperationError("\n".join(found))


def small_engines(config: Config) -> int:
    """Counts the engines of small models, which share this machine's memory."""
    return sum(pool.scale.min_replicas for pool in pools(config.models) if pool.checkpoint.startswith(SMALL))


def memory_problem(engines: int, beside_gib: float = 0.0) -> str:
    """Returns a sentence where this machine has too little memory for so many more engines of small models; empty where it has enough."""
    free, needed = psutil.virtual_memory().available / 2**30, engines * SMALL_ENGINE_GIB + beside_gib
    return "" if free >= needed else f"Too little memory: {engines} engines need about {needed:.1f} GiB, {free:.1f} GiB are free."


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


def small_checkpoints(config: Config, environment: Environment, say: Say) -> dict[str, str]:
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


def checkpoint_paths(config: Config, environment: Environment) -> dict[str, str]:
    """Returns where the checkpoints are, or will be, of the models that are built here, by model id."""
    from deployments.small_models import SmallModelError, place

    small = {one.id: one.checkpoint.removeprefix(SMALL) for one in config.models if one.checkpoint.startswith(SMALL)}
    try:
        return {model: str(place(name, environment.models)) for model, name in small.items()}
    except SmallModelError as error:
        raise OperationError(str(error)) from error


def guarded(herd: Herd, say: Say) -> None:
    """Refuses a Ray that anybody may use, unless the config takes it."""
    import ray

    if answers_without_token(ray.get_runtime_context().gcs_address):
        if herd.config.ray.require_token:
            raise OperationError(OPEN)
        say("Ray asks for no token (ray.require_token: false): a program that reaches its ports can run code on every node")


def gathered(inventory: Inventory | None, say: Say) -> None:
    """Waits for the hosts that the config names: `ray up` returns when the head runs, and the others come a little later."""
    if inventory is None or inventory.onprem is None:
        return
    wanted, deadline = 1 + len(inventory.onprem.workers), time.monotonic() + JOIN_S
    while len(there := living()) < wanted and time.monotonic() < deadline:
        missing = ", ".join(sorted({inventory.onprem.head, *inventory.onprem.workers} - {node.address for node in there}))
        say(f"{len(there)} of {wanted} hosts have joined. Missing: {missing or 'one that is known by another address'}. {NOT_JOINED}")
        time.sleep(1)

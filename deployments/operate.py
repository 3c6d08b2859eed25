"""What an operator's commands do: bring a herd up, change it in place, look at it, take it down.

Decides the order of steps and when a herd is up: when a real generation has come back from every model. Leaves words and colours to
`deployments.cli`, and what there is to deploy to `deployments.app`.
"""

import contextlib
import dataclasses
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cluster.assessment import known_cluster
from cluster.local_node import LocalNode, NodeError
from configs.inventory import Inventory
from configs.load import ConfigError, Environment
from configs.schema import Config, Model
from deployments.cluster_access import NoSecret, ray_token
from deployments.names import ENGINE, GATEWAY, app_name
from deployments.planning import CannotPlan, checked
from deployments.policy.state import ModelState, Standing, standing

#: Memory that an engine of a small model takes on CPU (2.4 GiB for SmolLM2, 3.7 for the tiny Scout, by proportional set size), and Ray.
SMALL_ENGINE_GIB = 3.0
RAY_GIB = 1.5
SMALL = "small:"
#: Longest wait for the hosts that the config names; then the herd comes up on those that are there.
JOIN_S = 120.0

Say = Callable[[str], None]


class OperationError(RuntimeError):
    """A command cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Herd:
    """A herd that was brought up from here, by its own folder."""

    folder: Path
    config: Config

    @property
    def node(self) -> LocalNode:
        """The Ray node that it owns, where it does."""
        return LocalNode(self.folder)

    @property
    def endpoint(self) -> str:
        """Where clients on this machine reach it."""
        host = self.config.gateway.host
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
        return f"http://{host}:{self.config.gateway.port}"

    def remember(self) -> None:
        """Keeps the config, for the commands that come later."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (self.folder / "config.json").write_text(self.config.model_dump_json(), encoding="utf-8")

    def forget(self) -> None:
        """It is down."""
        (self.folder / "config.json").unlink(missing_ok=True)


def herd(environment: Environment, config: Config) -> Herd:
    """The herd of a config."""
    return Herd(environment.state / config.name, config)


def known(environment: Environment, name: str | None) -> Herd:
    """The herd that was brought up under a name; without a name, the only one.

    Raises:
        OperationError: there is none, or there are several.
    """
    found = {path.parent.name: path for path in sorted(environment.state.glob("*/config.json"))}
    if name is None and len(found) > 1:
        raise OperationError(f"Several herds are up: {', '.join(found)}. Say which with --name.")
    path = found.get(name) if name is not None else next(iter(found.values()), None)
    if path is None:
        raise OperationError("No herd is up." if name is None else f"No herd named '{name}' is up.")
    return Herd(path.parent, Config.model_validate_json(path.read_text(encoding="utf-8")))


def planned(herd: Herd, force: bool) -> Herd:
    """The herd with every shape chosen, after the planner has looked at it; `force` overrules its arithmetic, never legality.

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
        raise OperationError("\n".join([*found.shortages, "`herd plan` tells what would fit; --force tries it all the same."]))
    return dataclasses.replace(herd, config=config)


def up(herd: Herd, environment: Environment, say: Say, within_s: float) -> None:
    """Brings a herd up, or changes a running one in place; returns when every model has generated.

    Raises:
        OperationError: it could not, with the reason and the way out.
    """
    _preflight(herd)
    checkpoints = _small_checkpoints(herd.config, environment, say)
    herd.remember()  # first: what is started now, `down` must find, however this ends
    with connected(herd, say, start=True):
        nodes = _gathered(herd.config.cluster, say)
        say("Deploying")
        _declare(herd, checkpoints, nodes)
        _wait(herd, say, time.monotonic() + within_s)


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
    herd.forget()


@contextlib.contextmanager
def connected(herd: Herd, say: Say, start: bool = False) -> Iterator[None]:
    """Connected to the herd's Ray cluster; with `start`, a node of the herd's own is started where there is none.

    Raises:
        OperationError: the cluster cannot be reached.
    """
    address = _address(herd, say, start)
    if herd.config.ray.address == "local":
        os.environ.pop("RAY_AUTH_TOKEN", None)  # another cluster's; it would go before the node's own
        os.environ.update(herd.node.environment())
    else:
        try:
            os.environ.update(ray_token(herd.config.cluster))
        except NoSecret as error:
            raise OperationError(str(error)) from error
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        way_out = "`herd down` clears it away." if herd.config.ray.address == "local" else "Is it up? `ray status` tells."
        raise OperationError(f"Ray at {address} cannot be reached ({type(error).__name__}). {way_out}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _address(herd: Herd, say: Say, start: bool) -> str:
    wanted = herd.config.ray.address
    if wanted != "local":
        return wanted
    running = herd.node.address
    if running is not None and not start:
        return running
    if not start:
        raise OperationError("The herd's Ray node is not running. `herd up` starts it.")
    say("Starting Ray on this machine" if running is None else "Ray is running")
    try:
        return herd.node.start(herd.config.ray.object_store_mib)
    except NodeError as error:
        raise OperationError(str(error)) from error


def _preflight(herd: Herd) -> None:
    """What can be known before anything is started, and would otherwise fail late and obscurely."""
    ours = herd.config.ray.address == "local" and herd.node.address is not None
    if herd.config.ray.address != "local" or ours:
        return
    gateway = herd.config.gateway
    _require_port(gateway.host, gateway.port)
    small = sum(model.scale.min_replicas for model in herd.config.models if model.checkpoint.startswith(SMALL))
    needed, free = small * SMALL_ENGINE_GIB + RAY_GIB, psutil.virtual_memory().available / 2**30
    if free < needed:
        raise OperationError(
            f"Too little memory: {len(herd.config.models)} models need about {needed:.1f} GiB, {free:.1f} GiB are free. "
            "Close something, or take a model out of the config."
        )


def _require_port(host: str, port: int) -> None:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        raise OperationError(
            f"Port {port} on {host} cannot be listened on ({error.strerror}{_holder(port)}). "
            "Stop what uses it, or set gateway.host and gateway.port in the config."
        ) from error


def _holder(port: int) -> str:
    """Who holds a port, as far as this user may know."""
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


def _gathered(inventory: Inventory | None, say: Say) -> int:
    """The nodes that have joined: `ray up` returns when the head runs, and the herd's other hosts come a little later."""
    import ray

    wanted = 1 if inventory is None or inventory.onprem is None else 1 + len(inventory.onprem.workers)
    deadline = time.monotonic() + JOIN_S
    while (there := sum(bool(node["Alive"]) for node in ray.nodes())) < wanted and time.monotonic() < deadline:
        say(f"{there} of {wanted} hosts have joined")
        time.sleep(1)
    return there


def _declare(herd: Herd, checkpoints: Mapping[str, str], nodes: int) -> None:
    import logging

    from ray import serve
    from ray.serve.context import _get_global_client  # what Ray's own REST handler and `serve deploy` end in; no public name

    from deployments.app import declared, regrouped

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it would say that it has connected
    serve.start(proxy_location="Disabled")
    client: Any = _get_global_client()
    client.delete_apps(regrouped(client.get_serve_details().get("applications") or {}, herd.config))
    client.deploy_apps(declared(herd.config, nodes, checkpoints))


def _wait(herd: Herd, say: Say, deadline: float) -> None:
    """Until every model has generated a token for a client."""
    waiting = {model.id: model for model in herd.config.models}
    while waiting:
        settled, standings = _settled(waiting), survey(herd)
        for name in [name for name in settled if standings[name].state is ModelState.RUNNING and _generates(herd, waiting[name])]:
            waiting.pop(name)
            say(f"{name} answers")
        if waiting:
            _still(waiting, deadline)
            say(f"Waiting for {', '.join(waiting)} to generate")
            time.sleep(1)


def _still(waiting: Mapping[str, Model], deadline: float) -> None:
    if time.monotonic() > deadline:
        raise OperationError(
            f"{', '.join(waiting)} did not answer in time. `herd status` shows how far it is; `herd up` again goes on waiting."
        )


def _settled(names: Mapping[str, Model]) -> list[str]:
    """The models whose applications Ray Serve has brought to where they were declared to be, once the gateway's is.

    Raises:
        OperationError: one of them cannot get there.
    """
    from ray import serve

    applications = serve.status().applications
    wanted = {GATEWAY: "The gateway"} | {app_name(name): f"The engine of '{name}'" for name in names}
    for app, what in wanted.items():
        if app in applications and applications[app].status == "DEPLOY_FAILED":
            raise OperationError(f"{what} could not start.\n{_last_words(applications[app])}")
    running = {app for app in wanted if app in applications and applications[app].status == "RUNNING"}
    return [name for name in names if {app_name(name), GATEWAY} <= running]


def _last_words(application: Any) -> str:  # noqa: ANN401 (ray.serve.schema.ApplicationStatusOverview)
    """The end of the longest message about what went wrong: the last exception itself, without the road to it."""
    messages = [application.message, *(deployment.message for deployment in application.deployments.values())]
    lines = [line.rstrip() for line in max(messages, key=len).splitlines() if line.strip()]
    errors = [number for number, line in enumerate(lines) if not line.startswith((" ", "\t")) and "Error" in line.partition(":")[0]]
    return "\n".join(lines[errors[-1] :][:8] if errors else lines[-5:])


def survey(herd: Herd) -> dict[str, Standing]:
    """How every model is doing. Needs `connected`."""
    from ray import serve

    applications, ready = serve.status().applications, _ready(herd)
    return {model.id: _standing(applications.get(app_name(model.id)), ready.get(model.id, []), model) for model in herd.config.models}


def _standing(application: Any, replicas: list[dict[str, Any]], model: Model) -> Standing:  # noqa: ANN401
    counts: dict[str, int] = {}
    if application is not None and ENGINE in application.deployments:
        counts = {str(state): count for state, count in application.deployments[ENGINE].replica_states.items()}
    ready = sum(replica["state"] == "ready" for replica in replicas)
    ongoing = sum(replica["ongoing"] for replica in replicas)
    said, wanted, ranks = None if application is None else str(application.status.value), model.scale.min_replicas, model.parallel.data
    return standing(said, counts, ready, wanted, ongoing, ranks)


def _ready(herd: Herd) -> dict[str, list[dict[str, Any]]]:
    """A gateway's roster; empty while no gateway answers."""
    import httpx

    try:
        answer = httpx.get(f"{herd.endpoint}/-/status", timeout=5)
        models: dict[str, list[dict[str, Any]]] = answer.raise_for_status().json()["models"]
    except (httpx.HTTPError, json.JSONDecodeError, KeyError):
        return {}
    return models


def _generates(herd: Herd, model: Model) -> bool:
    """A real generation, asked for as a client does."""
    import httpx

    body = {"model": model.id, "prompt": "Llamas are", "max_tokens": 4, "temperature": 0}
    try:
        answer = httpx.post(f"{herd.endpoint}/v1/completions", json=body, timeout=60)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and bool(answer.json().get("choices"))

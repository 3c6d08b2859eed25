"""What is measured, up while it is measured: a herd, vLLM's own API server beside it, and a gateway in front of an engine that is none.

Decides that both engines are the same: the model is the default config's, and arguments and environment of the bare server are those
that the herd gives its engine. Ray is imported late: it reads what `operate.connected` sets.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from configs.load import Environment, environment, read
from configs.schema import Config, Gateway, Model
from deployments.lifecycle import herd as operate
from deployments.lifecycle.changing import declared, rolls
from deployments.lifecycle.changing.preflight import SMALL
from deployments.lifecycle.changing.rolls import Progress
from deployments.lifecycle.herd import Herd, Terms
from deployments.policy.routing.types import ReplicaState
from deployments.progress import Say
from deployments.ray_calls.names import ENGINE, app_name
from tests.bench.gateway_cpu import Proxy
from tests.bench.load import CannotMeasure
from tests.bench.process import free_port, listener

MODEL = "llama-4-scout-tiny"
CONFIG = Path(__file__).parents[2] / "configs" / "local.yaml"
#: The name of the application, and of the deployment, that does nothing.
EMPTY = "empty"
UP_S = 600
STOP_S = 30
#: What Ray gives an engine that asks for one CPU. Said outright, so that both engines have it.
THREADS = {"OMP_NUM_THREADS": "1"}
#: How `ray.serve.llm` runs an engine on CPU.
AS_RAY_DOES = {"distributed_executor_backend": "mp", "disable_uvicorn_access_log": True}


def model(**engine: Any) -> Model:
    """The small Scout of the default config, with its engine's settings, and these beside them."""
    found = next(one for one in read(CONFIG).models if one.id == MODEL)
    return found.model_copy(update={"engine": {**found.engine, **engine}})


def engine_environment(served: Model | None = None) -> dict[str, str]:
    """What both engines have in their environments."""
    from deployments.lifecycle.engine_arguments import engine_environment

    return engine_environment(served or model(), "cpu") | THREADS


@contextlib.contextmanager
def herd(folder: Path, say: Say, models: tuple[Model, ...] = ()) -> Iterator[str]:
    """A herd on a Ray node of its own, of one model where none are given; its endpoint."""
    mine, own = _herd(folder, models)
    os.environ.update(THREADS)
    try:
        order = declared.order("up", file=mine.config)
        operate.carry_out(mine, order, own, Progress(mine.folder, rolls.of_this_process(order), say), Terms(UP_S))
        yield mine.endpoint
    finally:
        operate.down(mine, say)


@contextlib.contextmanager
def bare(folder: Path, say: Say, served: Model | None = None) -> Iterator[str]:
    """vLLM's own API server with the same engine, or with that of another model; its endpoint.

    Raises:
        CannotMeasure: it did not come up.
    """
    say("Starting vLLM's own API server")
    port, log = free_port(), folder / "bare.log"
    given = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | engine_environment(served)
    with log.open("wb") as out:
        # In this session, as a router in front of it is: the kernel shares cores out by sessions, and a herd's processes have one.
        command = _command(port, served or model())
        process = psutil.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=given, process_group=0)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _answers(f"{url}/health"), "vLLM's API server", lambda: _still_runs(process, log))
        yield url
    finally:
        _stop(process)


@contextlib.contextmanager
def gateway(folder: Path, engine_port: int, say: Say) -> Iterator[Proxy]:
    """A herd's gateway, and in place of engines one replica that names another process's port."""
    mine, _ = _herd(folder)
    try:
        with operate.connected(mine, say, start=True):
            say("Deploying the gateway")
            _declare(mine.config, engine_port)
            _wait(lambda: bool(_replicas(mine)), "The gateway")
            yield Proxy(mine.endpoint, MODEL, listener(mine.config.gateway.port))
    finally:
        mine.node.stop()


def empty_actor() -> psutil.Process:
    """The Ray actor that does nothing, beside a `gateway` that is up. Found by its title, without Ray.

    Raises:
        CannotMeasure: there is none.
    """
    for process in psutil.process_iter(["cmdline"]):
        if f"ServeReplica:{EMPTY}:{EMPTY}" in " ".join(process.info["cmdline"] or ()):
            return process
    raise CannotMeasure("there is no empty Ray actor")


def _herd(folder: Path, models: tuple[Model, ...] = ()) -> tuple[Herd, Environment]:
    """In a folder of its own, so that it meets no other herd, nor another measurement."""
    own = Environment(folder, environment().cache, secret=None)
    config = Config(name="bench", gateway=Gateway(port=free_port()), models=models or (model(),))
    return operate.herd(own, config), own


def _command(port: int, served: Model) -> list[str]:
    from deployments.lifecycle.engine_arguments import engine_arguments
    from deployments.small_models import ensure

    checkpoint = ensure(served.checkpoint.removeprefix(SMALL), environment().models)
    own = ["--model", str(checkpoint), "--served-model-name", MODEL, "--host", "127.0.0.1", "--port", str(port)]
    arguments = engine_arguments(served) | AS_RAY_DOES
    return [
        sys.executable,
        "-m",
        "vllm.entrypoints.openai.api_server",
        *own,
        *(word for item in arguments.items() for word in _flag(*item)),
    ]


def _flag(name: str, value: object) -> list[str]:
    """An engine argument in the command line's words. All that are switches are off unless they are named."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        return [flag] if value else []
    return [flag, value if isinstance(value, str) else json.dumps(value)]


def _declare(config: Config, engine_port: int) -> None:
    from ray import serve
    from ray.serve.context import _get_global_client
    from ray.serve.schema import ServeDeploySchema

    from deployments.lifecycle.applications import gateway_application

    serve.start(proxy_location="Disabled")
    client: Any = _get_global_client()
    quiet = {"enable_access_log": False}
    declared = {"proxy_location": "Disabled", "logging_config": quiet, "applications": [gateway_application(config, 1)]}
    client.deploy_apps(ServeDeploySchema.model_validate(declared))
    serve.run(_stand_in(engine_port), name=app_name(MODEL), route_prefix=None, logging_config=quiet)
    serve.run(_empty(), name=EMPTY, route_prefix=None, logging_config=quiet)


def _stand_in(port: int) -> Any:  # a ray.serve.Application
    """A replica that says of itself what an engine's does. Made here, so that Ray carries the class and imports no test."""
    from ray import serve

    said = {"id": "fake", "model": MODEL, "host": "127.0.0.1", "port": port, "state": ReplicaState.READY.value, "ongoing": 0}

    class StandIn:
        async def describe(self) -> dict[str, Any]:
            return said

    return serve.deployment(name=ENGINE, ray_actor_options={"num_cpus": 0})(StandIn).bind()


def _empty() -> Any:  # a ray.serve.Application
    """A replica that does nothing: what it takes is Ray's own."""
    from ray import serve

    class Empty:
        pass

    return serve.deployment(name=EMPTY, ray_actor_options={"num_cpus": 0})(Empty).bind()


def _replicas(herd: Herd) -> list[dict[str, Any]]:
    """The gateway's roster of the model; empty while it does not answer."""
    try:
        models: dict[str, list[dict[str, Any]]] = httpx.get(f"{herd.endpoint}/-/status", timeout=5).raise_for_status().json()["models"]
    except httpx.HTTPError:
        return []
    return models[MODEL]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _wait(up: Callable[[], bool], what: str, check: Callable[[], None] = lambda: None) -> None:
    deadline = time.monotonic() + UP_S
    while not up():
        check()
        if time.monotonic() > deadline:
            raise CannotMeasure(f"{what} did not come up within {UP_S} s")
        time.sleep(0.5)


def _still_runs(process: psutil.Popen, log: Path) -> None:
    if process.poll() is not None:
        last = log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
        raise CannotMeasure("\n".join(["vLLM's API server did not start:", *last]))


def _stop(process: psutil.Popen) -> None:
    family: list[psutil.Process] = [process]
    with contextlib.suppress(psutil.NoSuchProcess):
        family += process.children(recursive=True)
    with contextlib.suppress(psutil.NoSuchProcess):
        process.terminate()
    _, left = psutil.wait_procs(family, timeout=STOP_S)
    for one in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(left, timeout=STOP_S)

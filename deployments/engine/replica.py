"""One engine replica: vLLM under Ray Serve, and its own OpenAI app on a port of its node.

Decides when a replica is ready, dead, sick or leaving. Placement groups, tensor and pipeline parallel workers and the engine's
start are `ray.serve.llm`'s. The app is vLLM's own, so what it answers is what `vllm serve` answers; the herd adds a guard at its door.
"""

import asyncio
import os
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import count
from typing import Any

import ray
from prometheus_client import REGISTRY
from pydantic import SecretStr
from ray import serve

from configs.schema import Model
from configs.site import Site
from deployments.engine import beginning, beside_plan
from deployments.engine.canary import Canaries, Gate, NotFit, Others
from deployments.engine.canary_request import Engine
from deployments.engine.front_door import Door
from deployments.engine.load import EngineLoad
from deployments.engine.vllm.engine_state import EngineState
from deployments.engine.vllm.refusals import in_short
from deployments.policy.fleet.canary import Told
from deployments.policy.fleet.conformance import checks
from deployments.policy.fleet.events import Kind
from deployments.policy.fleet.known_answer import as_plain, of_plain
from deployments.policy.fleet.slowness import Pace
from deployments.policy.records import starts
from deployments.policy.records.starts import Start
from deployments.policy.routing.types import ReplicaState
from deployments.ray_calls.broadcast import Replicas
from deployments.ray_calls.llm_server import EngineProcess, Rank
from deployments.ray_calls.names import ENGINE, app_name
from deployments.records.event_log import Teller
from deployments.records.start_log import StartLog
from deployments.wire.asgi_server import Server
from deployments.wire.engine import tls as engine_tls
from deployments.wire.engine.client import Engines
from deployments.wire.shared_answer import SharedAnswer
from deployments.wire.sockets import listen
from deployments.wire.types import Address
from monitoring import logs
from monitoring.engine_page import CanaryMeter, show_phases

#: A replica that leaves still takes what gateways send before they have seen it leave: a few of their roster's periods.
LINGER_S = 2.0
#: A generation takes a few steps; a full engine makes it wait for its turn.
GENERATION_S = 30.0
#: Every gateway may ask for a generation; those that ask within so many seconds share one.
GENERATION_KEPT_S = 2.0
#: Of this project, as installed here.
RELEASE = version("llama-herd")
#: Before every client's request, where the scheduler goes by priority.
FIRST = {"priority": -1}


class EngineServer(EngineProcess):
    """A replica of one model."""

    async def __init__(self, config: dict[str, Any], gate: Gate, site: Site, model: Model) -> None:  # type: ignore[misc]  # Ray Serve awaits a constructor
        """Starts the engine, then its HTTP server on a free port of the node's own address, and passes the gate.

        Args:
            config: fields of `ray.serve.llm.LLMConfig`.
            gate: what it must show.
            site: where it runs.
            model: the config's entry, whose plan the engine is compared with.

        Raises:
            RuntimeError: the node's environment has no key for the door, its Ray asks for no token, its weights cannot be had, or the files
                for TLS do not do.
            PlacementError: GPUs that must be on one node are on several.
            NotFit: its canary or its app's answers are not what they must be. Ray Serve takes it for a start that failed.
        """
        logs.configure()
        self._events = Teller("engine")
        node, began = str(ray.util.get_node_ip_address()), time.time()
        log = StartLog(Start(model.id, self._id, node, RELEASE, began), self._events)
        log.begin()
        try:
            await self._come_up(config, gate, site, model, log)
        except Exception as error:
            await asyncio.to_thread(log.failed, error)
            raise
        log.ready()
        show_phases(REGISTRY, model.id, log.phases_s)

    async def _come_up(self, config: dict[str, Any], gate: Gate, site: Site, model: Model, log: StartLog) -> None:
        began = time.monotonic()
        beginning.speak(self._id, model.id)
        log.phase(starts.WEIGHTS)
        key = beginning.key_of_the_door(site)
        beginning.together(gate.tensor)
        llm_config = await beginning.settled(config)
        log.phase(starts.ENGINE)
        await super().__init__(llm_config)
        log.phase(starts.GATE)
        self._model, self._reports = llm_config.model_id, count(1)
        self._leaving = self._dismissed = False
        self._own = Engines(key.get_secret_value(), tls=engine_tls.client(site.engine_tls))
        self._vllm = EngineState(self.engine_client)
        await self._open(key, site)
        self._made_of, self._others = gate.made_of, Replicas()
        found = await beside_plan.report(self._vllm, model)
        REGISTRY.register(beside_plan.cost(found, self._model, gpus_of(model), began, self._load))
        self._canaries, self._generation = self._watched(gate)
        try:
            await self._canaries.let_in(checks(self._model, gate.abilities))
        except NotFit:
            await self.__del__()
            raise
        self._canaries.start()
        self._start_s = time.monotonic() - began
        self._figures = beside_plan.shown(found, self._start_s, self._model)
        gpus = 0 if config["accelerator_config"]["kind"] == "cpu" else gpus_of(model)
        self._about = {"release": RELEASE, "gpus": gpus, "made_of": gate.made_of[:12]}
        self._ready_at = time.monotonic()
        beginning.keep_what_is_loaded()

    async def _open(self, key: SecretStr, site: Site) -> None:
        self._door = Door(in_short(await self.openai_app()), key, self.describe)
        host = ray.util.get_node_ip_address()
        listener = listen(host, 0)
        self._address = Address(host, listener.getsockname()[1])
        self._server = Server(self._door, listener, "httptools", LINGER_S, engine_tls.server(site.engine_tls))
        self._load = EngineLoad(kv_tokens=self._vllm.kv_tokens)

    def _watched(self, gate: Gate) -> tuple[Canaries, SharedAnswer[None]]:
        engine = Engine(
            model=self._model,
            name=self._id,
            address=self._address,
            progress=self._load.progress,
            step_s=self._load.step_s,
            crowd=_crowd,
            batch_tokens=self._vllm.batch_tokens,
            first=FIRST if self._vllm.goes_by_priority else {},
        )
        canaries = Canaries(gate.canary, engine, self._own, self._ask_others, CanaryMeter(REGISTRY, self._model))
        return canaries, SharedAnswer(lambda: canaries.generate(GENERATION_S), GENERATION_KEPT_S)

    async def known_answer(self) -> dict[str, Any]:
        """For the other replicas: what this one's canary answers, how long it took, and what the replica is made of."""
        pace = replace(self._canaries.pace, serves=await self._state() is ReplicaState.READY)
        return {"id": self._id, "made_of": self._made_of, "answer": as_plain(self._canaries.known), "pace": asdict(pace)}

    async def _ask_others(self) -> Others:
        app = app_name(self._model)
        said = await self._others.ask(app, ENGINE, "known_answer")
        others = [one for one in said if one["made_of"] == self._made_of and one["id"] != self._id]
        complete = self._canaries.slow and await self._others.complete(app, ENGINE)
        return Others([Told(of_plain(one["answer"]), Pace.of_plain(one["pace"])) for one in others], complete)

    @property
    def _id(self) -> str:
        name: str = serve.get_replica_context().replica_id.unique_id
        return name

    async def describe(self) -> dict[str, Any]:
        """Returns the replica's state for a gateway's roster, by the names of `policy.routing.ReplicaView`."""
        return {
            "id": self._id,
            "model": self._model,
            "host": self._address.host,
            "port": self._address.port,
            "state": (await self._state()).value,
            "canary": str(self._canaries.sick or ""),
            "slow": self._canaries.slow,
            "ongoing": self._door.ongoing,
            "slots": self._vllm.slots,
            "kv_tokens": self._vllm.kv_tokens,
            "ready_s": time.monotonic() - self._ready_at,
            "start_s": self._start_s,
            "number": next(self._reports),
            "figures": self._figures,
            "about": self._about,
            **self._load.report(),
        }

    async def _state(self) -> ReplicaState:
        if not await self._lives():
            return ReplicaState.DEAD
        if self._canaries.sick:
            return ReplicaState.SICK
        return ReplicaState.LEAVING if self._leaving or self._dismissed else ReplicaState.READY

    async def _lives(self) -> bool:
        try:
            await self._check_alive()
        except Exception:  # noqa: BLE001 (whatever vLLM raises: an engine that cannot say it is well is not)
            return False
        return True

    async def _is_trusted(self) -> bool:
        """Tells whether an answer that it has begun is worth waiting for."""
        return not self._canaries.sick and await self._lives()

    async def check_health(self) -> None:
        """Ray Serve restarts the replica when this raises.

        Raises:
            Exception: the engine is dead (vLLM's own error), the HTTP server has stopped, the canary says that it is sick, or an operator
                has it replaced.
        """
        await self._check_alive()
        if self._dismissed:
            raise RuntimeError("an operator has this replica replaced")
        if self._canaries.sick:
            why = f"its canary is {self._canaries.sick.value}: {self._canaries.why}"
            self._tell(Kind.SICK, why)
            raise RuntimeError(why)

    async def leave(self, replica: str) -> bool:
        """Has this replica replaced, if it is the one with this id; returns whether it is. It finishes the requests that it has."""
        self._dismissed = self._dismissed or replica == self._id
        return replica == self._id

    async def _check_alive(self) -> None:
        await super().check_health()
        if not self._server.alive and not self._leaving:
            raise RuntimeError("the replica's HTTP server has stopped")

    async def generate_one(self) -> None:
        """Generates through this replica's own door, now or a moment ago.

        Raises:
            NotFit: it did not, or not in time.
        """
        await self._generation.get()

    @property
    def _busy(self) -> bool:
        """Somebody still needs this replica."""
        return self._door.ongoing > 0

    async def __del__(self) -> None:
        """Ray Serve's hook before a replica goes: finishes what runs. Ray ends it by force after the model's `stop_s`."""
        if getattr(self, "_server", None) is not None:
            self._leaving = True
            self._canaries.stop()
            await self._tell_its_end()
            await asyncio.sleep(LINGER_S if await self._is_trusted() else 0)
            while self._busy and await self._is_trusted():  # noqa: ASYNC110 (an engine that dies sets no event)
                await asyncio.sleep(0.1)
            self._door.end_reports()
            await self._server.stop()
            await asyncio.to_thread(self._events.flush)
        await self.end_engine()

    async def _tell_its_end(self) -> None:
        """Tells why a replica that has served goes; one that has not come up has told its failure."""
        if getattr(self, "_ready_at", None) is None:
            return
        if await self._lives():
            self._tell(Kind.STOP, "it stops, and finishes what it has")
        else:
            self._tell(Kind.DEATH, "its engine has died")

    def _tell(self, kind: Kind, words: str) -> None:
        self._events.tell(kind, words, self._model, self._id)


def gpus_of(model: Model) -> int:
    """Counts the GPUs of one replica's process and of all its workers."""
    return model.parallel.tensor * model.parallel.pipeline


def _crowd() -> float:
    """Runnable threads per CPU of this machine, of any program, over the last minute."""
    return os.getloadavg()[0] / (os.cpu_count() or 1)


class RankServer(EngineServer, Rank):  # type: ignore[misc]
    """One rank of a model's data-parallel attention: it answers requests itself, and computes its share of the experts for all ranks."""

    @property
    def _busy(self) -> bool:
        """Also while another rank has requests: its experts are here."""
        return super()._busy or self._vllm.ranks_run()

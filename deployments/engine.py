"""One engine replica: vLLM under Ray Serve, and its own OpenAI app on a port of its node. The only file that knows vLLM.

Decides when a replica is ready, dead or leaving. Placement groups, downloads, tensor and pipeline parallel workers and the engine's
start are `ray.serve.llm`'s. The app is vLLM's own, so what it answers is what `vllm serve` answers; the herd adds a guard at its door.
"""

import asyncio
import gc
import time
from typing import Any

import msgspec
import ray
from ray import serve
from ray.serve.llm import LLMConfig
from ray.serve.llm.deployment import DPServer, LLMServer

from configs.load import environment
from deployments.answer import Address, EngineGone
from deployments.autoscaler import ONGOING
from deployments.door import Door
from deployments.engine_load import EngineLoad
from deployments.policy.routing import ReplicaState
from deployments.server import Server, listen
from deployments.upstream import Engines
from deployments.vllm_resume import serve_here

#: A replica that leaves still takes what gateways send before they have seen it leave: a few of their roster's periods.
LINGER_S = 2.0
#: A generation of one token takes a step; a full engine makes it wait for its turn.
GENERATION_S = 30.0


class EngineServer(LLMServer):  # type: ignore[misc]
    """A replica of one model."""

    async def __init__(self, llm_config: LLMConfig) -> None:  # type: ignore[misc]  # Ray Serve awaits a constructor
        """Starts the engine, then its HTTP server on a free port of the node's own address.

        Raises:
            RuntimeError: the node's environment has no `HERD_SECRET`.
        """
        secret = environment().own_secret()
        serve_here()
        await super().__init__(llm_config)
        self._model = llm_config.model_id
        self._leaving = False
        self._own = Engines(secret.get_secret_value())
        self._door = Door(await self.__serve_build_asgi_app__(), secret, self.describe)
        host = ray.util.get_node_ip_address()
        listener = listen(host, 0)
        self._address = Address(host, listener.getsockname()[1])
        self._server = Server(self._door, listener, "httptools", stop_s=LINGER_S)
        self._load, self._ready_at = EngineLoad(), time.monotonic()
        # What is loaded by now stays: a collection that walks through it would stop every stream for a tenth of a second.
        gc.collect()
        gc.freeze()

    async def describe(self) -> dict[str, Any]:
        """What a gateway's roster wants to know, by the names of `policy.routing.ReplicaView`."""
        return {
            "id": serve.get_replica_context().replica_id.unique_id,
            "model": self._model,
            "host": self._address.host,
            "port": self._address.port,
            "state": (await self._state()).value,
            "ongoing": self._door.ongoing,
            "slots": self._vllm.scheduler_config.max_num_seqs,
            "kv_tokens": self._vllm.cache_config.kv_cache_size_tokens or 0,
            "ready_s": time.monotonic() - self._ready_at,
            **self._load.report(),
        }

    @property
    def _vllm(self) -> Any:  # noqa: ANN401 (vLLM's config)
        """What vLLM has made of its arguments."""
        return self.engine._engine_client.vllm_config  # noqa: SLF001 (Ray keeps vLLM's client to itself)

    async def _state(self) -> ReplicaState:
        if not await self._lives():
            return ReplicaState.DEAD
        return ReplicaState.LEAVING if self._leaving else ReplicaState.READY

    async def _lives(self) -> bool:
        try:
            await self.check_health()
        except Exception:  # noqa: BLE001 (whatever vLLM raises: an engine that cannot say it is well is not)
            return False
        return True

    async def check_health(self) -> None:
        """Ray Serve restarts the replica when this raises.

        Raises:
            Exception: the engine is dead (vLLM's own error), or the HTTP server has stopped.
        """
        await super().check_health()
        if not self._server.alive and not self._leaving:
            raise RuntimeError("the replica's HTTP server has stopped")

    async def generate_one(self) -> float:
        """Generates one token through this replica's own door.

        Returns:
            Seconds that it took.

        Raises:
            RuntimeError: it did not answer, or not in time.
        """
        body = msgspec.json.encode({"model": self._model, "prompt": "Llamas", "max_tokens": 1, "temperature": 0})
        started = time.perf_counter()
        try:
            async with asyncio.timeout(GENERATION_S):
                headers = ((b"content-type", b"application/json"),)
                answer = await self._own.exchange(self._address, b"POST", b"/v1/completions", headers, body)
                await answer.read()
                answer.close()
        except (EngineGone, TimeoutError) as error:
            raise RuntimeError(f"{self._model} did not generate: {type(error).__name__}") from error
        if answer.status != 200:
            raise RuntimeError(f"{self._model} did not generate: it answered {answer.status}")
        return time.perf_counter() - started

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Ray Serve's hook: what `deployments.autoscaler` decides on."""
        return {ONGOING: float(self._door.ongoing)}

    @property
    def _busy(self) -> bool:
        """Somebody still needs this replica."""
        return self._door.ongoing > 0

    async def __del__(self) -> None:
        """Ray Serve's hook before a replica goes: finishes what runs. Ray ends it by force after the model's `stop_s`."""
        if getattr(self, "_server", None) is not None:
            self._leaving = True
            await asyncio.sleep(LINGER_S if await self._lives() else 0)
            while self._busy and await self._lives():  # noqa: ASYNC110 (an engine that dies sets no event)
                await asyncio.sleep(0.1)
            await self._server.stop()
        await super().__del__()


class RankServer(EngineServer, DPServer):  # type: ignore[misc]
    """One rank of a model's data-parallel attention: it answers requests itself, and computes its share of the experts for all ranks.

    Ray places the ranks of a replica together, tells each where the first one is, and restarts all when one fails.
    """

    @property
    def _busy(self) -> bool:
        """Also while another rank has requests: its experts are here."""
        return super()._busy or bool(self.engine._engine_client.engine_core.dp_engines_running())  # noqa: SLF001 (as above)

"""How a running vLLM engine is made, read from its client in the replica's process.

Decides nothing. vLLM documents neither its config's classes nor its client's methods; only this room knows them.
"""

from typing import Any

from cluster.planner.started.beside import Started
from cluster.planner.started.figures import Figures
from deployments.engine.vllm.worker_memory import TELL


class EngineState:
    """Tells what vLLM has made of its arguments, how much memory it has taken, and whether its ranks run."""

    def __init__(self, client: Any) -> None:  # noqa: ANN401 (vllm.v1.engine.async_llm.AsyncLLM)
        """Args:
        client: of an engine that has started.
        """
        self._client = client
        self._config = client.vllm_config

    @property
    def kv_tokens(self) -> int:
        """Tokens that the engine's KV cache has room for; 0 while vLLM does not know."""
        return self._config.cache_config.kv_cache_size_tokens or 0

    @property
    def slots(self) -> int:
        """Sequences that the engine runs at once, at most."""
        return int(self._config.scheduler_config.max_num_seqs)

    @property
    def batch_tokens(self) -> int:
        """Tokens that the engine computes in one step, at most."""
        return int(self._config.scheduler_config.max_num_batched_tokens)

    @property
    def goes_by_priority(self) -> bool:
        """Tells whether the engine's scheduler looks at the priority of requests."""
        return bool(self._config.scheduler_config.policy == "priority")

    async def started(self) -> Started:
        """Asks vLLM's workers for the memory that they have taken, and returns it with what the engine knows itself.

        Raises:
            Exception: the workers do not know how to tell it (the config extends them otherwise), or the engine is dead; vLLM's own errors.
        """
        said = await self._client.collective_rpc(TELL)
        figures = Figures(
            weights_bytes=max((one["weights_bytes"] for one in said if one["weights_bytes"] is not None), default=None),
            kv_bytes=max(one["kv_bytes"] for one in said),
            kv_tokens=self.kv_tokens or None,
        )
        return Started(said[0]["device"], figures, self.batch_tokens, int(self._config.cache_config.block_size))

    def ranks_run(self) -> bool:
        """Tells whether any rank of data-parallel attention has requests; each computes experts for all."""
        return bool(self._client.engine_core.dp_engines_running())

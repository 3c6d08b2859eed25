"""How a running vLLM engine is made, read from its client in the replica's process.

Decides nothing. vLLM documents neither its config's classes nor its client's methods; only this room knows them.
"""

from typing import Any


class EngineState:
    """What vLLM has made of its arguments, and whether its ranks run."""

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

    def ranks_run(self) -> bool:
        """Tells whether any rank of data-parallel attention has requests; each computes experts for all."""
        return bool(self._client.engine_core.dp_engines_running())

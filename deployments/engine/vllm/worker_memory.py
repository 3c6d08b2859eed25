"""A worker of vLLM tells the memory that it has taken. vLLM mixes the class into its own worker class (`worker_extension_cls`).

Decides nothing, and imports nothing: each of vLLM's worker processes loads this file before its model. Asked for once, when the engine has
started; a request never comes here.
"""

from typing import Any

#: The method of `WorkerMemory`, as `collective_rpc` names it.
TELL = "herd_memory"


class WorkerMemory:
    """Methods that vLLM's worker gets beside its own."""

    model_runner: Any
    device: Any

    def herd_memory(self) -> dict[str, Any]:
        """Returns the device's name, and the bytes of weights and KV cache on it.

        vLLM measures the weights while it loads them, rope cache included ("Model loading took"). It does so on GPUs only: on CPUs they are
        None, because its layers keep them packed where no tensor shows them. Layers share one pool for the KV cache, which counts once.
        """
        from vllm.platforms import current_platform

        runner = self.model_runner
        pools = {pool.data_ptr(): int(pool.nbytes()) for pool in (layer.untyped_storage() for layer in runner.kv_caches)}
        return {
            "device": current_platform.get_device_name(self.device.index or 0),
            "weights_bytes": None if self.device.type == "cpu" else int(runner.model_memory_usage),
            "kv_bytes": sum(pools.values()),
        }


#: The class, as vLLM's argument `worker_extension_cls` names it.
CLASS = f"{WorkerMemory.__module__}.{WorkerMemory.__qualname__}"


def settle(llm_config: Any) -> None:  # noqa: ANN401 (ray.serve.llm.LLMConfig)
    """Has vLLM's workers tell their memory, unless the config extends them already."""
    if not llm_config.engine_kwargs.get("worker_extension_cls"):
        llm_config.update_engine_kwargs(worker_extension_cls=CLASS)

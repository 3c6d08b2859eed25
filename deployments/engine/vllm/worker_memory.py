"""A worker of vLLM tells the memory that it has taken. vLLM mixes the class into its own worker class (`worker_extension_cls`).

Decides nothing, and imports nothing: each of vLLM's worker processes loads this file before its model. Asked for once, when the engine has
started; a request never comes here.
"""

from collections.abc import Iterator
from typing import Any

#: The method of `WorkerMemory`, as `collective_rpc` names it.
TELL = "herd_memory"


class WorkerMemory:
    """What vLLM's worker can do beside its own."""

    model_runner: Any
    device: Any

    def herd_memory(self) -> dict[str, Any]:
        """Returns the device's name, and the bytes of weights and KV cache on it.

        vLLM measures the weights on GPUs, rope cache included ("Model loading took"); on CPUs they are counted here, tensor by tensor.
        """
        from vllm.platforms import current_platform

        runner = self.model_runner
        measured = None if self.device.type == "cpu" else getattr(runner, "model_memory_usage", None)
        return {
            "device": current_platform.get_device_name(self.device.index or 0),
            "weights_bytes": int(_size(_tensors(runner.get_model())) if measured is None else measured),
            "kv_bytes": _size(runner.kv_caches),
        }


def settle(llm_config: Any) -> None:  # noqa: ANN401 (ray.serve.llm.LLMConfig)
    """Has vLLM's workers tell their memory, unless the config extends them already."""
    if not llm_config.engine_kwargs.get("worker_extension_cls"):
        llm_config.update_engine_kwargs(worker_extension_cls=f"{WorkerMemory.__module__}.{WorkerMemory.__qualname__}")


def _tensors(model: Any) -> Iterator[Any]:  # noqa: ANN401 (torch.nn.Module)
    yield from model.parameters()
    yield from model.buffers()


def _size(tensors: Any) -> int:  # noqa: ANN401 (tensors of torch, some of which share their memory)
    """Adds up the memory behind tensors, each piece once: layers may share a pool, and a head may be the embedding."""
    storages = (tensor.untyped_storage() for tensor in tensors)
    return sum({storage.data_ptr(): int(storage.nbytes()) for storage in storages}.values())

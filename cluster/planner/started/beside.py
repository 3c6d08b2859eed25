"""The plan of an engine that has started, for the GPU that it really has.

Decides what can be compared where the planner does not know the device: the weights, and how many tokens the pool of that size holds.
Everything else depends on the GPU's memory.
"""

from dataclasses import dataclass

from cluster.catalogue.checkpoints import Stored
from cluster.catalogue.gpus import Gpu, gpu_named
from cluster.catalogue.hardware import gpu_of
from cluster.planner.capacity import Capacity, capacity
from cluster.planner.herd_fit import engine_of
from cluster.planner.kv_cache import kv_cache
from cluster.planner.memory.engine import KV_BYTES, VLLM, Engine, Version
from cluster.planner.memory.weights import rope_bytes, stage_weight_bytes
from cluster.planner.started.figures import Figures, Report
from configs.schema import Model

CPU = "cpu"
#: In place of a GPU where none is known: weights and paging do not depend on it.
NO_GPU = Gpu("none", memory_gib=1.0, bandwidth_bytes_s=1.0, bf16_flops=1.0)


@dataclass(frozen=True, slots=True)
class Started:
    """The figures that a started engine tells."""

    device: str
    figures: Figures
    batch_tokens: int
    """Most tokens of one step."""
    block_tokens: int
    """Tokens of a block of its KV cache."""


def beside_plan(model: Model, started: Started, stored: Stored | None = None, vllm: Version = VLLM) -> Report:
    """Returns an engine's figures beside those of its plan.

    Args:
        model: the entry that the engine was made of.
        started: what it tells.
        stored: what the checkpoint's own folder says, where it was read.
        vllm: the version that serves it.
    """
    gpu = None if started.device == CPU else gpu_named(started.device) or gpu_of(model.accelerator)
    engine = engine_of(model, gpu or NO_GPU, stored, vllm)
    if engine is None:
        return Report(started.device, started.figures, no_plan="no plan: the planner does not know the shape of this model")
    if gpu is None:
        return Report(started.device, started.figures, _comparable(engine, started), no_plan=_no_gpu(started.device))
    found = capacity(engine)
    return Report(
        started.device,
        started.figures,
        _planned(engine, found),
        gpu.name,
        utilization=_utilization(engine, found, started.figures.kv_bytes),
    )


def _no_gpu(device: str) -> str:
    why = "this engine has no GPU" if device == CPU else f"the planner does not know this GPU ({device})"
    return f"no plan for the size of the KV cache: {why}; its tokens are planned for the size that it has"


def _planned(engine: Engine, found: Capacity) -> Figures:
    stages = range(engine.parallel.pipeline)
    return Figures(
        weights_bytes=_weights(engine),
        kv_bytes=found.pool_blocks * max(engine.kv_cache.block_bytes(stage) for stage in stages),
        kv_tokens=found.pool_tokens / engine.parallel.data,
    )


def _comparable(engine: Engine, started: Started) -> Figures:
    """The plan for a pool of the size that the engine has, which it must not be told to be otherwise."""
    if not started.figures.kv_bytes:
        return Figures(weights_bytes=_weights(engine))
    ahead = 0 if started.device == CPU else 1  # steps that vLLM schedules ahead of the pipeline (`VllmConfig.max_concurrent_batches`)
    cache = kv_cache(
        engine.architecture,
        engine.parallel,
        KV_BYTES[engine.settings.kv_dtype],
        hybrid=engine.settings.hybrid_kv and not engine.settings.drafts,
        in_flight_tokens=started.batch_tokens * (engine.parallel.pipeline + ahead),
        block_tokens=started.block_tokens,
    )
    largest = max(cache.block_bytes(stage) for stage in range(engine.parallel.pipeline))
    blocks = int(started.figures.kv_bytes // largest)
    return Figures(weights_bytes=_weights(engine), kv_tokens=cache.pool_tokens(blocks, engine.settings.context_tokens))


def _weights(engine: Engine) -> float:
    return max(stage_weight_bytes(engine)) + rope_bytes(engine)


def _utilization(engine: Engine, found: Capacity, kv_bytes: float | None) -> float | None:
    """The share of the memory at which the plan would leave so much; None where the engine is told the size of its KV cache."""
    if kv_bytes is None or engine.settings.kv_cache_memory_bytes or engine.settings.num_gpu_blocks_override:
        return None
    return engine.settings.gpu_memory_utilization + (kv_bytes - found.kv_bytes) / engine.gpu.memory_bytes

"""The costs of an engine's options in KV cache, each told beside the same engine without it. Decides nothing: the operator does."""

from collections.abc import Iterator
from dataclasses import replace

from cluster.planner.capacity import capacity
from cluster.planner.memory.engine import Engine


def costs(engine: Engine) -> Iterator[str]:
    """A sentence for each option that takes memory from the KV cache."""
    if engine.settings.drafts:
        plain = replace(engine, settings=replace(engine.settings, drafts=False))
        chunked = plain.kv_cache.groups != engine.kv_cache.groups
        why = ", because EAGLE turns the hybrid KV manager off: chunked layers keep what they no longer see" if chunked else ""
        yield f"the draft model leaves {_pools(engine, plain)}{why}"
    if engine.parallel.redundant_experts:
        plain = replace(engine, parallel=engine.parallel.model_copy(update={"redundant_experts": None}))
        yield f"{engine.parallel.redundant_experts} redundant experts leave {_pools(engine, plain)}"
    if engine.settings.hands_over and not engine.settings.hybrid_kv:
        plain = replace(engine, settings=replace(engine.settings, hybrid_kv=True))
        if plain.kv_cache.groups != engine.kv_cache.groups:
            yield f"prefill apart leaves {_pools(engine, plain)}: chunked layers keep what they no longer see, for NIXL to hand over"
    if engine.layout.quantization == "nvfp4" and not engine.gpu.fp4_flops:
        yield f"NVFP4 weights are unpacked to bf16 on {engine.gpu.name} (Marlin): they save memory and bandwidth, not arithmetic"
    if (engine.parallel.all_to_all or "").startswith("deepep"):
        yield f"{engine.parallel.all_to_all} needs DeepEP on every node, and takes buffers on each GPU that are not counted here"


def _pools(engine: Engine, plain: Engine) -> str:
    return f"{capacity(engine).pool_tokens:,} tokens of KV cache, not {capacity(plain).pool_tokens:,}"

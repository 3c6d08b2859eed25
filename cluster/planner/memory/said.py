"""A model entry's engine arguments about memory: settings, how weights are stored, the shape, and what is not counted.

Decides which of vLLM's arguments change the arithmetic. Values that vLLM would refuse are left for vLLM to refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import BF16_BYTES, LINEAR_FP8, Layout
from cluster.catalogue.config_quantization import layout_from
from cluster.catalogue.hardware import GIB
from cluster.planner.kv_cache import GPU_BLOCK_TOKENS
from cluster.planner.memory.engine import GPU_MEMORY_UTILIZATION, VLLM, Engine, KvDtype, Loras, Settings, Version

if TYPE_CHECKING:  # it takes long to import, and plans of one model do without
    from configs.schema import Model

#: vLLM from here on quantises each layer as it comes (`quantization/online`, `uses_meta_device`); before, it loads all of bf16 first.
STREAMS_FROM: Version = (0, 29)
FLOAT32 = ("float32", "float")
#: Arguments that change memory, and which the arithmetic leaves out.
NOT_COUNTED = (
    "compilation_config",
    "cudagraph_capture_sizes",
    "decode_context_parallel_size",
    "enable_dbo",
    "enable_sleep_mode",
    "kv_cache_dtype_skip_layers",
    "limit_mm_per_prompt",
    "max_cudagraph_capture_size",
    "mm_encoder_tp_mode",
    "mm_ipc_gpu_memory_gb",
    "offload_backend",
    "offload_group_size",
    "prefill_context_parallel_size",
    "quantization_config",
    "skip_mm_profiling",
    "ubatch_size",
)


def settings_of(model: Model, vllm: Version = VLLM) -> Settings:
    """Returns the settings of a model entry that memory depends on."""
    return settings_from(model.engine, model.context_tokens, drafts=model.draft is not None, vllm=vllm)


def settings_from(said: Mapping[str, Any], context_tokens: int, *, drafts: bool = False, vllm: Version = VLLM) -> Settings:
    """Returns the settings in engine arguments that memory depends on."""
    wide = said.get("dtype") in FLOAT32
    return Settings(
        context_tokens=context_tokens,
        kv_dtype=_kv_dtype(said, wide),
        hybrid_kv=not said.get("disable_hybrid_kv_cache_manager"),
        hands_over="kv_transfer_config" in said,
        drafts=drafts or "eagle" in str(said.get("speculative_config", "")).lower(),
        gpu_memory_utilization=_share(said.get("gpu_memory_utilization")) or GPU_MEMORY_UTILIZATION,
        max_num_seqs=_whole(said.get("max_num_seqs")),
        max_num_batched_tokens=_whole(said.get("max_num_batched_tokens")),
        max_positions=_whole(_overridden(said).get("max_position_embeddings")),
        block_tokens=_whole(said.get("block_size")) or GPU_BLOCK_TOKENS,
        element_bytes=4.0 if wide else BF16_BYTES,
        eager=said.get("enforce_eager") is True,
        cpu_offload_bytes=_positive(said.get("cpu_offload_gb")) * GIB,
        kv_cache_memory_bytes=_whole(said.get("kv_cache_memory_bytes")),
        num_gpu_blocks_override=_whole(said.get("num_gpu_blocks_override")),
        loras=_loras(said),
        vllm=vllm,
    )


def told(engine: Engine, said: Mapping[str, Any], *, images: bool = True) -> Engine:
    """The engine with what its arguments say about its shape and its weights; without `images` it takes none."""
    architecture, layout, settings = _shape(engine.architecture, said, images), engine.layout, engine.settings
    if settings.element_bytes != BF16_BYTES:
        layout = replace(layout, plain_bytes=settings.element_bytes)
    quantised = _on_the_way(said.get("quantization"), architecture) if layout.quantization == "bf16" else None
    if quantised is not None:
        first = None if settings.vllm >= STREAMS_FROM else BF16_BYTES
        layout, settings = quantised, replace(settings, loads_first_bytes=first)
    return replace(engine, architecture=architecture, layout=layout, settings=settings)


def not_counted(said: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each argument that changes memory and is left out of the arithmetic."""
    for name in NOT_COUNTED:
        if said.get(name):
            yield f"engine.{name} changes the memory, and is not counted here"
    draft = said.get("speculative_config")
    if isinstance(draft, Mapping) and draft.get("model") and "eagle" not in str(draft).lower():
        yield "engine.speculative_config: the draft model's memory is not counted here"


def _on_the_way(method: object, architecture: Architecture) -> Layout | None:
    """Returns the storage of a bf16 checkpoint where the engine is told to quantise it."""
    if method in ("fp8", "fp8_per_tensor", "fp8_per_block"):
        return LINEAR_FP8
    if method == "bitsandbytes":
        return layout_from({"quantization_config": {"quant_method": "bitsandbytes"}}, architecture)
    return None


def _shape(architecture: Architecture, said: Mapping[str, Any], images: bool) -> Architecture:
    """Without the vision tower where no images are taken (vLLM then leaves it out), and with as many layers as are asked for."""
    if said.get("language_model_only") is True or not images:
        architecture = replace(architecture, vision=None)
    layers = _whole(_overridden(said).get("num_hidden_layers"))
    if layers is None or layers >= architecture.layers:
        return architecture
    kept = tuple(layer for layer in architecture.moe_layers if layer < layers)
    seen = tuple(layer for layer in architecture.global_layers if layer < layers)
    return replace(architecture, layers=layers, moe_layers=kept, global_layers=seen)


def _overridden(said: Mapping[str, Any]) -> Mapping[str, Any]:
    overrides = said.get("hf_overrides")
    text = overrides.get("text_config", overrides) if isinstance(overrides, Mapping) else {}
    return text if isinstance(text, Mapping) else {}


def _kv_dtype(said: Mapping[str, Any], wide: bool) -> KvDtype:
    named = str(said.get("kv_cache_dtype") or "auto")
    if named.startswith("fp8"):
        return "fp8"
    return "float32" if wide and named == "auto" else "bf16"


def _loras(said: Mapping[str, Any]) -> Loras | None:
    if said.get("enable_lora") is not True:
        return None
    return Loras(_whole(said.get("max_loras")) or 1, _whole(said.get("max_lora_rank")) or 16)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _positive(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else 0.0


def _share(value: object) -> float | None:
    return value if isinstance(value, int | float) and 0 < value <= 1 else None

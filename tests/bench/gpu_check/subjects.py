"""The engines that are started on a GPU: Scout as large as fits, and Llama 3.1 8B, as `config.json` and as entries of a config.

Decides how Scout is stored and how many of its layers are kept: the widest form that fits whole, else int4 with fewer layers. The sizes are
the catalogue's, so a wrong size there shows as wrong weights here. Weights are made up by vLLM (`load_format: dummy`) and no tokenizer is
needed, so nothing is downloaded.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import Stored
from cluster.catalogue.config_quantization import layout_from
from cluster.catalogue.config_shape import architecture_from
from cluster.catalogue.gpus import Gpu
from cluster.catalogue.models import CATALOGUE
from cluster.planner.capacity import capacity
from cluster.planner.herd_fit import engine_of
from cluster.planner.memory.engine import Engine
from configs.schema import Model

SCOUT_TOKENS, DENSE_TOKENS = 32_768, 131_072
#: Scout's layers repeat after so many: one global layer behind three chunked ones.
PERIOD = 4
#: What llm-compressor leaves in bf16 of Llama 4: everything but the experts' matrices.
NOT_QUANTISED = ["re:.*lm_head", "re:.*self_attn", "re:.*router", "re:.*vision_model.*", "re:.*multi_modal_projector.*"]
WEIGHTS: dict[str, dict[str, Any]] = {
    "fp8": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "channel", "dynamic": False},
    "int4": {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128, "dynamic": False},
}
INPUTS: dict[str, dict[str, Any] | None] = {
    "fp8": {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "token", "dynamic": True},
    "int4": None,
}
FORMATS = {"fp8": "float-quantized", "int4": "pack-quantized"}


@dataclass(frozen=True, slots=True)
class Subject:
    """One engine to be started."""

    name: str
    config: dict[str, Any]
    """Its `config.json`."""
    model: Model
    """The entry of a herd's config that would start it."""

    @property
    def stored(self) -> Stored:
        """What the planner reads in its `config.json`."""
        architecture = architecture_from(self.config)
        return Stored(architecture, layout_from(self.config, architecture))

    def engine(self, gpu: Gpu) -> Engine:
        """The engine as the planner sees it."""
        planned = engine_of(self.model, gpu, self.stored)
        assert planned is not None, "it has a config.json"
        return planned

    def arguments(self, folder: str) -> dict[str, Any]:
        """vLLM's arguments for it, its `config.json` being in a folder."""
        return {**self.model.engine, "model": folder, "max_model_len": self.model.context_tokens}


def subject(name: str, architecture: Architecture, quantization: str, context_tokens: int, **engine: Any) -> Subject:
    """An engine of a shape, with made-up weights in a form (bf16, fp8, int4)."""
    arguments = {"load_format": "dummy", "skip_tokenizer_init": True, "dtype": "bfloat16", **engine}
    model = Model(id="gpu-check", kind="generic", checkpoint="/gpu-check", context_tokens=context_tokens, engine=arguments)
    return Subject(name, config_of(architecture, quantization), model)


def for_gpu(gpu: Gpu) -> list[Subject]:
    """The engines for a GPU: those that it holds, the largest first."""
    dense = subject("llama-3.1-8b, bf16", _shape("llama-3.1-8b"), "bf16", DENSE_TOKENS)
    small = replace(dense, model=dense.model.model_copy(update={"context_tokens": 8192}))
    fitting = [one for one in (dense, small) if fits(one, gpu)]
    return [*(one for one in (_scout(gpu),) if one), *fitting[:1]]


def fits(one: Subject, gpu: Gpu) -> bool:
    """Whether the planner says that it starts."""
    return capacity(one.engine(gpu)).fits


def _scout(gpu: Gpu) -> Subject | None:
    return next((one for one in _scouts(gpu) if fits(one, gpu)), None)


def _scouts(gpu: Gpu) -> Iterator[Subject]:
    """Scout in every form that is worth a try, the largest first."""
    whole = _shape("llama-4-scout")
    forms = ("bf16", "fp8", "int4") if gpu.fp8_flops else ("bf16", "int4")
    yield from (subject(f"llama-4-scout, {form}", whole, form, SCOUT_TOKENS) for form in forms)
    for layers in range(whole.layers - PERIOD, 0, -PERIOD):
        yield subject(f"llama-4-scout, int4, {layers} of {whole.layers} layers", _cut(whole, layers), "int4", SCOUT_TOKENS)


def tiny() -> list[Subject]:
    """The same two kinds of model in a size that a CPU serves, to try the measurement itself."""
    sizes: dict[str, Any] = {
        "layers": 4,
        "hidden": 128,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 32,
        "intermediate": 128,
        "max_positions": 8192,
    }
    experts: dict[str, Any] = {"expert_intermediate": 128, "chunk_tokens": 512, "vocab": 2048}
    moe = _cut(replace(_shape("llama-4-scout"), **sizes, **experts), 4)
    dense = replace(_shape("llama-3.1-8b"), **sizes, vocab=2048)
    small: dict[str, Any] = {"max_num_seqs": 16, "max_num_batched_tokens": 2048, "kv_cache_memory_bytes": 1 << 27, "enforce_eager": True}
    return [
        subject("tiny scout", moe, "bf16", 2048, **small),
        subject("tiny dense", dense, "bf16", 2048, **small),
    ]


def _shape(kind: Any) -> Architecture:
    """A kind's text model: the image encoder's class would ask for a processor."""
    decoder = CATALOGUE[kind].decoder
    assert decoder is not None
    return replace(decoder, vision=None)


def _cut(whole: Architecture, layers: int) -> Architecture:
    """The first layers of a model."""
    return replace(whole, layers=layers, moe_layers=_first(whole.moe_layers, layers), global_layers=_first(whole.global_layers, layers))


def _first(numbers: Iterable[int], layers: int) -> tuple[int, ...]:
    return tuple(number for number in numbers if number < layers)


def config_of(architecture: Architecture, quantization: str) -> dict[str, Any]:
    """The `config.json` of a text model, from which the planner reads the same shape again."""
    kind = _llama4(architecture) if architecture.experts else _llama(architecture)
    common = {
        "dtype": "bfloat16",
        "num_hidden_layers": architecture.layers,
        "hidden_size": architecture.hidden,
        "num_attention_heads": architecture.heads,
        "num_key_value_heads": architecture.kv_heads,
        "head_dim": architecture.head_dim,
        "vocab_size": architecture.vocab,
        "max_position_embeddings": architecture.max_positions,
        "tie_word_embeddings": architecture.tied_embeddings,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "attention_bias": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    return common | kind | ({} if quantization == "bf16" else {"quantization_config": _compressed(quantization)})


def _llama(architecture: Architecture) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "intermediate_size": architecture.intermediate,
        "mlp_bias": False,
        "rope_parameters": _rope(8.0, 4.0),
    }


def _llama4(architecture: Architecture) -> dict[str, Any]:
    return {
        "architectures": ["Llama4ForCausalLM"],
        "model_type": "llama4_text",
        "intermediate_size": architecture.expert_intermediate,
        "intermediate_size_mlp": architecture.intermediate,
        "num_local_experts": architecture.experts,
        "num_experts_per_tok": architecture.experts_per_token,
        "interleave_moe_layer_step": 1,
        "attention_chunk_size": architecture.chunk_tokens,
        "no_rope_layer_interval": PERIOD,
        "use_qk_norm": True,
        "attn_temperature_tuning": True,
        "floor_scale": 8192,
        "attn_scale": 0.1,
        "rope_parameters": _rope(16.0, 1.0),
        "pad_token_id": 2,
    }


def _rope(factor: float, high: float) -> dict[str, Any]:
    return {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": factor,
        "low_freq_factor": 1.0,
        "high_freq_factor": high,
        "original_max_position_embeddings": 8192,
    }


def _compressed(quantization: str) -> dict[str, Any]:
    group = {"targets": ["Linear"], "weights": WEIGHTS[quantization], "input_activations": INPUTS[quantization], "output_activations": None}
    return {
        "quant_method": "compressed-tensors",
        "format": FORMATS[quantization],
        "quantization_status": "compressed",
        "ignore": NOT_QUANTISED,
        "config_groups": {"group_0": group},
    }

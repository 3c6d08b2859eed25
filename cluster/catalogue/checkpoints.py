"""How checkpoints store their weights: bytes per parameter of each component, and what a `config.json` says.

Decides what a checkpoint is from its decoded `config.json`; the file itself is read by `configs.load`. Bytes per parameter count the scales
with the weights. Sources stand beside each layout; those marked as assumed were not read in a checkpoint's own file list.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from cluster.catalogue.architecture import Architecture, Component, VisionTower, every
from configs.schema import Quantization

BF16_BYTES = 2.0
FP8_BYTES = 1.0
#: Four bits and a bf16 scale for each group of 128.
INT4_BYTES = 0.5 + 2 / 128
#: The same with a zero point of four bits for each group.
INT4_ZERO_BYTES = INT4_BYTES + 0.5 / 128
#: Four bits and an fp8 scale for each block of 16.
NVFP4_BYTES = 0.5 + 1 / 16

_EXPERTS: tuple[Component, ...] = ("routed_experts",)
_MLPS: tuple[Component, ...] = ("routed_experts", "shared_experts", "dense_mlp")
_LINEAR: tuple[Component, ...] = (*_MLPS, "attention_qo", "attention_kv")


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Which components are stored in how many bytes, the rest in `plain_bytes`. The layouts are the constants below."""

    name: str
    quantization: Quantization
    source: str
    bytes_per_parameter: Mapping[Component, float] = field(default_factory=lambda: MappingProxyType({}))
    inner_layers_only: bool = False
    """The first and the last layer stay as they were trained."""
    plain_bytes: float = BF16_BYTES
    """Of what is not quantised: 2 in bf16 and float16, 4 where an engine is told `dtype: float32`."""
    int8_activations: bool = False
    """Activations are quantised to int8 too (w8a8), and multiplied so."""

    def bytes_of(self, component: Component) -> float:
        """Bytes of one parameter of a component."""
        return self.bytes_per_parameter.get(component, self.plain_bytes)

    def layer_bytes(self, component: Component, parameters: int, layer: int, layers: int) -> float:
        """Bytes of a component of one decoder layer."""
        if self.inner_layers_only and layer in (0, layers - 1):
            return parameters * self.plain_bytes
        return parameters * self.bytes_of(component)

    def weight_bytes(self, architecture: Architecture) -> float:
        """Bytes of the whole checkpoint."""
        decoder = decoder_bytes(architecture, self, range(architecture.layers))
        return sum(decoder.values()) + sum(count * self.bytes_of(part) for part, count in architecture.outer_parameters().items())


@lru_cache(maxsize=1024)
def decoder_bytes(architecture: Architecture, layout: Layout, layers: range) -> Mapping[Component, float]:
    """Bytes of each component of some of the decoder's layers."""
    total: dict[Component, float] = {}
    for layer in layers:
        for component, parameters in architecture.layer_parameters(layer).items():
            stored = layout.layer_bytes(component, parameters, layer, architecture.layers)
            total[component] = total.get(component, 0.0) + stored
    return MappingProxyType(total)


def _layout(name: str, quantization: Quantization, components: tuple[Component, ...], width: float, source: str) -> Layout:
    return Layout(name, quantization, source, MappingProxyType(dict.fromkeys(components, width)))


BF16 = Layout("bf16", "bf16", "as released")
META_FP8 = _layout(
    "fp8 (routed experts only)", "fp8", _EXPERTS, FP8_BYTES, "llama-models `quantization/loader.py`: only routed experts, not shared ones"
)
MLP_FP8 = _layout("fp8 (MLPs)", "fp8", _MLPS, FP8_BYTES, "llm-compressor; attention, router, vision and head in bf16, assumed")
LINEAR_FP8 = _layout("fp8 (all linear layers)", "fp8", _LINEAR, FP8_BYTES, "ModelOpt, and llm-compressor for dense models; assumed")
META_405B_FP8 = Layout(
    "fp8 (MLPs of the inner layers)",
    "fp8",
    "Meta's 405B: MLPs of layers 1 to 124; within 2 % of the log in vllm#6746",
    MappingProxyType({"dense_mlp": FP8_BYTES}),
    inner_layers_only=True,
)
MLP_INT4 = _layout("w4a16 (MLPs)", "int4", _MLPS, INT4_BYTES, "llm-compressor, groups of 128; attention, router, vision in bf16, assumed")
LINEAR_INT4 = _layout("w4a16 (all linear layers)", "int4", _LINEAR, INT4_BYTES, "llm-compressor for dense models, groups of 128; assumed")
AWQ = _layout(
    "awq (all linear layers)", "int4", _LINEAR, INT4_ZERO_BYTES, "AutoAWQ, groups of 128 with zero points; a log of a 70B's 37.09 GiB"
)
LINEAR_INT8 = Layout(
    "w8a8 (all linear layers)",
    "int8",
    "llm-compressor, int8 weights and activations; logs of vLLM 0.19",
    MappingProxyType(dict.fromkeys(_LINEAR, 1.0)),
    int8_activations=True,
)
LINEAR_NVFP4 = _layout("nvfp4 (all linear layers)", "nvfp4", _LINEAR, NVFP4_BYTES, "ModelOpt, blocks of 16; assumed")

_WITH_EXPERTS: Mapping[Quantization, Layout] = MappingProxyType(
    {"bf16": BF16, "fp8": MLP_FP8, "int8": LINEAR_INT8, "int4": MLP_INT4, "nvfp4": LINEAR_NVFP4}
)
_DENSE: Mapping[Quantization, Layout] = MappingProxyType(
    {"bf16": BF16, "fp8": LINEAR_FP8, "int8": LINEAR_INT8, "int4": AWQ, "nvfp4": LINEAR_NVFP4}
)


def usual_layout(quantization: Quantization, architecture: Architecture) -> Layout:
    """How a checkpoint that nobody knows is taken to be stored: of models with experts the tools leave attention alone, of others not.

    Always the larger of the usual layouts.
    """
    return (_WITH_EXPERTS if architecture.experts else _DENSE)[quantization]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights that can be downloaded."""

    repository: str
    layout: Layout = BF16
    instruct: bool = True
    context_tokens: int | None = None
    """Where it differs from the model's own."""
    assumed: bool = False
    """Nobody has named it: a checkpoint of this quantisation as the tools make it."""

    def shaped(self, architecture: Architecture) -> Architecture:
        """The model's architecture with this checkpoint's own positions."""
        return replace(architecture, max_positions=self.context_tokens) if self.context_tokens else architecture


class NotRead(ValueError):
    """A `config.json` that the planner cannot turn into an architecture; the message says why."""


def architecture_from(config: Mapping[str, Any]) -> Architecture:
    """The architecture in a decoded `config.json` of a Llama-shaped model.

    Raises:
        NotRead: it is of another kind, or a field is missing or no number.
    """
    kind = config.get("model_type")
    text = config.get("text_config") if kind == "llama4" else config
    if kind not in ("llama", "llama4", "llama4_text") or not isinstance(text, Mapping):
        raise NotRead(f"model_type is {kind!r}; the planner reads llama, llama4 and llama4_text")
    try:
        return _dense(text) if kind == "llama" else _llama_4(text, config.get("vision_config"))
    except KeyError as error:
        raise NotRead(f"{error.args[0]} is missing") from error
    except (TypeError, ValueError) as error:
        raise NotRead(f"a field is not what it should be ({error})") from error


def _count(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name, default)
    if value is None:
        raise KeyError(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise TypeError(f"{name} is {value!r}")
    return value


def _dense(config: Mapping[str, Any]) -> Architecture:
    heads, hidden = _count(config, "num_attention_heads"), _count(config, "hidden_size")
    return Architecture(
        layers=_count(config, "num_hidden_layers"),
        hidden=hidden,
        heads=heads,
        kv_heads=_count(config, "num_key_value_heads", heads),
        head_dim=_count({key: value for key, value in config.items() if value is not None}, "head_dim", hidden // heads),
        vocab=_count(config, "vocab_size"),
        intermediate=_count(config, "intermediate_size"),
        max_positions=_count(config, "max_position_embeddings"),
        tied_embeddings=config.get("tie_word_embeddings") is True,
    )


def _llama_4(config: Mapping[str, Any], vision: Mapping[str, Any] | None) -> Architecture:
    layers = _count(config, "num_hidden_layers")
    moe = config.get("moe_layers")
    if moe is None:
        moe = every(layers, _count(config, "interleave_moe_layer_step"))
    nope = config.get("no_rope_layers") or []
    interval = _count(config, "no_rope_layer_interval", 4)
    global_layers = tuple(layer for layer, rope in enumerate(nope) if not rope) if nope else every(layers, interval)
    return Architecture(
        layers=layers,
        hidden=_count(config, "hidden_size"),
        heads=_count(config, "num_attention_heads"),
        kv_heads=_count(config, "num_key_value_heads"),
        head_dim=_count(config, "head_dim"),
        vocab=_count(config, "vocab_size"),
        intermediate=_count(config, "intermediate_size_mlp"),
        max_positions=_count(config, "max_position_embeddings"),
        experts=_count(config, "num_local_experts") if moe else 0,
        experts_per_token=_count(config, "num_experts_per_tok", 1),
        expert_intermediate=_count(config, "intermediate_size"),
        moe_layers=tuple(moe),
        chunk_tokens=None if config.get("attention_chunk_size") is None else _count(config, "attention_chunk_size"),
        global_layers=global_layers,
        tied_embeddings=config.get("tie_word_embeddings") is True,
        vision=None if vision is None else _vision(vision),
    )


def _vision(config: Mapping[str, Any]) -> VisionTower:
    return VisionTower(
        layers=_count(config, "num_hidden_layers"),
        hidden=_count(config, "hidden_size"),
        heads=_count(config, "num_attention_heads"),
        intermediate=_count(config, "intermediate_size"),
        image_pixels=_count(config, "image_size"),
        patch_pixels=_count(config, "patch_size"),
        shuffle=float(config.get("pixel_shuffle_ratio", 0.5)),
        projector=_count(config, "projector_output_dim"),
    )


def layout_from(config: Mapping[str, Any], architecture: Architecture) -> Layout:
    """How the weights beside a decoded `config.json` are stored.

    Raises:
        NotRead: they are quantised in a way that the planner has no layout for.
    """
    stored = config.get("quantization_config")
    if not isinstance(stored, Mapping):
        return BF16
    method = stored.get("quant_method")
    said = str({**stored, "ignore": None}).lower()
    for mark, word in (("nvfp4", "nvfp4"), ("float-quantized", "fp8"), ("pack-quantized", "int4"), ("fp8", "fp8")):
        if mark in said:
            return _by_tool(str(method), word, architecture)
    raise NotRead(f"quantization_config names {method!r}, which the planner has no layout for; say --quantization")


def _by_tool(method: str, word: str, architecture: Architecture) -> Layout:
    attention_too = method == "modelopt" or not architecture.experts
    match word:
        case "nvfp4":
            return LINEAR_NVFP4
        case "int4":
            return LINEAR_INT4 if attention_too else MLP_INT4
        case _ if method == "fbgemm_fp8":
            return META_FP8 if architecture.experts else META_405B_FP8
        case _:
            return LINEAR_FP8 if attention_too else MLP_FP8

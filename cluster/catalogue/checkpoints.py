"""How checkpoints store their weights: bytes per parameter of each component.

Leaves what a `config.json` says to `cluster.catalogue.config_shape` and `config_quantization`. Bytes per parameter count the scales with
the weights. Sources stand beside each layout; those marked as assumed were not read in a checkpoint's own file list.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import MappingProxyType

from cluster.catalogue.architecture import Architecture, Component
from configs.names import Quantization

BF16_BYTES = 2.0
FP8_BYTES = 1.0
#: Four bits and a bf16 scale for each group of 128.
INT4_BYTES = 0.5 + 2 / 128
#: The same with a zero point of four bits for each group.
INT4_ZERO_BYTES = INT4_BYTES + 0.5 / 128
#: Four bits and an fp8 scale for each block of 16.
NVFP4_BYTES = 0.5 + 1 / 16

EXPERTS: tuple[Component, ...] = ("routed_experts",)
MLPS: tuple[Component, ...] = ("routed_experts", "shared_experts", "dense_mlp")
LINEAR: tuple[Component, ...] = (*MLPS, "attention_qo", "attention_kv")


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


def layout(name: str, quantization: Quantization, components: tuple[Component, ...], width: float, source: str) -> Layout:
    """A layout that stores some components in so many bytes each."""
    return Layout(name, quantization, source, MappingProxyType(dict.fromkeys(components, width)))


BF16 = Layout("bf16", "bf16", "as released")
META_FP8 = layout(
    "fp8 (routed experts only)", "fp8", EXPERTS, FP8_BYTES, "llama-models `quantization/loader.py`: only routed experts, not shared ones"
)
MLP_FP8 = layout("fp8 (MLPs)", "fp8", MLPS, FP8_BYTES, "llm-compressor; attention, router, vision and head in bf16, assumed")
LINEAR_FP8 = layout("fp8 (all linear layers)", "fp8", LINEAR, FP8_BYTES, "ModelOpt, and llm-compressor for dense models; assumed")
META_405B_FP8 = Layout(
    "fp8 (MLPs of the inner layers)",
    "fp8",
    "Meta's 405B: MLPs of layers 1 to 124; within 2 % of the log in vllm#6746",
    MappingProxyType({"dense_mlp": FP8_BYTES}),
    inner_layers_only=True,
)
MLP_INT4 = layout("w4a16 (MLPs)", "int4", MLPS, INT4_BYTES, "llm-compressor, groups of 128; attention, router, vision in bf16, assumed")
LINEAR_INT4 = layout("w4a16 (all linear layers)", "int4", LINEAR, INT4_BYTES, "llm-compressor for dense models, groups of 128; assumed")
AWQ = layout(
    "awq (all linear layers)", "int4", LINEAR, INT4_ZERO_BYTES, "AutoAWQ, groups of 128 with zero points; a log of a 70B's 37.09 GiB"
)
LINEAR_INT8 = Layout(
    "w8a8 (all linear layers)",
    "int8",
    "llm-compressor, int8 weights and activations; logs of vLLM 0.19",
    MappingProxyType(dict.fromkeys(LINEAR, 1.0)),
    int8_activations=True,
)
LINEAR_NVFP4 = layout("nvfp4 (all linear layers)", "nvfp4", LINEAR, NVFP4_BYTES, "ModelOpt, blocks of 16; assumed")

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

    first_kv_heads: int | None = None
    """KV heads of its first upload, where a later one has fewer: Meta's 405B held each twice until August 2024."""

    def shaped(self, architecture: Architecture, *, first_upload: bool = False) -> Architecture:
        """The model's architecture with this checkpoint's own positions, and the KV heads of its first upload where that is meant."""
        if first_upload and self.first_kv_heads:
            architecture = replace(architecture, kv_heads=self.first_kv_heads)
        return replace(architecture, max_positions=self.context_tokens) if self.context_tokens else architecture


@dataclass(frozen=True, slots=True)
class Stored:
    """A checkpoint's shape and format, as its own files say them."""

    architecture: Architecture
    layout: Layout

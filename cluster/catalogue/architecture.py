"""The shape of a model: how many parameters each of its parts has, and which of its layers are which.

Decides nothing about bytes (that is `cluster.catalogue.checkpoints`), memory or speed. The arithmetic holds for Llama-shaped decoders:
grouped-query attention, gated MLPs, RMS norms, and Llama 4's experts, chunked layers and vision tower.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

Component = Literal[
    "attention_qo", "attention_kv", "norms", "embedding", "head", "dense_mlp", "shared_experts", "routed_experts", "router", "vision"
]


def every(layers: int, interval: int) -> tuple[int, ...]:
    """Every `interval`-th layer, counted as Llama 4 does: layer i where (i + 1) is a multiple."""
    return tuple(layer for layer in range(layers) if (layer + 1) % interval == 0)


@dataclass(frozen=True, slots=True)
class VisionTower:
    """Llama 4's image encoder; the defaults are those of Scout, Maverick and Llama Guard 4.

    The shipped sizes are from TensorRT-LLM's Llama 4 test config; the defaults in transformers are not the shipped ones.
    """

    layers: int = 34
    hidden: int = 1408
    heads: int = 16
    intermediate: int = 5632
    image_pixels: int = 336
    patch_pixels: int = 14
    shuffle: float = 0.5
    projector: int = 4096

    @property
    def patches(self) -> int:
        """Patches of one tile."""
        return (self.image_pixels // self.patch_pixels) ** 2

    @property
    def tokens_per_tile(self) -> int:
        """Tokens of one tile after pixel shuffle: 144 (vLLM, `mllama4.py::get_patch_per_chunk`)."""
        return int(self.patches * self.shuffle**2)

    def tokens_per_image(self, rows: int, columns: int) -> int:
        """Prompt tokens of an image cut into rows x columns tiles, with its separators and, over one tile, the global one.

        Source: transformers, `processing_llama4.py::_prompt_split_image`. One tile 147, else 145 a tile and 147.
        """
        tiles = rows * columns
        if tiles == 1:
            return self.tokens_per_tile + 3
        return tiles * self.tokens_per_tile + rows * (columns - 1) + rows + 1 + self.tokens_per_tile + 2

    def parameters(self, text_hidden: int) -> int:
        """Parameters of encoder, adapter and the projection into the text model."""
        wide, mlp = self.hidden, self.intermediate
        layer = 4 * (wide * wide + wide) + (wide * mlp + mlp) + (mlp * wide + wide) + 4 * wide
        embeddings = 3 * self.patch_pixels**2 * wide + wide + (self.patches + 1) * wide + 4 * wide
        adapter = int(wide / self.shuffle**2) * self.projector + self.projector**2
        return self.layers * layer + embeddings + adapter + self.projector * text_hidden


@dataclass(frozen=True, slots=True)
class Architecture:
    """One model's shape, in the fields of its `config.json`."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    intermediate: int
    """Of the MLP of a layer without experts."""
    max_positions: int
    """`max_position_embeddings`: vLLM sizes its rope cache by it, whatever the context."""
    experts: int = 0
    experts_per_token: int = 1
    expert_intermediate: int = 0
    """Of a routed expert, and of the shared one beside them."""
    moe_layers: tuple[int, ...] = ()
    chunk_tokens: int | None = None
    """Attention chunk of the layers that are not global; none: every layer sees every token."""
    global_layers: tuple[int, ...] = ()
    """The layers without rotary embedding, which see every token; only where there are chunks."""
    tied_embeddings: bool = False
    vision: VisionTower | None = None
    context_limit: int | None = None
    """The longest request that the model was made for, where its positions go further."""
    shared_intermediate: int | None = None
    """Of the shared expert; none: as wide as a routed one. 0: there is none."""
    mlp_matrices: int = 3
    """Of an MLP: gate, up and down; 2 where it has no gate."""
    rotary_share: float = 1.0
    """Of a head, the part that rotary embedding turns (`partial_rotary_factor`)."""

    @property
    def longest_tokens(self) -> int:
        """The longest request that the model takes."""
        return min(self.context_limit or self.max_positions, self.max_positions)

    @property
    def rotary_dim(self) -> int:
        """Elements of the rope cache for each position."""
        return int(self.head_dim * self.rotary_share)

    @property
    def shared_width(self) -> int:
        """Width of the shared expert of a layer with experts."""
        return self.expert_intermediate if self.shared_intermediate is None else self.shared_intermediate

    @property
    def chunked_layers(self) -> tuple[int, ...]:
        """The layers that attend within their chunk only."""
        if self.chunk_tokens is None:
            return ()
        return tuple(layer for layer in range(self.layers) if layer not in self.global_layers)

    def layer_parameters(self, layer: int) -> dict[Component, int]:
        """Parameters of one decoder layer."""
        gated = self.mlp_matrices * self.hidden
        parts: dict[Component, int] = {
            "attention_qo": 2 * self.hidden * self.heads * self.head_dim,
            "attention_kv": 2 * self.hidden * self.kv_heads * self.head_dim,
            "norms": 2 * self.hidden,
        }
        if layer not in self.moe_layers:
            return parts | {"dense_mlp": gated * self.intermediate}
        return parts | {
            "shared_experts": gated * self.shared_width,
            "routed_experts": gated * self.expert_intermediate * self.experts,
            "router": self.hidden * self.experts,
        }

    def outer_parameters(self) -> dict[Component, int]:
        """Parameters outside the decoder layers."""
        return {
            "embedding": self.vocab * self.hidden,
            "head": 0 if self.tied_embeddings else self.vocab * self.hidden,
            "norms": self.hidden,
            "vision": self.vision.parameters(self.hidden) if self.vision else 0,
        }

    def parameters(self) -> Mapping[Component, int]:
        """Parameters of each component of the whole model."""
        return _parameters(self)

    @property
    def total_parameters(self) -> int:
        """All of them, vision included."""
        return sum(self.parameters().values())

    @property
    def active_parameters(self) -> int:
        """Those that one decoded token is multiplied with: no input embedding, no vision, and of the experts only the chosen."""
        parts = dict(self.parameters())
        embedding, _ = parts.pop("embedding"), parts.pop("vision")
        experts = parts.pop("routed_experts", 0)
        head = embedding if self.tied_embeddings else 0
        return sum(parts.values()) + head + (experts * self.experts_per_token // self.experts if self.experts else 0)


@lru_cache(maxsize=64)
def _parameters(architecture: Architecture) -> Mapping[Component, int]:
    total = architecture.outer_parameters()
    for layer in range(architecture.layers):
        for component, count in architecture.layer_parameters(layer).items():
            total[component] = total.get(component, 0) + count
    return MappingProxyType(total)


@dataclass(frozen=True, slots=True)
class Encoder:
    """A classifier with an encoder only (DeBERTa): no KV cache, no vLLM engine."""

    layers: int
    hidden: int
    intermediate: int
    vocab: int

    @property
    def total_parameters(self) -> int:
        """Weights of the matrices; biases and norms are below a thousandth."""
        return self.vocab * self.hidden + self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)

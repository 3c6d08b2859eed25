"""`cluster.catalogue.checkpoints`: bytes of every layout, and what a `config.json` is read as."""

from typing import Any

import pytest

from cluster.catalogue import sizes as shapes
from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import (
    BF16,
    LINEAR_FP8,
    LINEAR_INT4,
    LINEAR_NVFP4,
    META_405B_FP8,
    META_FP8,
    MLP_FP8,
    MLP_INT4,
    Layout,
    NotRead,
    architecture_from,
    decoder_bytes,
    layout_from,
)
from cluster.catalogue.hardware import GIB
from cluster.catalogue.models import CATALOGUE

LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128_256,
    "intermediate_size": 14_336,
    "max_position_embeddings": 131_072,
    "head_dim": None,
}
SCOUT_TEXT: dict[str, Any] = {
    "num_hidden_layers": 48,
    "hidden_size": 5120,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "vocab_size": 202_048,
    "intermediate_size": 8192,
    "intermediate_size_mlp": 16_384,
    "num_local_experts": 16,
    "interleave_moe_layer_step": 1,
    "attention_chunk_size": 8192,
    "no_rope_layer_interval": 4,
    "max_position_embeddings": 10_485_760,
}
VISION: dict[str, Any] = {
    "num_hidden_layers": 34,
    "hidden_size": 1408,
    "num_attention_heads": 16,
    "intermediate_size": 5632,
    "image_size": 336,
    "patch_size": 14,
    "projector_output_dim": 4096,
}
SCOUT: dict[str, Any] = {"model_type": "llama4", "text_config": SCOUT_TEXT, "vision_config": VISION}


@pytest.mark.parametrize(
    ("shape", "layout", "gib"),
    [
        (shapes.SCOUT, BF16, 202.4),
        (shapes.MAVERICK, BF16, 748.0),
        (shapes.MAVERICK, META_FP8, 388.0),
        (shapes.SCOUT, MLP_FP8, 106.7),
        (shapes.SCOUT, MLP_INT4, 60.4),
        (shapes.SCOUT, LINEAR_NVFP4, 60.8),
        (shapes.LLAMA_70B, LINEAR_FP8, 67.7),
        (shapes.LLAMA_405B, META_405B_FP8, 453.8),
    ],
)
def test_bytes_of_a_checkpoint(shape: Architecture, layout: Layout, gib: float) -> None:
    assert layout.weight_bytes(shape) / GIB == pytest.approx(gib, rel=0.002)


@pytest.mark.parametrize("shape", [entry.decoder for entry in CATALOGUE.values() if entry.decoder], ids=lambda shape: str(shape.hidden))
@pytest.mark.parametrize(
    ("coarser", "finer"),
    [
        (BF16, META_FP8),
        (META_FP8, MLP_FP8),
        (MLP_FP8, LINEAR_FP8),
        (LINEAR_FP8, LINEAR_NVFP4),
        (LINEAR_NVFP4, LINEAR_INT4),
        (MLP_FP8, MLP_INT4),
    ],
)
def test_finer_quantisation_never_needs_more(shape: Architecture, coarser: Layout, finer: Layout) -> None:
    assert finer.weight_bytes(shape) <= coarser.weight_bytes(shape)


def test_edges_of_metas_405b_stay_in_bf16() -> None:
    outer, inner = (sum(decoder_bytes(shapes.LLAMA_405B, META_405B_FP8, range(at, at + 1)).values()) for at in (0, 1))
    assert outer == sum(decoder_bytes(shapes.LLAMA_405B, BF16, range(1)).values()) > inner


def test_config_of_a_dense_model_is_its_architecture() -> None:
    assert architecture_from(LLAMA) == shapes.LLAMA_8B
    assert architecture_from({**LLAMA, "tie_word_embeddings": True, "head_dim": 128}).tied_embeddings


@pytest.mark.parametrize(
    "text",
    [
        {},
        {"interleave_moe_layer_step": None, "moe_layers": list(range(48))},
        {"no_rope_layers": [int((layer + 1) % 4 != 0) for layer in range(48)]},
    ],
)
def test_config_of_scout_is_its_architecture_however_its_layers_are_said(text: dict[str, Any]) -> None:
    assert architecture_from({**SCOUT, "text_config": SCOUT_TEXT | text}) == shapes.SCOUT


def test_config_of_a_model_without_experts_or_chunks_is_guard_4s() -> None:
    text = SCOUT_TEXT | {"moe_layers": [], "attention_chunk_size": None, "intermediate_size_mlp": 8192, "max_position_embeddings": 8192}
    found = architecture_from({**SCOUT, "text_config": text})
    assert found.total_parameters == shapes.GUARD_4.total_parameters
    assert (found.experts, found.chunked_layers) == (0, ())
    assert architecture_from({**text, "model_type": "llama4_text"}).vision is None


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "qwen3"}, "model_type is 'qwen3'; the planner reads llama, llama4 and llama4_text"),
        ({"model_type": "llama4", "text_config": 3}, "model_type is 'llama4'"),
        ({**LLAMA, "hidden_size": None}, "hidden_size is missing"),
        ({**LLAMA, "num_attention_heads": 0}, "num_attention_heads is 0"),
        ({**LLAMA, "num_hidden_layers": "many"}, "num_hidden_layers is 'many'"),
        ({**LLAMA, "vocab_size": True}, "vocab_size is True"),
    ],
)
def test_config_that_is_not_understood_is_refused_with_a_reason(config: dict[str, Any], why: str) -> None:
    with pytest.raises(NotRead, match=why):
        architecture_from(config)


@pytest.mark.parametrize(
    ("stored", "shape", "layout"),
    [
        (None, shapes.SCOUT, BF16),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, shapes.SCOUT, MLP_FP8),
        ({"quant_method": "compressed-tensors", "format": "float-quantized"}, shapes.LLAMA_70B, LINEAR_FP8),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, shapes.SCOUT, MLP_INT4),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized"}, shapes.LLAMA_70B, LINEAR_INT4),
        ({"quant_method": "compressed-tensors", "format": "nvfp4-pack-quantized"}, shapes.SCOUT, LINEAR_NVFP4),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, shapes.SCOUT, LINEAR_FP8),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, shapes.SCOUT, LINEAR_NVFP4),
        ({"quant_method": "fbgemm_fp8"}, shapes.MAVERICK, META_FP8),
        ({"quant_method": "fbgemm_fp8"}, shapes.LLAMA_405B, META_405B_FP8),
    ],
)
def test_quantisation_is_read_from_the_config(stored: Any, shape: Architecture, layout: Layout) -> None:
    assert layout_from({"quantization_config": stored}, shape) is layout


def test_quantisation_that_nobody_knows_is_refused() -> None:
    with pytest.raises(NotRead, match="'awq', which the planner has no layout for"):
        layout_from({"quantization_config": {"quant_method": "awq"}}, shapes.SCOUT)

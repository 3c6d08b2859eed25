"""`cluster.catalogue.config_quantization`: how weights are stored, in the words of every tool."""

from typing import Any

import pytest

from cluster.catalogue import sizes as shapes
from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import (
    AWQ,
    BF16,
    LINEAR_FP8,
    LINEAR_INT4,
    LINEAR_INT8,
    LINEAR_NVFP4,
    META_405B_FP8,
    META_FP8,
    MLP_FP8,
    MLP_INT4,
    Layout,
)
from cluster.catalogue.config_quantization import gguf_layout, layout_from
from cluster.catalogue.config_shape import NotRead
from cluster.catalogue.hardware import GIB


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


AWQ_70B = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
COMPRESSED = {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"]}


def compressed(bits: int, kind: str, **said: Any) -> dict[str, Any]:
    weights = {"num_bits": bits, "type": kind, "group_size": 128, "symmetric": True}
    inputs = None if bits == 4 else {"num_bits": 8, "type": kind}
    return {**COMPRESSED, "config_groups": {"group_0": {"weights": weights, "input_activations": inputs, "targets": ["Linear"]}}, **said}


@pytest.mark.parametrize(
    ("stored", "shape", "gib"),
    [
        (AWQ_70B, shapes.LLAMA_70B, 37.05),  # the log of a 70B says 37.09 with its rope cache
        (AWQ_70B | {"zero_point": False}, shapes.LLAMA_70B, 36.79),
        (AWQ_70B | {"modules_to_not_convert": ["self_attn"]}, shapes.LLAMA_8B, 7.19),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128, "sym": True, "desc_act": True}, shapes.LLAMA_8B, 5.31),
        ({"quant_method": "gptq", "bits": 8, "group_size": 128}, shapes.LLAMA_8B, 8.62),
        (compressed(4, "int"), shapes.LLAMA_8B, 5.31),
        (compressed(8, "int"), shapes.LLAMA_8B, 8.46),
        (compressed(8, "float"), shapes.LLAMA_70B, 67.70),
        (compressed(4, "int", ignore=["lm_head", "re:.*self_attn", "re:vision_model.*"]), shapes.SCOUT, 60.4),
        (compressed(4, "int", ignore=[f"model.layers.{layer}.self_attn.q_proj" for layer in range(48)]), shapes.SCOUT, 60.4),
        (compressed(4, "int", ignore=["re:vision_model.*"]), shapes.SCOUT, 56.3),
        (compressed(4, "float", ignore=["lm_head"]), shapes.LLAMA_8B, 5.61),
        ({"quant_method": "fp8", "activation_scheme": "dynamic"}, shapes.LLAMA_8B, 8.46),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, shapes.LLAMA_70B, 67.70),
        ({"quant_method": "fp8", "modules_to_not_convert": ["lm_head"]}, shapes.SCOUT, 103.9),
        ({"quant_method": "fp8"}, shapes.SCOUT, 106.7),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, shapes.LLAMA_8B, 5.61),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, shapes.LLAMA_8B, 5.31),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, shapes.LLAMA_8B, 8.46),
        ({"quant_method": "mxfp4"}, shapes.SCOUT, 70.2),
        ({"quant_method": "modelopt", "quant_algo": "FP8", "ignore": ["*self_attn*"]}, shapes.LLAMA_8B, 9.71),
        ({"quant_method": "compressed-tensors", "format": "int-quantized"}, shapes.LLAMA_8B, 8.46),
        ({}, shapes.LLAMA_8B, 14.96),
    ],
)
def test_checkpoints_of_every_tool_have_their_size(stored: Any, shape: Architecture, gib: float) -> None:
    assert layout_from({"quantization_config": stored}, shape).weight_bytes(shape) / GIB == pytest.approx(gib, rel=0.005)


@pytest.mark.parametrize(("stored", "layout"), [(AWQ_70B, AWQ), (compressed(8, "int"), LINEAR_INT8), (compressed(4, "int"), LINEAR_INT4)])
def test_usual_checkpoints_have_the_named_layouts(stored: Any, layout: Layout) -> None:
    assert layout_from({"quantization_config": stored}, shapes.LLAMA_70B) is layout


@pytest.mark.parametrize(
    ("name", "word", "gib"),
    [
        ("Llama-3.3-70B-Instruct-Q4_K_M.gguf", "int4", 40.2),
        ("repo-gguf:q8_0", "int8", 69.8),
        ("Llama-3.1-8B-IQ4_XS.gguf", "int4", None),
        ("Llama-3.1-8B-F16.gguf", "bf16", None),
    ],
)
def test_gguf_files_say_their_format_in_their_names(name: str, word: str, gib: float | None) -> None:
    found = gguf_layout(name)
    assert found is not None
    assert found.quantization == word
    if gib:
        assert found.weight_bytes(shapes.LLAMA_70B) / GIB == pytest.approx(gib, rel=0.01)


def test_name_without_a_format_is_no_gguf_file() -> None:
    assert gguf_layout("Llama-3.1-8B-Instruct-Q9") is None
    assert gguf_layout("Llama-3.1-8B-Instruct") is None


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        ({"quant_method": "hqq"}, "'hqq', which the planner has no layout for; say --quantization"),
        ({"quant_method": None}, "None, which the planner has no layout for"),
        ({"quant_method": "compressed-tensors", "format": "marlin-24"}, "the format 'marlin-24'"),
        ({"quant_method": "modelopt", "quant_algo": "W4A8"}, "'W4A8' of ModelOpt"),
        ({"quant_method": "awq", "bits": 5}, "bits is 5"),
        (compressed(3, "int"), "num_bits is 3"),
    ],
)
def test_quantisation_that_nobody_knows_is_refused(stored: Any, why: str) -> None:
    with pytest.raises(NotRead, match=why):
        layout_from({"quantization_config": stored}, shapes.SCOUT)

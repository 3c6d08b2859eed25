"""`cluster.catalogue.config_shape`: what a `config.json` is read as, and that none breaks the planner."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue import sizes as shapes
from cluster.catalogue.checkpoints import Checkpoint
from cluster.catalogue.config_quantization import layout_from
from cluster.catalogue.config_shape import NotRead, architecture_from
from cluster.catalogue.hardware import GPUS, Cluster, Node
from cluster.planner.search import Subject, Wish, plans

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
        ({"model_type": "deepseek_v3"}, "model_type is 'deepseek_v3'; the planner reads llama, llama4, llama4_text"),
        ({"model_type": ["llama"]}, "model_type is "),
        ({"model_type": "llama4", "text_config": 3}, "text_config is missing"),
        ({**SCOUT, "vision_config": [1]}, "vision_config is "),
        ({**SCOUT, "vision_config": VISION | {"pixel_shuffle_ratio": -1}}, "pixel_shuffle_ratio is -1"),
        ({**SCOUT, "text_config": SCOUT_TEXT | {"no_rope_layers": 3}}, "no_rope_layers is 3"),
        ({**SCOUT, "text_config": SCOUT_TEXT | {"moe_layers": [99]}}, "moe_layers is "),
        ({**SCOUT, "text_config": SCOUT_TEXT | {"num_experts_per_tok": 99}}, "num_experts_per_tok is 99, of 16 experts"),
        ({**LLAMA, "num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({**LLAMA, "partial_rotary_factor": 3}, "partial_rotary_factor is 3"),
        ({**LLAMA, "hidden_size": None}, "hidden_size is missing"),
        ({**LLAMA, "num_attention_heads": 0}, "num_attention_heads is 0"),
        ({**LLAMA, "num_hidden_layers": "many"}, "num_hidden_layers is 'many'"),
        ({**LLAMA, "vocab_size": True}, "vocab_size is True"),
    ],
)
def test_config_that_is_not_understood_is_refused_with_a_reason(config: dict[str, Any], why: str) -> None:
    with pytest.raises(NotRead, match=why):
        architecture_from(config)


def test_field_that_is_null_is_one_that_is_absent() -> None:
    assert architecture_from({**LLAMA, "num_key_value_heads": None}).kv_heads == 32


QWEN: dict[str, Any] = LLAMA | {"model_type": "qwen3", "vocab_size": 151_936, "num_hidden_layers": 36, "intermediate_size": 12_288}
MIXTRAL: dict[str, Any] = LLAMA | {"model_type": "mixtral", "vocab_size": 32_000, "num_local_experts": 8, "num_experts_per_tok": 2}
QWEN_MOE: dict[str, Any] = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "vocab_size": 151_936,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "max_position_embeddings": 40_960,
}


@pytest.mark.parametrize(
    ("config", "billions"),
    [
        (QWEN, 8.19),
        (MIXTRAL, 46.7),
        (QWEN_MOE, 30.5),
        (QWEN_MOE | {"model_type": "qwen2_moe", "shared_expert_intermediate_size": 5632, "first_k_dense_replace": 1}, 31.6),
        ({"model_type": "gemma3", "text_config": LLAMA | {"model_type": "gemma3_text", "vocab_size": 262_208}}, 8.05),
        ({"model_type": "mistral3", "text_config": LLAMA | {"model_type": "?"}}, 8.03),
        (LLAMA | {"model_type": "phi"}, 6.15),
    ],
)
def test_models_that_are_built_like_llama_are_read(config: dict[str, Any], billions: float) -> None:
    assert architecture_from(config).total_parameters / 1e9 == pytest.approx(billions, rel=0.01)


ODD = st.none() | st.booleans() | st.integers(-2, 1 << 70) | st.floats() | st.text(max_size=3) | st.lists(st.integers(-1, 9), max_size=3)
FIELDS = sorted({*LLAMA, *SCOUT_TEXT, *QWEN_MOE, "text_config", "vision_config", "moe_layers", "no_rope_layers", "quantization_config"})


@given(
    st.sampled_from((LLAMA, SCOUT, QWEN_MOE, MIXTRAL)),
    st.dictionaries(st.sampled_from(FIELDS), ODD | st.just({}), max_size=3),
    st.booleans(),
)
def test_no_config_breaks_the_planner(config: dict[str, Any], odd: dict[str, Any], inside: bool) -> None:
    """It is planned for, or refused with a reason."""
    text = {**config["text_config"], **odd} if inside and "text_config" in config else None
    mutated = {**config, "text_config": text} if text else {**config, **odd}
    try:
        shape = architecture_from(mutated)
        stored = layout_from(mutated, shape)
    except NotRead:
        return
    subject = Subject("a folder", shape, (Checkpoint("/folder", stored),), shape.longest_tokens, only_these=True)
    found = plans(subject, Cluster(Node(GPUS["H100"], 2), 1), Wish())
    assert all(plan.problems or plan.speed for plan in found)

"""`cluster.planner.memory.said`: every engine argument that changes memory is counted, or said to be left out."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue.hardware import GIB, GPUS
from cluster.planner.capacity import Capacity, capacity
from cluster.planner.herd_fit import engine_of
from cluster.planner.memory.engine import Engine
from cluster.planner.memory.said import NOT_COUNTED, not_counted, settings_of, told
from configs.engine_arguments import ENGINE_ARGUMENTS
from tests.unit.samples import model, scout


def engine(asked: Any) -> Engine:
    found = engine_of(asked, GPUS["H100"])
    assert found is not None
    return found


def held(**said: Any) -> Capacity:
    """What 8B on one H100 holds with these arguments."""
    return capacity(engine(model(engine=said)))


def seen(**said: Any) -> Capacity:
    """What Scout on 8 H100 holds with these arguments."""
    return capacity(engine(scout(parallel={"tensor": 8}, engine=said)))


PLAIN = held()


def test_pinned_cache_is_what_is_told() -> None:
    assert held(kv_cache_memory_bytes=10_000_000_000).kv_bytes == 10_000_000_000
    assert 76_000 < held(kv_cache_memory_bytes=10_000_000_000).pool_tokens < 77_000
    assert held(num_gpu_blocks_override=100).pool_blocks == 100


def test_float32_doubles_weights_and_halves_what_a_gib_holds() -> None:
    wide = held(dtype="float32")
    assert wide.weights_bytes == 2 * PLAIN.weights_bytes
    assert wide.kv_bytes_per_token == 2 * PLAIN.kv_bytes_per_token
    assert held(dtype="float32", kv_cache_dtype="fp8").kv_bytes_per_token == PLAIN.kv_bytes_per_token / 2
    assert held(dtype="float32", kv_cache_dtype="bfloat16").kv_bytes_per_token == PLAIN.kv_bytes_per_token


def test_offloaded_weights_make_room() -> None:
    assert held(cpu_offload_gb=4).kv_bytes - PLAIN.kv_bytes == pytest.approx(4 * GIB)
    assert held(cpu_offload_gb=0).kv_bytes == PLAIN.kv_bytes


def test_adapters_take_room() -> None:
    one, four = held(enable_lora=True), held(enable_lora=True, max_loras=4, max_lora_rank=64)
    assert PLAIN.kv_bytes > one.kv_bytes > four.kv_bytes
    assert held(max_loras=4).kv_bytes == PLAIN.kv_bytes


def test_bf16_checkpoint_is_quantised_on_the_way() -> None:
    assert held(quantization="fp8").weights_bytes / GIB == pytest.approx(8.46, abs=0.01)
    assert held(quantization="bitsandbytes").weights_bytes / GIB == pytest.approx(5.61, abs=0.01)
    assert held(quantization="awq_marlin").weights_bytes == PLAIN.weights_bytes
    asked = model(engine={"quantization": "fp8"})
    older = engine(model())
    older = told(replace(older, settings=settings_of(asked, (0, 11))), asked.engine)
    assert older.settings.loads_first_bytes == 2.0
    assert engine(asked).settings.loads_first_bytes is None


def test_no_images_no_tower() -> None:
    whole, text = seen(), seen(language_model_only=True)
    assert whole.weights_bytes - text.weights_bytes > 0.15 * GIB
    assert "images" not in {part.rule.name for part in text.parts}
    without = capacity(engine(scout(parallel={"tensor": 8}, images_per_prompt=0)))
    assert without.weights_bytes == text.weights_bytes


def test_eager_engine_has_no_graphs_and_small_steps_less_to_keep() -> None:
    assert held(enforce_eager=True).kv_bytes - PLAIN.kv_bytes == pytest.approx(0.84 * GIB, rel=0.01)
    assert held(max_num_batched_tokens=1024).kv_bytes > PLAIN.kv_bytes
    assert held(block_size=32).pool_blocks == PLAIN.pool_blocks // 2


def test_fewer_layers_are_counted() -> None:
    half = engine(scout(parallel={"tensor": 8}, engine={"hf_overrides": {"text_config": {"num_hidden_layers": 8}}})).architecture
    assert (half.layers, half.moe_layers, half.global_layers) == (8, tuple(range(8)), (3, 7))
    same = engine(scout(parallel={"tensor": 8}, engine={"hf_overrides": {"num_hidden_layers": 99}})).architecture
    assert same.layers == 48


def test_what_is_left_out_is_said() -> None:
    assert list(not_counted({})) == []
    said = {"decode_context_parallel_size": 2, "speculative_config": {"method": "draft_model", "model": "org/draft"}}
    assert list(not_counted(said)) == [
        "engine.decode_context_parallel_size changes the memory, and is not counted here",
        "engine.speculative_config: the draft model's memory is not counted here",
    ]
    assert list(not_counted({"speculative_config": {"method": "eagle3", "model": "org/eagle"}})) == []
    assert set(NOT_COUNTED) <= ENGINE_ARGUMENTS


ODD: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-1, 1 << 60)
    | st.floats()
    | st.text(max_size=4)
    | st.just({})
    | st.lists(st.integers(), max_size=2)
)
NAMES = st.sampled_from(
    [
        *NOT_COUNTED, "kv_cache_memory_bytes", "dtype", "cpu_offload_gb", "enable_lora", "max_loras", "quantization", "max_num_seqs",
        "num_gpu_blocks_override", "language_model_only", "enforce_eager", "max_num_batched_tokens", "block_size", "hf_overrides",
        "gpu_memory_utilization", "kv_cache_dtype", "speculative_config",
    ]
)  # fmt: skip


@given(st.dictionaries(NAMES, ODD, max_size=4))
def test_no_argument_breaks_the_arithmetic(said: dict[str, Any]) -> None:
    for asked in (model().model_copy(update={"engine": said}), scout(parallel={"tensor": 8}).model_copy(update={"engine": said})):
        capacity(engine(asked))
        list(not_counted(said))

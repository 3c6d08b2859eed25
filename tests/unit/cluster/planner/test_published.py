"""The planner beside what others have published: memory is held to it, speed is printed with its error. `pytest -s` shows the tables."""

import pytest

from cluster.catalogue import sizes as shapes
from cluster.catalogue.checkpoints import META_405B_FP8, META_FP8
from cluster.catalogue.hardware import GIB
from cluster.catalogue.models import CATALOGUE
from cluster.planner.capacity import capacity, concurrent_requests
from cluster.planner.memory.weights import stage_weight_bytes
from cluster.planner.speed import speed
from configs.names import Kind
from tests.unit.published import CONTEXTS, TENSORRT, VLLM_0_8_3, VLLM_FIGURE, Context, Throughput, engine


def by_planner(row: Throughput) -> float:
    running = concurrent_requests(row.engine, capacity(row.engine).pool_blocks, row.load.prompt_tokens + row.load.answer_tokens // 2)
    return speed(row.engine, row.load, running).replica_tokens_s


@pytest.mark.parametrize("row", CONTEXTS, ids=lambda row: f"{row.what} {row.tokens}")
def test_longest_context_is_within_a_tenth_of_the_published(row: Context) -> None:
    found = capacity(row.engine).max_context_tokens
    print(f"\n{row.what:20} published {row.tokens:>9,}  planner {found:>9,}  {found / row.tokens - 1:+6.1%}  {row.source}")
    assert found == pytest.approx(row.tokens, rel=0.10)


def test_kv_cache_of_vllms_own_refusal_is_exact() -> None:
    """vllm#16118: "max seq len (1048576), (24.00 GiB KV cache is needed …"."""
    refused = engine(shapes.MAVERICK, META_FP8, "H100", VLLM_0_8_3)
    assert refused.kv_cache.request_bytes(1_048_576) == 24 * GIB
    assert capacity(refused).kv_bytes == pytest.approx(9.97 * GIB, rel=0.001)  # the calibrated row


def test_maverick_on_h200_is_limited_by_the_model_and_not_by_memory() -> None:
    found = capacity(engine(shapes.MAVERICK, META_FP8, "H200", VLLM_0_8_3))
    assert found.max_context_tokens == 1_048_576
    assert found.pool_tokens > 2 * 1_048_576


def test_weights_of_405b_are_those_of_vllms_log() -> None:
    """vllm#6746: "Loading model weights took 57.752 GB" on each of 8 GPUs."""
    (found,) = stage_weight_bytes(engine(shapes.LLAMA_405B, META_405B_FP8, "H100", VLLM_0_8_3))
    assert found / GIB == pytest.approx(57.752, rel=0.03)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("llama-4-scout", 109e9),
        ("llama-4-maverick", 402e9),
        ("llama-guard-4-12b", 12e9),
        ("llama-3.1-8b", 8.03e9),
        ("llama-3.3-70b", 70.6e9),
        ("llama-3.1-405b", 405.9e9),
        ("llama-guard-3-8b", 8.03e9),
        ("smollm2-135m", 134_515_008),
    ],
)
def test_parameter_counts_are_the_published(kind: Kind, parameters: float) -> None:
    shape = CATALOGUE[kind].architecture
    assert shape is not None
    assert shape.total_parameters == pytest.approx(parameters, rel=0.005)


@pytest.mark.parametrize(("kind", "active"), [("llama-4-scout", 17e9), ("llama-4-maverick", 17e9)])
def test_active_parameters_are_the_17_billion_of_the_name(kind: Kind, active: float) -> None:
    """Meta counts the input embedding (1.03B), which a step does not multiply with."""
    shape = CATALOGUE[kind].decoder
    assert shape is not None
    assert shape.active_parameters + shape.vocab * shape.hidden == pytest.approx(active, rel=0.02)


def test_speed_is_printed_beside_the_published_with_its_error() -> None:
    """What holds is held: vLLM's own figure, on which bandwidth and arithmetic with experts are fitted. The rest is only shown."""
    for row in (*VLLM_FIGURE, *TENSORRT):
        found = by_planner(row)
        lengths = f"{row.load.prompt_tokens}:{row.load.answer_tokens}"
        error = found / row.tokens_s - 1
        print(f"\n{row.what:27} {lengths:>11}  published {row.tokens_s:>7,}  planner {found:>8,.0f}  {error:+5.0%}", end="")
    errors = [abs(by_planner(row) / row.tokens_s - 1) for row in VLLM_FIGURE]
    assert max(errors) < 0.25

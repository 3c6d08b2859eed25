"""`cluster.planner.capacity`: what fits, and that more never fits less."""

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cluster.catalogue import sizes as shapes
from cluster.catalogue.checkpoints import BF16, LINEAR_FP8, META_FP8, MLP_INT4, Layout
from cluster.catalogue.hardware import GIB, GPUS
from cluster.planner.capacity import capacity, side_tables_bytes
from cluster.planner.memory.engine import Engine, Settings
from cluster.planner.memory.weights import draft_parameters, rope_bytes, stage_weight_bytes
from configs.names import GpuName
from configs.schema import Parallelism
from tests.unit.engines import LAYOUTS, engines


def scout(
    gpu: GpuName = "H100", layout: Layout = BF16, parallel: Parallelism | None = None, context_tokens: int = 131_072, **said: int
) -> Engine:
    settings = Settings(context_tokens=context_tokens, **said)  # type: ignore[arg-type]
    return Engine(shapes.SCOUT, layout, GPUS[gpu], parallel or Parallelism(tensor=8), settings)


def maverick(parallel: Parallelism) -> Engine:
    return Engine(shapes.MAVERICK, META_FP8, GPUS["H100"], parallel, Settings(8192))


@given(engines(), st.floats(1, 4))
def test_more_memory_never_fits_fewer_tokens(engine: Engine, times: float) -> None:
    larger = replace(engine, gpu=replace(engine.gpu, name="A100", memory_gib=engine.gpu.memory_gib * times))
    pinned = replace(engine.settings, max_num_seqs=engine.max_num_seqs, max_num_batched_tokens=engine.max_num_batched_tokens)
    less, more = capacity(replace(engine, settings=pinned)), capacity(replace(larger, settings=pinned))
    assert more.pool_tokens >= less.pool_tokens
    assert more.max_context_tokens >= less.max_context_tokens
    assert len(more.problems) <= len(less.problems)


@given(engines(), st.sampled_from(LAYOUTS))
def test_finer_layout_never_leaves_less(engine: Engine, layout: Layout) -> None:
    other = replace(engine, layout=layout)
    assume(
        all(layout.bytes_per_parameter.get(part, 2) <= engine.layout.bytes_per_parameter.get(part, 2) for part in shapes.SCOUT.parameters())
    )
    assert max(stage_weight_bytes(other)) <= max(stage_weight_bytes(engine))
    assert capacity(other).pool_blocks >= capacity(engine).pool_blocks


@given(engines())
def test_kv_cache_in_fp8_never_fits_fewer_than_in_bf16(engine: Engine) -> None:
    in_bf16, in_fp8 = (capacity(replace(engine, settings=replace(engine.settings, kv_dtype=dtype))) for dtype in ("bf16", "fp8"))
    assert in_fp8.pool_tokens >= in_bf16.pool_tokens
    assert in_fp8.max_context_tokens >= in_bf16.max_context_tokens


@given(engines())
def test_what_fits_holds_its_context(engine: Engine) -> None:
    found = capacity(engine)
    assert found.fits == (not found.problems)
    if found.fits:
        assert found.max_context_tokens >= engine.settings.context_tokens
        assert found.pool_tokens >= engine.settings.context_tokens


@given(engines())
def test_all_gpus_together_hold_the_checkpoint(engine: Engine) -> None:
    """Every parameter is somewhere; what is on several GPUs is there more than once."""
    parallel = engine.parallel
    everywhere = sum(stage_weight_bytes(engine)) * parallel.tensor * parallel.data
    assert everywhere >= engine.layout.weight_bytes(engine.architecture) * 0.999_999


@pytest.mark.parametrize(
    ("parallel", "gib"),
    [
        (Parallelism(tensor=8), 48.53),
        (Parallelism(data=8, expert=True), 73.01),
        (Parallelism(data=2, tensor=4), 52.0),
        (Parallelism(pipeline=2, tensor=8), 24.37),
    ],
)
def test_weights_of_maverick_on_one_gpu(parallel: Parallelism, gib: float) -> None:
    assert max(stage_weight_bytes(maverick(parallel))) / GIB == pytest.approx(gib, rel=0.002)


def test_data_parallel_ranks_hold_whole_shared_experts() -> None:
    """vLLM splits tokens among them then, not weights (`use_sequence_parallel_moe`)."""
    whole, split = (max(stage_weight_bytes(maverick(Parallelism(data=2, tensor=8, expert=expert)))) for expert in (True, False))
    shared = shapes.MAVERICK.parameters()["shared_experts"] * 2
    assert whole - split == pytest.approx(shared * 7 / 8)


def test_maverick_in_fp8_with_eight_attention_ranks_does_not_fit_h100s() -> None:
    (problem,) = capacity(maverick(Parallelism(data=8, expert=True))).problems
    assert problem == "the weights take 73.0 GiB on each GPU, 72.9 GiB are usable"


def test_rope_cache_is_sized_by_positions_and_not_by_context() -> None:
    assert rope_bytes(scout()) == 2.5 * GIB
    assert rope_bytes(scout(max_positions=131_072)) == GIB / 32


def test_parts_beside_the_weights_are_less_with_fewer_sequences_and_with_fewer_tokens() -> None:
    usual = capacity(scout()).overhead_bytes
    assert capacity(scout(max_num_seqs=64)).overhead_bytes < usual
    assert capacity(scout(max_num_batched_tokens=2048)).overhead_bytes < usual


def test_side_tables_grow_with_sequences_and_context() -> None:
    """20 GiB on the GPU and 40 of pinned memory at 10M tokens and vLLM's 1024 sequences."""
    gpu, host = side_tables_bytes(scout("H200", context_tokens=10_485_760))
    assert (gpu / GIB, host / GIB) == (20, 40)


@pytest.mark.parametrize(
    ("gpu", "batched", "seqs"), [("B200", 16_384, 1024), ("H100", 8192, 1024), ("A100", 2048, 256), ("L40S", 2048, 256)]
)
def test_batch_defaults_are_vllms(gpu: GpuName, batched: int, seqs: int) -> None:
    assert (scout(gpu).max_num_batched_tokens, scout(gpu).max_num_seqs) == (batched, seqs)


@pytest.mark.parametrize(
    ("engine", "start"),
    [
        (scout(parallel=Parallelism()), "the weights take 202.4 GiB on each GPU, 72.9 GiB are usable"),
        (
            scout(layout=MLP_INT4, parallel=Parallelism()),
            "one request of 131,072 tokens needs 9.4 GiB of KV cache on each GPU, 6.0 GiB are left; the longest that fits has 57,632",
        ),
        (
            Engine(shapes.LLAMA_8B, BF16, GPUS["A100-40"], Parallelism(), Settings(8192, gpu_memory_utilization=0.4)),
            "weights (15.0 GiB), rope cache (0.0 GiB) and what vLLM takes beside them (1.5 GiB) are 16.5 GiB on each GPU",
        ),
        (
            Engine(shapes.LLAMA_8B, BF16, GPUS["H100"], Parallelism(), Settings(262_144)),
            "a context of 262,144 tokens is longer than the model takes (131,072)",
        ),
        (
            Engine(shapes.LLAMA_8B, BF16, GPUS["H100"], Parallelism(), Settings(8192, gpu_memory_utilization=0.995)),
            "CUDA's own 0.5 GiB lie beside vLLM's budget, which leaves 0.4 GiB; lower gpu_memory_utilization to 0.99",
        ),
        (
            Engine(shapes.LLAMA_8B, BF16, GPUS["H100"], Parallelism(), Settings(8192, kv_cache_memory_bytes=80 << 30)),
            "a KV cache of 80.0 GiB (kv_cache_memory_bytes) and the 17.5 GiB beside it are more than the 79.2 GiB of a GPU",
        ),
        (
            Engine(shapes.SCOUT, MLP_INT4, GPUS["H100"], Parallelism(tensor=2), Settings(8192, loads_first_bytes=2.0)),
            "the weights are loaded as they are stored before they are quantised: 103.7 GiB on each GPU, 79.2 GiB are there",
        ),
        (
            scout(layout=LINEAR_FP8, parallel=Parallelism(tensor=2), context_tokens=10_485_760, max_num_seqs=8),
            "one request of 10,485,760 tokens",
        ),
        (
            scout("H200", context_tokens=10_485_760),
            "block tables for 1024 sequences of 10,485,760 tokens take 20.0 GiB beside vLLM's budget",
        ),
    ],
)
def test_problem_says_what_is_missing(engine: Engine, start: str) -> None:
    (problem,) = capacity(engine).problems
    assert problem.startswith(start)


def test_requests_at_once_are_those_of_the_tables() -> None:
    found = capacity(scout())
    assert found.concurrent == {"4K": 420, "32K": 119, "128K": 43, "1M": 6}
    guard = Engine(shapes.GUARD_4, BF16, GPUS["H100"], Parallelism(), Settings(8192))
    assert capacity(guard).concurrent["32K"] == 0  # the model takes 8K


def test_copies_of_experts_take_their_share_of_the_weights() -> None:
    plain, copied = (maverick(Parallelism(tensor=8, expert=True, redundant_experts=copies)) for copies in (None, 16))
    routed = META_FP8.bytes_per_parameter["routed_experts"] * shapes.MAVERICK.parameters()["routed_experts"]
    (before,), (after,) = stage_weight_bytes(plain), stage_weight_bytes(copied)
    assert after - before == pytest.approx(routed / 8 * 16 / 128)


def test_a_draft_model_takes_a_layer_of_kv_cache_and_its_weights_on_the_last_stage() -> None:
    def told(drafts: bool) -> Engine:
        return Engine(shapes.LLAMA_8B, BF16, GPUS["H100"], Parallelism(pipeline=2), Settings(8192, drafts=drafts))

    (first, last), (same, larger) = (stage_weight_bytes(told(drafts)) for drafts in (False, True))
    assert (same, larger - last) == (first, 2 * draft_parameters(shapes.LLAMA_8B))
    assert told(True).kv_cache.widest == (16, 17)


def test_eagle_does_without_the_hybrid_kv_manager_where_layers_are_chunked() -> None:
    drafting, whole = scout(drafts=True).kv_cache, scout(hybrid_kv=False).kv_cache
    assert drafting.groups == whole.groups != scout().kv_cache.groups
    assert drafting.bytes_per_token == whole.bytes_per_token * 49 / 48

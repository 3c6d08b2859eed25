"""`cluster.planner.search`: what is legal and fits comes first, and what cannot be had is refused with the nearest that can."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue.hardware import GPUS, Cluster, Node
from cluster.catalogue.models import CATALOGUE
from cluster.planner.legality import refusals
from cluster.planner.memory.engine import KvDtype
from cluster.planner.refusal import refusal
from cluster.planner.search import FIDELITY, WHOLE_EXPERTS, Plan, Subject, Wish, plans, shape
from cluster.planner.speed import Load
from configs.names import GpuName, Kind, Quantization
from configs.schema import Parallelism

KINDS: list[Kind] = [kind for kind, entry in CATALOGUE.items() if entry.decoder]


def subject(kind: Kind) -> Subject:
    entry = CATALOGUE[kind]
    assert entry.decoder is not None
    found = tuple(one for word in FIDELITY if (one := entry.checkpoint(word)))
    return Subject(entry.title.partition(" (")[0], entry.decoder, found, entry.context_tokens)


def machines(gpu: GpuName = "H100", gpus: int = 8, nodes: int = 1) -> Cluster:
    return Cluster(Node(GPUS[gpu], gpus), nodes)


def asked(kind: Kind, cluster: Cluster | None = None, **wish: Any) -> tuple[Plan, ...]:
    """Returns the plans for a wish; the tests that ask for the same share them."""
    if "engine" in wish:  # arguments in a mapping, which is no key of a cache
        return plans(subject(kind), cluster or machines(), Wish(**wish))
    return _planned(kind, cluster or machines(), tuple(wish.items()))


@lru_cache(maxsize=128)
def _planned(kind: Kind, cluster: Cluster, wish: tuple[tuple[str, Any], ...]) -> tuple[Plan, ...]:
    return plans(subject(kind), cluster, Wish(**dict(wish)))


def refused(kind: Kind, cluster: Cluster | None = None, **wish: Any) -> str:
    found = asked(kind, cluster, **wish)
    assert not any(plan.fits for plan in found)
    return refusal(subject(kind), cluster or machines(), Wish(**wish), found)


@given(st.sampled_from(KINDS), st.sampled_from(list(GPUS)), st.sampled_from((1, 2, 4, 8)), st.sampled_from((1, 2, 4)), st.booleans())
def test_plans_are_legal_fit_the_machines_and_come_before_what_does_not_fit(
    kind: Kind, gpu: GpuName, gpus: int, nodes: int, cheapest: bool
) -> None:
    found = asked(kind, machines(gpu, gpus, nodes), cheapest=cheapest)
    assert found
    assert [plan.fits for plan in found] == sorted((plan.fits for plan in found), reverse=True)
    for plan in found:
        assert not list(refusals(plan.engine.architecture, plan.engine.parallel))
        assert plan.gpus <= gpus * nodes
        assert plan.engine.parallel.tensor <= gpus
        assert plan.fits == (plan.speed is not None) == plan.capacity.fits


@given(st.sampled_from(KINDS), st.integers(8192, 1 << 20), st.integers(1, 2000))
def test_what_fits_a_wish_meets_it_and_what_holds_every_request_comes_before_what_lets_some_wait(
    kind: Kind, context: int, concurrency: int
) -> None:
    context = min(context, CATALOGUE[kind].context_tokens)
    fitting = [plan for plan in asked(kind, context_tokens=context, concurrency=concurrency) if plan.fits]
    for plan in fitting:
        assert plan.capacity.max_context_tokens >= context
        assert plan.engine.max_num_seqs * plan.engine.parallel.data >= plan.concurrency >= 1
    some_wait = [plan.concurrency < concurrency for plan in fitting]
    assert some_wait == sorted(some_wait)


@given(st.sampled_from(KINDS), st.sampled_from(("H100", "H200")), st.integers(8192, 1 << 17))
def test_larger_gpus_and_shorter_wishes_never_fit_less(kind: Kind, gpu: GpuName, context: int) -> None:
    context = min(context, CATALOGUE[kind].context_tokens)
    fitting = sum(plan.fits for plan in asked(kind, machines(gpu), context_tokens=context))
    assert sum(plan.fits for plan in asked(kind, machines("H200"), context_tokens=context)) >= fitting
    assert sum(plan.fits for plan in asked(kind, machines(gpu), context_tokens=max(16, context // 2))) >= fitting


def test_fewest_gpus_come_first_and_the_most_truthful_weights_among_them() -> None:
    found = [plan for plan in asked("llama-4-scout") if plan.fits]
    assert [plan.gpus for plan in found] == sorted(plan.gpus for plan in found)
    first = next(plan for plan in found if plan.gpus == 8)
    assert (first.checkpoint.layout.quantization, first.engine.settings.kv_dtype) == ("bf16", "bf16")


def test_cheapest_comes_first_when_cost_is_asked_for() -> None:
    speeds = [plan.speed.gpu_hour_tokens for plan in asked("llama-4-scout", cheapest=True) if plan.speed]
    assert speeds == sorted(speeds, reverse=True)


@pytest.mark.parametrize(
    ("kind", "wish", "gpus"),
    [
        ("llama-4-scout", {"context_tokens": 1_048_576, "quantization": "bf16"}, 4),
        ("llama-4-scout", {"context_tokens": 32_768, "concurrency": 64}, 4),
        ("llama-4-scout", {"quantization": "int4"}, 1),
        ("llama-4-scout", {"quantization": "fp8"}, 2),
        ("llama-4-maverick", {"quantization": "fp8", "context_tokens": 131_072}, 8),
        ("llama-3.3-70b", {"quantization": "fp8", "context_tokens": 131_072}, 2),
    ],
)
def test_wish_is_met_by_so_many_h100s(kind: Kind, wish: dict[str, Any], gpus: int) -> None:
    best = asked(kind, **wish)[0]
    assert (best.fits, best.gpus) == (True, gpus)


def test_fewer_sequences_and_positions_are_tried_before_a_shape_is_given_up() -> None:
    (found,) = asked("llama-4-scout", machines(gpus=1), quantization="int4", kv_dtype="bf16", context_tokens=98_304)
    assert (found.fits, found.engine.settings.max_num_seqs, found.engine.settings.max_positions) == (True, 16, 131_072)
    (pinned,) = asked("llama-4-scout", machines(gpus=1), quantization="int4", kv_dtype="bf16", context_tokens=98_304, max_num_seqs=2048)
    assert not pinned.fits


def test_engine_without_a_wished_context_gets_one_that_fits() -> None:
    (found,) = asked("llama-3.1-8b", machines("RTX4090", 1), quantization="bf16", kv_dtype="bf16")
    assert found.engine.settings.context_tokens == 43_008
    assert found.capacity.max_context_tokens == 43_264


def test_pinned_sequences_limit_what_runs_at_once() -> None:
    (found,) = asked("llama-3.1-8b", machines(gpus=1), quantization="bf16", kv_dtype="bf16", max_num_seqs=4, concurrency=8)
    assert (found.fits, found.concurrency) == (True, 4)


def test_gpus_without_fp8_are_planned_without_it() -> None:
    assert {plan.engine.settings.kv_dtype for plan in asked("llama-3.1-8b", machines("A100"))} == {"bf16"}
    assert "nvfp4" not in {plan.checkpoint.layout.quantization for plan in asked("llama-4-scout")}
    assert "nvfp4" in {plan.checkpoint.layout.quantization for plan in asked("llama-4-scout", machines("B200"))}


@pytest.mark.parametrize(
    ("told", "kv_dtype"), [({"kv_cache_dtype": "fp8"}, "fp8"), ({"kv_cache_dtype": "bfloat16"}, "bf16"), ({"dtype": "float32"}, "float32")]
)
def test_kv_cache_is_planned_in_the_type_that_the_engine_is_told(told: dict[str, Any], kv_dtype: KvDtype) -> None:
    assert {plan.engine.settings.kv_dtype for plan in asked("llama-3.1-8b", machines(gpus=1), engine=told)} == {kv_dtype}


def test_whole_experts_go_with_many_of_them_or_with_data_parallel_attention() -> None:
    assert all(plan.engine.parallel.expert == (plan.engine.parallel.data > 1) for plan in asked("llama-4-scout"))
    slices = [plan.engine.parallel for plan in asked("llama-4-maverick", data=1)]
    assert all(parallel.expert == (parallel.tensor > 1) for parallel in slices)
    assert WHOLE_EXPERTS <= 128 // 8
    assert not any(plan.engine.parallel.expert for plan in asked("llama-4-maverick", expert=False))


def test_example_of_the_refusal() -> None:
    assert refused("llama-4-maverick", quantization="bf16") == (
        "Llama 4 Maverick BF16 needs 748 GiB of weights; 8×H100 have 634: use FP8 (388 GiB) or 2 nodes with PP 2"
    )


@pytest.mark.parametrize(
    ("kind", "cluster", "wish", "sentence"),
    [
        (
            "llama-4-scout",
            machines(nodes=2),
            {"tensor": 16, "quantization": "bf16", "kv_dtype": "bf16"},
            "tensor parallel: 16 does not divide the 40 attention heads; allowed: 1, 2, 4, 8: use TP 8",
        ),
        (
            "llama-4-scout",
            machines(),
            {"tensor": 8, "pipeline": 2, "data": 1},
            "the shape takes 16 GPUs, there are 8: use 2 nodes with PP 2",
        ),
        (
            "llama-4-scout",
            machines("MI300X"),
            {"quantization": "nvfp4"},
            "vLLM unpacks NVFP4 on NVIDIA's GPUs only; MI300X is none: use BF16",
        ),
        (
            "llama-4-maverick",
            machines(),
            {"quantization": "fp8", "kv_dtype": "bf16", "hybrid_kv": False, "context_tokens": 1_048_576},
            "the longest that fits has 875,888: use INT4 (201 GiB) or an fp8 KV cache or the hybrid KV manager or 2 nodes with PP 2 or "
            "a context of 875,888 tokens",
        ),
        ("llama-4-scout", machines("RTX4090", 1), {}, "use 4 nodes with PP 4"),
    ],
)
def test_refusal_names_what_can_be_had(kind: Kind, cluster: Cluster, wish: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(kind, cluster, **wish)


def test_load_that_is_larger_than_what_fits_waits() -> None:
    (found,) = asked("llama-3.1-8b", machines(gpus=1), concurrency=100_000, context_tokens=8192, quantization="bf16", kv_dtype="bf16")
    assert found.fits
    assert 40 < found.concurrency < 100


def test_speed_is_told_for_those_that_run() -> None:
    (found,) = asked(
        "llama-4-scout", machines(gpus=1), quantization="int4", kv_dtype="bf16", context_tokens=98_304, load=Load(64, 90_000, 1000)
    )
    assert found.speed is not None
    assert 1 <= found.speed.running < 64


def test_refusal_without_a_way_out_is_the_reason_alone() -> None:
    found = refused("llama-4-maverick", machines("RTX4090", 1), tensor=16, concurrency=8, pipeline=1, data=1)
    assert found.endswith("there are 1")


def test_illegal_plan_has_no_numbers() -> None:
    (found,) = asked("llama-4-scout", machines(nodes=2), tensor=16, quantization="bf16", kv_dtype="bf16")
    assert (found.legal, found.fits, found.capacity.pool_tokens, found.capacity.max_context_tokens, found.concurrency) == (
        False,
        False,
        0,
        0,
        0,
    )


@pytest.mark.parametrize(
    ("parallel", "said"),
    [
        (Parallelism(), "TP 1"),
        (Parallelism(tensor=8, pipeline=2), "PP 2 × TP 8"),
        (Parallelism(tensor=8, data=2, expert=True), "DP 2 × TP 8 with whole experts"),
    ],
)
def test_shape_in_words(parallel: Parallelism, said: str) -> None:
    assert shape(parallel) == said


def test_quantisation_without_a_known_checkpoint_is_planned_as_the_tools_make_it() -> None:
    best = asked("llama-3-8b", machines(), quantization="int4")[0]
    assert best.checkpoint.assumed
    assert best.checkpoint.layout.weight_bytes(best.engine.architecture) / 2**30 == pytest.approx(5.35, abs=0.05)
    named = replace(subject("llama-3-8b"), only_these=True)
    assert refusal(named, machines(), Wish(quantization="int4"), plans(named, machines(), Wish(quantization="int4"))) == (
        "Llama 3 8B has no checkpoint in int4: use BF16 (15 GiB)"
    )


@pytest.mark.parametrize("word", FIDELITY)
def test_pinned_quantisation_is_all_that_is_planned(word: Quantization) -> None:
    assert {plan.checkpoint.layout.quantization for plan in asked("llama-4-maverick", machines("B200"), quantization=word)} == {word}


def test_base_checkpoint_is_planned_for_its_own_context() -> None:
    base = next(one for one in CATALOGUE["llama-4-scout"].checkpoints if not one.instruct)
    only = replace(subject("llama-4-scout"), checkpoints=(base,))
    best = plans(only, machines("H200"), Wish())[0]
    assert best.engine.settings.context_tokens == 131_072
    assert (best.engine.max_positions, best.engine.settings.max_positions) == (262_144, None)


def test_405b_of_july_2024_has_its_kv_heads_twice() -> None:
    older, newer = (asked("llama-3.1-405b", quantization="fp8", tensor=8, kv_dtype="bf16", vllm=vllm)[0] for vllm in ((0, 5), (0, 8)))
    assert (older.engine.architecture.kv_heads, newer.engine.architecture.kv_heads) == (16, 8)


def test_engine_whose_sequences_are_said_keeps_the_models_positions() -> None:
    """Llama Guard 4 in int8 on an A10G, which ran out of memory; with fewer positions it fits."""
    only = {"quantization": "int8", "context_tokens": 4096, "kv_dtype": "bf16"}
    (as_told,) = asked("llama-guard-4-12b", machines("A10G", 1), max_num_seqs=4, **only)
    (helped,) = asked("llama-guard-4-12b", machines("A10G", 1), **only)
    assert (as_told.fits, helped.fits, helped.engine.settings.max_positions) == (False, True, 131_072)

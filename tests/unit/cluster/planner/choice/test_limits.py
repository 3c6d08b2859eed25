"""`cluster.planner.choice.limits`: the part that ends a plan, and by how much it would have to change."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue.hardware import GIB, GPUS, Cluster, Node
from cluster.planner.capacity import capacity
from cluster.planner.choice.limits import Limit, limiting, limits
from cluster.planner.search import Plan, Wish
from cluster.planner.speed import Load
from configs.names import GpuName, Kind
from tests.unit.cluster.planner.test_search import KINDS, asked, machines

LOAD = Wish().load


def part_that_limits(plan: Plan, load: Load) -> str:
    return limiting(limits(plan, load), plan, load).part


def one(kind: Kind, cluster: Cluster | None = None, load: Load = LOAD, **wish: Any) -> Plan:
    return asked(kind, cluster, load=load, **({"kv_dtype": "bf16"} | wish))[0]


def by_what(plan: Plan, load: Load = LOAD) -> dict[str, Limit]:
    return {limit.what: limit for limit in limits(plan, load)}


def test_kv_pool_limits_a_small_engine_and_bandwidth_a_large_one() -> None:
    small = one("llama-4-scout", machines(gpus=1), quantization="int4")
    found = by_what(small)
    assert found["requests"].part == part_that_limits(small, LOAD) == "KV pool"
    assert found["requests"].change == "would have to grow by 12 GiB on each GPU for 64"
    assert (found["context"].part, found["speed"].part) == ("KV pool", "bandwidth")
    large = one("llama-4-scout", tensor=8, quantization="fp8")
    assert part_that_limits(large, LOAD) == "layers' fixed time"
    assert "it could shrink by 94 %" in by_what(large)["requests"].change


def test_pool_that_grows_as_told_runs_the_load() -> None:
    plan = one("llama-4-scout", machines(gpus=1), quantization="int4", context_tokens=8192)
    missing = float(by_what(plan)["requests"].change.split("grow by ")[1].split()[0])
    gpu = replace(plan.engine.gpu, memory_gib=plan.engine.gpu.memory_gib + (missing + 0.5) / 0.92)
    (larger,) = asked("llama-4-scout", Cluster(Node(gpu, 1)), quantization="int4", kv_dtype="bf16", context_tokens=8192)
    assert larger.speed is not None
    assert larger.speed.running == 64


def test_sequences_limit_where_they_are_few() -> None:
    plan = one("llama-3.1-8b", machines(gpus=1), max_num_seqs=16, quantization="bf16")
    assert by_what(plan)["requests"] == Limit("requests", "sequences", "would have to grow from 16 to 64 (max_num_seqs)")
    assert part_that_limits(plan, LOAD) == "sequences"


def test_model_limits_the_context_where_the_pool_has_room() -> None:
    found = by_what(one("llama-3.3-70b", quantization="fp8", tensor=8))["context"]
    assert found == Limit("context", "model", "takes at most 128K; the KV pool has room for that")


def test_long_prompts_are_limited_by_compute() -> None:
    load = Load(64, 8000, 100)
    plan = one("llama-3.3-70b", load=load, quantization="bf16", tensor=8)
    assert part_that_limits(plan, load) == "compute"


def test_shares_of_the_time_are_the_whole() -> None:
    text = by_what(one("llama-4-maverick", quantization="fp8"))["speed"].change
    assert sum(int(word) for word in text.partition("of the time:")[2].replace(")", "").split() if word.isdigit()) in (99, 100, 101)


@pytest.mark.parametrize(
    ("plan", "part", "change"),
    [
        (one("llama-3.3-70b", machines(gpus=1), quantization="bf16"), "weights", "would have to shrink by 59 GiB on each GPU, and more"),
        (one("llama-4-scout", tensor=3), "shape", "tensor parallel: 3 does not divide"),
        (one("llama-3-8b", context_tokens=131_072), "model", "the context would have to shrink from 128K to 8K"),
        (
            one("llama-3.1-8b", machines("RTX4090", 1), quantization="bf16", context_tokens=131_072),
            "KV pool",
            "would have to grow by 9.9 GiB on each GPU, from 6.1 GiB, or the context shrink to 48K",
        ),
        (
            one("llama-3.1-8b", machines(gpus=1), quantization="bf16", gpu_memory_utilization=1.0),
            "CUDA's own memory",
            "would have to shrink by",
        ),
        (
            one("llama-3.1-8b", machines(gpus=1), quantization="bf16", max_num_seqs=100_000, context_tokens=131_072),
            "sampler",
            "would have to shrink by",
        ),
        (
            one("llama-3.1-8b", machines(gpus=1), quantization="bf16", engine={"kv_cache_memory_bytes": 70 * GIB}),
            "KV pool",
            "would have to shrink by 7.1 GiB",
        ),
        (
            one(
                "llama-3.3-70b",
                machines(gpus=1),
                engine={"quantization": "fp8"},
                quantization="bf16",
                context_tokens=8192,
                vllm=(0, 16),
            ),
            "weights while they load",
            "would have to shrink by 5",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_start_names_the_part_that_is_too_large(plan: Plan, part: str, change: str) -> None:
    (found,) = limits(plan, LOAD)
    assert (found.what, found.part, part_that_limits(plan, LOAD)) == ("start", part, part)
    assert change in found.change


def test_weights_are_named_where_no_other_part_is_enough() -> None:
    plan = one("llama-3.3-70b", machines("L40S", 2), quantization="fp8", tensor=2)
    engine = replace(plan.engine, gpu=replace(plan.engine.gpu, memory_gib=37.0))
    dead = replace(plan, engine=engine, capacity=capacity(engine), speed=None, problems=("it does not fit",))
    assert dead.capacity.kv_bytes < 0 < dead.capacity.usable_bytes - dead.capacity.weights_bytes
    assert part_that_limits(dead, LOAD) == "weights"


def test_block_tables_are_named_where_they_do_not_fit() -> None:
    plan = one("llama-3.1-8b", machines(gpus=1), quantization="bf16", engine={"kv_cache_dtype": "auto"})
    wide = replace(plan.engine, settings=replace(plan.engine.settings, max_num_seqs=60_000))
    found = replace(plan.capacity, side_tables_bytes=20 * GIB)
    dead = replace(plan, engine=wide, capacity=found, speed=None, problems=("block tables are too large",))
    assert limits(dead, LOAD)[0].part == "block tables"


@given(st.sampled_from(KINDS), st.sampled_from(list(GPUS)), st.sampled_from((1, 2, 8)), st.sampled_from((1, 64, 3000)))
def test_every_plan_has_limits_in_words(kind: Kind, gpu: GpuName, gpus: int, concurrency: int) -> None:
    load = Load(concurrency, 1000, 500)
    for plan in asked(kind, machines(gpu, gpus), load=load)[::5]:
        found = limits(plan, load)
        assert [limit.what for limit in found] == (["context", "requests", "speed"] if plan.fits else ["start"])
        assert part_that_limits(plan, load) in {limit.part for limit in found}
        assert all("would have to" in limit.change or "room for" in limit.change or not plan.legal for limit in found)
        assert not any("-" in limit.change.partition("by ")[2][:2] for limit in found)

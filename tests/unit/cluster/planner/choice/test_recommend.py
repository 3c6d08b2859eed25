"""`cluster.planner.choice.recommend` and `kinds`: what an operator would run, why, and what else differs in kind."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue.hardware import GPUS, Cluster
from cluster.planner.choice.kinds import BEST, CHEAPEST, FASTEST, FEWEST, LONGEST, Row, rows
from cluster.planner.choice.recommend import EIGHT_BITS, PACE_TOKENS_S, Choice, recommended
from cluster.planner.search import Plan, Wish, shape
from cluster.planner.speed import Load
from configs.names import GpuName, Kind
from tests.unit.cluster.planner.test_search import KINDS, asked, machines


def chosen(kind: Kind, cluster: Cluster | None = None, **wish: Any) -> Choice:
    found = recommended(asked(kind, cluster, **wish), Wish(**wish))
    assert found is not None
    return found


def told(choice: Choice) -> str:
    plan = choice.plan
    weights, cache = plan.checkpoint.layout.quantization, plan.engine.settings.kv_dtype
    return f"{plan.gpus}×{plan.engine.gpu.name} {shape(plan.engine.parallel)} {weights}/{cache}"


@pytest.mark.parametrize(
    ("kind", "cluster", "wish", "plan", "reason"),
    [
        (
            "llama-4-scout",
            machines(),
            {},
            "2×H100 TP 2 fp8/bf16",
            "fewer GPUs do not run all 64 at once and take 128K of context with weights of 8 bits or more: 1×H100 fits INT4 weights only",
        ),
        (
            "llama-4-maverick",
            machines(),
            {},
            "8×H100 TP 8 with whole experts fp8/bf16",
            "fewer GPUs do not run all 64 at once and take 128K of context with weights of 8 bits or more: 4×H100 fits INT4 weights only",
        ),
        ("llama-4-maverick", machines("H200"), {}, "4×H200 TP 4 with whole experts fp8/bf16", None),
        ("llama-3.3-70b", machines(), {}, "2×H100 TP 2 fp8/bf16", None),
        (
            "llama-3.1-8b",
            machines(),
            {},
            "1×H100 TP 1 bf16/bf16",
            "it is the smallest that fits, and enough to run all 64 at once and take 128K of context with weights of 8 bits or more",
        ),
        ("llama-3.1-405b", machines(), {}, "8×H100 TP 8 fp8/bf16", None),
        (
            "llama-4-scout",
            machines(gpus=1),
            {},
            "1×H100 TP 1 int4/fp8",
            "nothing here does all that production needs; it comes nearest, and runs 43 of 64 at once",
        ),
        (
            "llama-4-scout",
            machines(),
            {"quantization": "int4"},
            "2×H100 TP 2 int4/bf16",
            "fewer GPUs do not run all 64 at once and take 128K of context: 1×H100 runs 43 of 64 at once",
        ),
        (
            "llama-4-scout",
            machines(),
            {"context_tokens": 32_768, "concurrency": 64},
            "4×H100 TP 4 fp8/fp8",
            None,
        ),
        ("llama-4-scout", machines(), {"context_tokens": 1_048_576, "quantization": "bf16"}, "4×H100 TP 4 bf16/bf16", None),
        (
            "llama-3.1-8b",
            machines("L4"),
            {},
            "2×L4 TP 2 bf16/bf16",
            "fewer GPUs do not run all 64 at once and take 128K of context with weights of 8 bits or more: 1×L4 takes 60K of context",
        ),
        (
            "llama-3.1-70b",
            machines("L4"),
            {"load": Load(1, 100, 100), "quantization": "bf16", "context_tokens": 8192, "kv_dtype": "bf16"},
            "8×L4 TP 8 bf16/bf16",
            None,
        ),
    ],
)
def test_operator_would_run(kind: Kind, cluster: Cluster, wish: dict[str, Any], plan: str, reason: str | None) -> None:
    found = chosen(kind, cluster, **wish)
    assert told(found) == plan
    assert reason in (None, found.reason)


def test_slow_answers_take_more_gpus() -> None:
    found = chosen("llama-3.3-70b", machines("A100"), load=Load(64, 8000, 100), context_tokens=16_384)
    assert found.plan.speed is not None
    assert "tok/s, less than the 10 of a quick reader" in found.reason


def test_one_request_is_told_as_one() -> None:
    assert "run the request fast enough to read" in chosen("llama-3.1-8b", machines(gpus=1), concurrency=1).reason


def test_cheapest_is_another_rule() -> None:
    found = asked("llama-4-scout", cheapest=True)
    choice = recommended(found, Wish(cheapest=True))
    assert choice == Choice(found[0], "no plan makes more tokens per GPU-hour")
    held = chosen("llama-4-scout", cheapest=True, concurrency=100)
    assert held.reason == "no plan of those that hold all requests makes more tokens per GPU-hour"
    waits = chosen("llama-4-scout", cheapest=True, concurrency=1_000_000)
    assert waits.reason == "no plan makes more tokens per GPU-hour; some of the requests wait"


def test_nothing_is_recommended_where_nothing_fits() -> None:
    assert recommended(asked("llama-4-scout", machines("RTX4090", 1)), Wish()) is None
    assert recommended((), Wish()) is None


@given(
    st.sampled_from(KINDS),
    st.sampled_from(list(GPUS)),
    st.sampled_from((1, 2, 4, 8)),
    st.none() | st.sampled_from((1, 64, 5000)),
    st.none() | st.sampled_from((8192, 131_072)),
)
def test_no_plan_with_fewer_gpus_does_what_the_recommended_one_does(
    kind: Kind, gpu: GpuName, gpus: int, concurrency: int | None, context: int | None
) -> None:
    load = Load(concurrency or 64, 1000, 1000)
    wish: dict[str, Any] = {"concurrency": concurrency, "context_tokens": context, "load": load}
    found = [plan for plan in asked(kind, machines(gpu, gpus), **wish) if plan.fits]
    choice = recommended(found, Wish(**wish))
    assert (choice is None) == (not found)
    if choice is None:
        return
    assert choice.plan in found
    best = choice.plan

    def does(plan: Plan) -> tuple[bool, bool, bool]:
        assert plan.speed is not None
        running = plan.concurrency if concurrency and context else plan.speed.running
        exact = plan.checkpoint.layout.quantization in EIGHT_BITS
        return exact, running >= load.concurrency, plan.speed.user_tokens_s >= PACE_TOKENS_S

    if all(does(best)) and best.capacity.max_context_tokens >= (context or 131_072):
        better = [plan for plan in found if plan.gpus < best.gpus and all(does(plan))]
        assert not [plan for plan in better if plan.capacity.max_context_tokens >= (context or 131_072)]


def rows_of(kind: Kind, cluster: Cluster | None = None, *, by_cost: bool = False) -> tuple[Row, ...]:
    found = asked(kind, cluster)
    choice = recommended(found, Wish())
    assert choice is not None
    dead = replace(found[0], speed=None, problems=("it does not fit",))
    return rows((dead, *found), choice, Wish(), by_cost=by_cost)


def test_alternatives_differ_in_kind() -> None:
    made = rows_of("llama-4-scout")
    assert [row.kinds for row in made] == [
        (BEST,),
        (FEWEST,),
        (LONGEST,),
        (FASTEST,),
        (CHEAPEST,),
        ("BF16 weights",),
        ("INT4 weights",),
        ("FP8 KV cache",),
    ]
    assert len({id(row.plan) for row in made}) == len(made)
    assert made[2].plan.capacity.max_context_tokens == 10_485_760


def test_plan_that_is_best_in_several_ways_has_one_row() -> None:
    assert [row.kinds for row in rows_of("llama-3.1-8b", machines("A100", 1))] == [(BEST, FEWEST, FASTEST, CHEAPEST)]


def test_alternatives_are_ordered_by_cost_behind_the_best() -> None:
    best, *others = rows_of("llama-4-scout", by_cost=True)
    costs = [-row.plan.speed.gpu_hour_tokens for row in others if row.plan.speed]
    assert (best.kinds, others[0].kinds) == ((BEST,), (CHEAPEST,))
    assert costs == sorted(costs)


def test_context_that_no_plan_has_is_told_as_missed() -> None:
    assert "takes 42K of context" in chosen("llama-3.1-8b", machines("RTX4090", 1), quantization="bf16", kv_dtype="bf16").reason

"""`cluster.planner.speed`: laws of the roofline. Its errors against what others measured are in `test_published.py`."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue import sizes as shapes
from cluster.catalogue.checkpoints import BF16, META_FP8
from cluster.catalogue.hardware import GPUS
from cluster.planner.memory.engine import Engine, Settings
from cluster.planner.speed import (
    MOST_STEPS,
    REQUEST_LAYER_S,
    WITH_EXPERTS,
    Load,
    Step,
    efficiency,
    speed,
    step_costs,
    time_to_first_token_s,
)
from configs.schema import Parallelism
from tests.unit.engines import engines

STEPS = st.builds(
    Step,
    decode_requests=st.integers(0, 1024),
    decode_context_tokens=st.integers(0, 1 << 20),
    prefill_tokens=st.integers(0, 16_384),
    prefill_context_tokens=st.integers(0, 1 << 20),
)
SCOUT = Engine(shapes.SCOUT, BF16, GPUS["H100"], Parallelism(tensor=8), Settings(131_072))
MAVERICK = Engine(shapes.MAVERICK, META_FP8, GPUS["MI300X"], Parallelism(tensor=8), Settings(10_240, kv_dtype="fp8"))


@given(engines(), STEPS, st.integers(0, 256), st.integers(0, 8192))
def test_more_work_never_takes_less_time(engine: Engine, step: Step, requests: int, prompt: int) -> None:
    more = replace(step, decode_requests=step.decode_requests + requests, prefill_tokens=step.prefill_tokens + prompt)
    floor = efficiency(engine.architecture).layer_s * engine.architecture.layers
    assert step_costs(engine).seconds(more) >= step_costs(engine).seconds(step) >= floor


@given(engines(), STEPS, st.floats(1, 4))
def test_faster_gpu_never_takes_longer(engine: Engine, step: Step, times: float) -> None:
    gpu = engine.gpu
    faster = replace(gpu, bandwidth_bytes_s=gpu.bandwidth_bytes_s * times, bf16_flops=gpu.bf16_flops * times)
    assert step_costs(replace(engine, gpu=faster)).seconds(step) <= step_costs(engine).seconds(step)


def test_one_request_of_maverick_takes_the_floor_and_its_roofline() -> None:
    """0.69 ms of roofline on 8×MI300X (of which the floor was fitted), here at the share of the bandwidth that steps get."""
    floor = (WITH_EXPERTS.layer_s + REQUEST_LAYER_S) * 48
    assert step_costs(MAVERICK).seconds(Step(1, 1024)) - floor == pytest.approx(0.69e-3 / WITH_EXPERTS.bandwidth, rel=0.02)


@pytest.mark.parametrize(("engine", "batch", "experts"), [(SCOUT, 1, 1), (SCOUT, 64, 15.7), (MAVERICK, 64, 50.5), (MAVERICK, 256, 110.8)])
def test_step_reads_the_experts_that_its_tokens_touch(engine: Engine, batch: int, experts: float) -> None:
    costs = step_costs(engine)
    read_s = costs.by_tokens_s(batch) - costs.constant_s - costs.token_s * batch
    assert read_s / costs.experts_s * engine.architecture.experts == pytest.approx(experts, abs=0.1)


def test_long_prompt_is_read_in_steps() -> None:
    one, two = time_to_first_token_s(SCOUT, 8192), time_to_first_token_s(SCOUT, 16_384)
    assert two > 2 * one
    assert time_to_first_token_s(SCOUT, 1) == step_costs(SCOUT).seconds(Step(prefill_tokens=1))


def test_requests_that_do_not_fit_wait() -> None:
    all_run, half_run = (speed(SCOUT, Load(64, 1000, 1000), most) for most in (64, 32))
    assert half_run.replica_tokens_s < all_run.replica_tokens_s
    assert (all_run.running, half_run.running) == (64, 32)
    assert half_run.user_tokens_s == pytest.approx(half_run.replica_tokens_s / 32)
    assert half_run.ttft_s == all_run.ttft_s


def test_pipeline_gives_more_in_all_and_costs_more_gpus() -> None:
    one, two = (speed(replace(SCOUT, parallel=Parallelism(tensor=8, pipeline=size)), Load(64, 1000, 1000), 64) for size in (1, 2))
    assert two.replica_tokens_s > one.replica_tokens_s
    assert two.gpu_hour_tokens < one.gpu_hour_tokens


def test_cost_is_price_over_tokens() -> None:
    found = speed(SCOUT, Load(64, 1000, 1000), 64)
    assert found.gpu_hour_tokens == pytest.approx(found.replica_tokens_s * 3600 / 8)
    assert found.cost_per_million_tokens(2.0) == pytest.approx(2.0 / (found.gpu_hour_tokens / 1e6))


def test_very_long_prompt_takes_as_many_steps_without_looking_at_each() -> None:
    most = SCOUT.max_num_batched_tokens
    exact, by_the_middle = (time_to_first_token_s(SCOUT, steps * most) for steps in (MOST_STEPS, MOST_STEPS + 1))
    assert by_the_middle == pytest.approx(exact, rel=0.01)

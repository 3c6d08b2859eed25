"""Step times that are folded once per engine are those of the planner's roofline."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue.checkpoints import BF16, MLP_INT4
from cluster.catalogue.hardware import GPUS
from cluster.catalogue.sizes import LLAMA_70B
from cluster.planner.memory.engine import Engine, Settings
from cluster.planner.speed import Step, step_costs
from configs.schema import Parallelism
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes

DENSE = Engine(LLAMA_70B, BF16, GPUS["H100"], Parallelism(tensor=4), Settings(131_072))
RANKS = Engine(SCOUT_ON_H100.architecture, MLP_INT4, GPUS["H100"], Parallelism(data=2, tensor=2), Settings(131_072))
ENGINES = st.sampled_from([SCOUT_ON_H100, DENSE, RANKS])
REQUESTS, CONTEXTS = st.integers(0, 600), st.integers(1, 40_000)


@given(ENGINES, st.integers(0, 8192), st.integers(0, 100_000), REQUESTS, CONTEXTS)
def test_step_takes_what_the_roofline_says(engine: Engine, prefill: int, before: int, decodes: int, context: int) -> None:
    context *= decodes
    roofline = Step(decodes, context / decodes if decodes else 0, prefill, before)
    pairs = int(prefill * before + prefill * prefill / 2)
    assert StepTimes(engine).step(prefill, pairs, decodes, context) == pytest.approx(step_costs(engine).seconds(roofline), rel=1e-6)


@given(ENGINES, st.integers(1, 300), st.integers(1, 20_000), st.integers(0, 99), st.integers(1, 300))
def test_many_decode_steps_take_the_sum_of_each(engine: Engine, decodes: int, context: int, odd: int, steps: int) -> None:
    times, total = StepTimes(engine), decodes * context + odd
    each = [times.step(0, 0, decodes, total + number * decodes) for number in range(steps)]
    assert times.decode_steps(decodes, total, steps) == pytest.approx(sum(each), rel=1e-12)


def test_steps_over_a_chunks_end_take_the_sum_of_each() -> None:
    times = StepTimes(SCOUT_ON_H100)
    each = [times.step(0, 0, 4, 4 * (8192 - 5) + number * 4) for number in range(10)]
    assert times.decode_steps(4, 4 * (8192 - 5), 10) == pytest.approx(sum(each), rel=1e-12)


@given(
    ENGINES,
    st.floats(0, 1) | st.floats(0, 20),
    st.tuples(st.integers(1, 300), st.integers(1, 20_000), st.integers(0, 99)),
    st.integers(0, 500),
)
def test_steps_before_a_time_are_as_many_as_end_before_it(
    engine: Engine, seconds: float, requests: tuple[int, int, int], most: int
) -> None:
    decodes, context, odd = requests
    times, total = StepTimes(engine), decodes * context + odd
    ends = [times.decode_steps(decodes, total, steps) for steps in range(1, most + 1)]
    before = [end_s for end_s in ends if end_s < seconds]
    assert times.steps_before(seconds, decodes, total, most) == (len(before), before[-1] if before else 0.0)


def test_measured_decode_changes_what_is_no_arithmetic() -> None:
    plain, fast = StepTimes(DENSE), StepTimes(DENSE, decode=0.5)
    assert fast.step(0, 0, 1, 1) == pytest.approx(plain.step(0, 0, 1, 1) / 2, rel=0.01)
    assert plain.step(8192, 0, 0, 0) - fast.step(8192, 0, 0, 0) == pytest.approx(plain.step(1, 0, 0, 0) / 2, rel=0.01)

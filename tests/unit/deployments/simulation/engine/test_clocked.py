"""An engine that jumps over its decode steps says the same, at the same times, as one that takes each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.simulation.engine.clocked import ClockedEngine
from deployments.simulation.engine.request import Request, Size
from deployments.simulation.engine.scheduler import Scheduler
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes

TIMES = StepTimes(SCOUT_ON_H100)
SIZE = Size(kv_tokens=2000, block_tokens=100, step_tokens=256, sequences=4)
ROOMY = Size(kv_tokens=50_000, block_tokens=512, step_tokens=1024)
Asked = tuple[float, list[int], int, int, int]
REQUESTS = st.lists(
    st.tuples(
        st.floats(0, 20), st.lists(st.integers(0, 5), max_size=6, unique=True), st.integers(0, 99), st.integers(1, 300), st.integers(0, 1)
    ),
    max_size=12,
)
Said = dict[tuple[int, str], float]


def requests(asked: list[Asked], size: Size) -> list[tuple[float, Request]]:
    ordered = sorted(asked, key=lambda one: one[0])
    return [
        (at_s, Request(number, blocks, len(blocks) * size.block_tokens + rest, tokens, priority))
        for number, (at_s, blocks, rest, tokens, priority) in enumerate(ordered)
    ]


def step_by_step(arrivals: list[tuple[float, Request]], size: Size) -> Said:
    """Takes every step alone; a request that arrives takes part in the first step that begins then or later."""
    scheduler, now_s = Scheduler(size, TIMES), 0.0
    said: Said = {}
    pending = list(arrivals)
    while True:
        while pending and pending[0][0] <= now_s:
            scheduler.submit(pending.pop(0)[1])
        step = scheduler.step()
        if step is None:
            if not pending:
                return said
            now_s = pending[0][0]
            continue
        now_s += step.took_s
        said |= {(one.number, "first"): now_s for one in step.first} | {(one.number, "end"): now_s for one in step.finished}


def jumping(arrivals: list[tuple[float, Request]], size: Size, looked_at: bool) -> Said:
    engine = ClockedEngine(Scheduler(size, TIMES))
    said: Said = {}

    def until(time_s: float) -> None:
        while engine.due_s < time_s:
            at_s = engine.due_s
            step = engine.wake()
            said.update({(one.number, "first"): at_s for one in step.first} | {(one.number, "end"): at_s for one in step.finished})

    for at_s, request in arrivals:
        until(at_s)
        if looked_at:
            engine.catch_up(at_s)
            assert engine.scheduler.pool.held_tokens <= size.kv_tokens
        engine.submit(request, at_s)
    until(float("inf"))
    return said


@pytest.mark.parametrize("size", [SIZE, ROOMY], ids=["crowded", "roomy"])
@given(asked=REQUESTS, looked_at=st.booleans())
def test_jumps_give_the_times_of_single_steps(size: Size, asked: list[Asked], looked_at: bool) -> None:
    one, other = step_by_step(requests(asked, size), size), jumping(requests(asked, size), size, looked_at)
    assert len(one) == 2 * len(asked)
    assert other == pytest.approx(one, rel=1e-9)


def test_engine_that_dies_gives_back_what_its_requests_had_by_the_last_whole_step() -> None:
    engine = ClockedEngine(Scheduler(ROOMY, TIMES))
    done, long, waits = Request(0, (), 10, 3), Request(1, (), 10, 1000), Request(2, (), 10, 5)
    for request in (done, long):
        engine.submit(request, 0.0)
    first = engine.due_s
    while not engine.wake().finished:
        pass
    step_s = (engine.due_s - engine._begun_s) / 997
    engine.submit(waits, at_s := engine._begun_s + 10.5 * step_s)
    lost = engine.die(at_s)
    assert first == 0.0
    assert [(one.number, one.generated) for one in lost] == [(1, 13), (2, 0)]
    assert engine.due_s == float("inf")


def test_engine_that_dies_while_it_computes_a_prompt_loses_it() -> None:
    engine = ClockedEngine(Scheduler(ROOMY, TIMES))
    engine.submit(Request(0, (), 10_000, 3), 0.0)
    engine.wake()
    engine.wake()
    assert [one.generated for one in engine.die(engine.due_s)] == [0]
    assert ClockedEngine(Scheduler(ROOMY, TIMES)).die(1.0) == []

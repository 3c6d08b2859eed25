"""`deployments.simulation.engine`: the engine that the routing is measured on behaves like one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.simulation.engine.request import Request, Size
from deployments.simulation.engine.scheduler import Scheduler
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes

SCOUT = StepTimes(SCOUT_ON_H100)
SIZE = Size(kv_tokens=2000, block_tokens=100, step_tokens=256, sequences=4)
REQUESTS = st.lists(st.tuples(st.lists(st.integers(0, 5), max_size=6, unique=True), st.integers(0, 99), st.integers(1, 300)), max_size=12)


def run(scheduler: Scheduler, most_s: float = 0.0) -> tuple[list[Request], list[Request]]:
    """Steps until nothing is left to do; whose first and whose last token came, in order."""
    first: list[Request] = []
    finished: list[Request] = []
    while (step := scheduler.step(most_s)) is not None:
        assert 0 <= scheduler.pool.held_tokens <= scheduler.size.kv_tokens
        first += step.first
        finished += step.finished
    return first, finished


@given(REQUESTS, st.sampled_from([0.0, 1.0]))
def test_everybody_is_served_once_and_memory_comes_back(asked: list[tuple[list[int], int, int]], most_s: float) -> None:
    scheduler = Scheduler(SIZE, SCOUT)
    requests = [Request(n, blocks, len(blocks) * 100 + rest, tokens) for n, (blocks, rest, tokens) in enumerate(asked)]
    for request in requests:
        scheduler.submit(request)
    first, finished = run(scheduler, most_s)
    assert sorted(one.number for one in first) == sorted(one.number for one in finished) == list(range(len(requests)))
    assert scheduler.pool.held_tokens == scheduler.running == scheduler.prefill_tokens == 0


@given(REQUESTS, st.integers(0, 11), st.integers(0, 8))
def test_whoever_hangs_up_leaves_nothing_behind(asked: list[tuple[list[int], int, int]], who: int, after: int) -> None:
    scheduler = Scheduler(SIZE, SCOUT)
    requests = [Request(n, blocks, len(blocks) * 100 + rest, tokens) for n, (blocks, rest, tokens) in enumerate(asked)]
    for request in requests:
        scheduler.submit(request)
    for _ in range(after):
        scheduler.step()
    for request in requests[who : who + 1]:
        scheduler.abort(request)
        scheduler.abort(request)
    run(scheduler)
    assert scheduler.pool.held_tokens == scheduler.running == 0


def test_prompt_that_is_being_computed_is_given_up_with_its_client() -> None:
    scheduler = Scheduler(SIZE, SCOUT)
    scheduler.submit(long := Request(0, (), 1000, 5))
    scheduler.step()
    assert scheduler.running == 1
    scheduler.abort(long)
    assert scheduler.pool.held_tokens == scheduler.running == scheduler.prefill_tokens == 0
    assert scheduler.step() is None


def test_second_prompt_finds_what_the_first_left_but_for_its_last_token() -> None:
    scheduler = Scheduler(SIZE, SCOUT)
    for number in range(2):
        scheduler.submit(request := Request(number, (1, 2, 3), 300, 2))
        run(scheduler)
    assert request.found == 2
    assert (scheduler.found_blocks, scheduler.queried_blocks) == (2, 6)


def test_what_is_found_is_forgotten_when_the_room_is_needed() -> None:
    scheduler = Scheduler(SIZE, SCOUT)
    for number, blocks in enumerate([(1, 2, 3), tuple(range(10, 29)), (1, 2, 3)]):
        scheduler.submit(request := Request(number, blocks, len(blocks) * 100, 1))
        run(scheduler)
    assert request.found == 1  # its end went first


def test_long_prompts_are_computed_in_chunks_beside_those_that_decode() -> None:
    scheduler = Scheduler(SIZE, SCOUT)
    scheduler.submit(short := Request(0, (), 10, 50))
    scheduler.step()
    scheduler.submit(Request(1, (), 1000, 1))
    steps = [step for _ in range(4) if (step := scheduler.step()) is not None]
    assert [short in step.decoded for step in steps] == [True] * 4
    assert [len(step.first) for step in steps] == [0, 0, 0, 1]


def test_full_memory_puts_the_last_one_back_and_it_ends_all_the_same() -> None:
    scheduler = Scheduler(SIZE, SCOUT)
    for number in range(2):
        scheduler.submit(Request(number, (), 900, 400))
    _, finished = run(scheduler)
    assert scheduler.preempted == 1
    assert [one.number for one in finished] == [0, 1]


def test_a_prompt_in_a_hurry_begins_before_others_that_wait_and_is_put_back_after_them() -> None:
    scheduler = Scheduler(SIZE, SCOUT)
    for number in range(3):
        scheduler.submit(Request(number, (), 900, 200, priority=1))
    scheduler.submit(hurried := Request(3, (), 900, 200))
    first, finished = run(scheduler)
    assert first[0] is hurried
    assert scheduler.preempted > 0
    assert finished[0] is hurried


def test_request_that_can_never_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1990 \+ 11 tokens do not fit into 2000"):
        Scheduler(SIZE, SCOUT).submit(Request(0, (), 1990, 11))


@given(st.integers(0, 8192), st.integers(0, 256), st.integers(0, 10**6))
def test_more_work_never_takes_less_time(prefill: int, decodes: int, context: int) -> None:
    base = SCOUT.step(prefill, prefill * 100, decodes, context)
    assert SCOUT.step(prefill + 1, (prefill + 1) * 100, decodes, context) >= base > 0
    assert SCOUT.step(prefill, prefill * 100, decodes + 1, context + 1000) >= base

"""`deployments.wire.deadlines`: a task ends when its time is over, and not before."""

import asyncio
import math
import time

import pytest

from deployments.wire.deadlines import GRAIN_S, Deadline, Deadlines

LONG_S = 30.0


def cancellations() -> int:
    """How often this task has been cancelled and has not said that it was meant."""
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


async def test_task_ends_when_its_time_is_over_and_little_later() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError), Deadlines().within(0.1):
        await asyncio.sleep(LONG_S)
    assert 0.1 <= time.monotonic() - began < LONG_S / 2
    assert cancellations() == 0


async def test_task_that_is_done_in_time_goes_on() -> None:
    deadlines = Deadlines()
    with deadlines.within(0.1):
        pass
    await asyncio.sleep(0.1 + 2 * GRAIN_S)
    assert cancellations() == 0


async def test_earlier_deadline_does_not_wait_for_a_later_one() -> None:
    deadlines, ended = Deadlines(), []

    async def one(seconds: float) -> None:
        with pytest.raises(TimeoutError), deadlines.within(seconds):
            await asyncio.sleep(LONG_S)
        ended.append(seconds)

    await asyncio.gather(one(0.5), one(0.1), one(0.3))
    assert ended == [0.1, 0.3, 0.5]


async def test_deadline_that_is_postponed_comes_later() -> None:
    async def work() -> None:
        with Deadlines().within(0.1) as deadline:
            deadline.postpone(0.4)
            await asyncio.sleep(LONG_S)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await work()
    assert 0.5 <= time.monotonic() - began < LONG_S / 2


async def test_deadline_has_come_where_only_a_floats_last_digits_are_left_of_it() -> None:
    """It would stand in the slot that was just emptied, and be looked at for ever."""

    async def work() -> None:
        deadlines = Deadlines()
        at_s = deadlines.now_s + LONG_S
        with Deadline(deadlines, at_s) as deadline:
            deadline.come(math.nextafter(at_s, 0.0))
            await asyncio.sleep(0.1)

    with pytest.raises(TimeoutError):
        await asyncio.create_task(work())


async def test_deadline_that_has_come_is_not_postponed() -> None:
    async def work() -> None:
        with Deadlines().within(0.05) as deadline:
            deadline.end()
            deadline.postpone(LONG_S)
            await asyncio.sleep(LONG_S)

    with pytest.raises(TimeoutError):
        await asyncio.create_task(work())


async def test_task_that_somebody_else_cancels_is_cancelled() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        with Deadlines().within(LONG_S):
            begun.set()
            await asyncio.sleep(LONG_S)

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_task_that_somebody_else_cancels_too_is_cancelled() -> None:
    async def work() -> None:
        with Deadlines().within(LONG_S) as deadline:
            deadline.end()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(LONG_S)

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(work())


async def test_nothing_waits_for_deadlines_that_were_kept() -> None:
    deadlines = Deadlines()
    for _ in range(3):
        with deadlines.within(0.05):
            pass
        with deadlines.within(LONG_S):
            pass
    await asyncio.sleep(0.05 + 2 * GRAIN_S)
    assert not deadlines._by_slot
    assert deadlines._timer is None


def test_only_a_task_has_a_deadline() -> None:
    async def outside() -> None:
        asyncio.get_running_loop().call_soon(enter)
        await failed.wait()

    def enter() -> None:
        with pytest.raises(RuntimeError, match="only a task"):
            Deadlines().within(1).__enter__()
        failed.set()

    failed = asyncio.Event()
    asyncio.run(outside())


async def test_block_puts_a_deadline_off_by_as_long_as_it_takes() -> None:
    async def work() -> None:
        with Deadlines().within(0.3) as deadline:
            with deadline.later(LONG_S):
                await asyncio.sleep(0.6)
            await asyncio.sleep(LONG_S)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await work()
    assert 0.9 <= time.monotonic() - began < LONG_S / 2


async def test_block_puts_a_deadline_off_by_no_more_than_it_may() -> None:
    with pytest.raises(TimeoutError), Deadlines().within(0.1) as deadline, deadline.later(0.1):
        await asyncio.sleep(LONG_S)
    deadlines = Deadlines()
    with deadlines.within(LONG_S) as deadline, deadline.later(0.0):
        await asyncio.sleep(0.05)


async def test_deadline_that_is_restarted_counts_from_then() -> None:
    async def work() -> None:
        with Deadlines().within(LONG_S) as deadline:
            deadline.restart(0.1)
            await asyncio.sleep(LONG_S)

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await work()
    assert 0.1 <= time.monotonic() - began < LONG_S / 2

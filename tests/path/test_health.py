"""`/health?generate=true` makes every replica generate, for anybody who asks: it must not become a way to keep them busy."""

import asyncio
import contextlib

import pytest

from deployments.wire.shared_answer import SharedAnswer
from tests.path.fake_engine import WAIT_S, FakeEngine
from tests.path.herd import LLAMA, SCOUT, Herd, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = "/health?generate=true"


async def test_thirty_that_ask_at_once_share_one_generation(herd: Herd, engine: FakeEngine) -> None:
    herd.has(engine, model=SCOUT)
    herd.generated.update({LLAMA: 1, SCOUT: 1})
    herd.generates_when.clear()
    asked = [asyncio.create_task(herd.http.get(PAGE)) for _ in range(30)]
    await until(lambda: len(herd.asked_to_generate) == 2)
    await asyncio.sleep(0.05)
    herd.generates_when.set()
    assert {answer.status_code for answer in await asyncio.gather(*asked)} == {200}
    assert (await herd.http.get(PAGE)).json()["generated"] == {LLAMA: 1, SCOUT: 1}
    assert sorted(herd.asked_to_generate) == [LLAMA, SCOUT], "one of each model"


async def test_a_client_that_hangs_up_takes_the_generation_from_nobody_else(herd: Herd) -> None:
    herd.generated[LLAMA] = 1
    herd.generates_when.clear()
    first, second = (asyncio.create_task(herd.http.get(PAGE)) for _ in range(2))
    await until(lambda: len(herd.asked_to_generate) == 2)
    await asyncio.sleep(0.05)
    first.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await first
    await asyncio.sleep(0.05)
    herd.generates_when.set()
    assert (await second).json()["generated"][LLAMA] == 1
    assert sorted(herd.asked_to_generate) == [LLAMA, SCOUT]


class Clock:
    """Seconds as a test wants them."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_an_answer_and_a_failure_are_kept_for_some_seconds_and_no_longer() -> None:
    clock, made = Clock(), 0

    async def make() -> int:
        nonlocal made
        made += 1
        clock.now_s += 10  # it is kept from its end on
        if made == 1:
            raise OSError("the first one fails")
        return made

    shared = SharedAnswer(make, 5.0, clock)
    for _ in range(2):
        with pytest.raises(OSError, match="the first"):
            await shared.get()
    clock.now_s += 5
    assert [await shared.get() for _ in range(2)] == [2, 2]
    clock.now_s += 4.9
    assert await shared.get() == 2
    clock.now_s += 0.1
    assert await shared.get() == 3


async def test_a_failure_that_nobody_waits_for_any_longer_is_no_noise() -> None:
    fails, ended = asyncio.Event(), asyncio.Event()

    async def make() -> None:
        await fails.wait()
        ended.set()
        raise OSError

    asker = asyncio.create_task(SharedAnswer(make, 5.0).get())
    await asyncio.sleep(0)
    asker.cancel()
    fails.set()
    async with asyncio.timeout(WAIT_S):
        await ended.wait()

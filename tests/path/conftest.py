"""One fake engine and one gateway in front of it, on the event loop of production.

All of these tests share one loop (their `pytestmark`): a gateway takes a fifth of a second to stop, and may do so while the next
test runs.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import pytest
import pytest_asyncio
import uvloop

from tests.path.fake_engine import WAIT_S, FakeEngine, fake_engine
from tests.path.herd import STOPPING, Herd, herd_of, limits

Start = Callable[..., Awaitable[Herd]]


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Ray runs its workers on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest_asyncio.fixture(scope="session", loop_scope="session", autouse=True)
async def _all_stop() -> AsyncIterator[None]:
    yield
    async with asyncio.timeout(WAIT_S):
        # Another folder's tests have a loop of their own, which has ended what ran on it.
        here = asyncio.get_running_loop()
        await asyncio.gather(*(task for task in STOPPING if task.get_loop() is here))


@pytest_asyncio.fixture(loop_scope="session")
async def engine() -> AsyncIterator[FakeEngine]:
    """The only replica, unless a test says otherwise."""
    async with fake_engine() as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def herd(engine: FakeEngine) -> AsyncIterator[Herd]:
    """A gateway with generous limits."""
    async with herd_of([engine], limits()) as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def limited(engine: FakeEngine) -> AsyncIterator[Start]:
    """Starts a gateway with limits of the test's choice."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(**changed: Any) -> Herd:
            return await stack.enter_async_context(herd_of([engine], limits(**changed)))

        yield start

"""An answer that costs something and that anybody may ask for: there is one at a time, and it is kept for a moment.

Decides when a new one is made. However many ask, and however often, the cost is that of one answer each few seconds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class SharedAnswer(Generic[Value]):
    """One answer for all who ask within some seconds. A failure is an answer too, and kept as long."""

    def __init__(self, make: Callable[[], Awaitable[Value]], kept_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        make: makes an answer; it must end by itself.
        kept_s: seconds for which an answer is given again, from when it was there.
        clock: seconds.
        """
        self._make = make
        self._kept_s = kept_s
        self._clock = clock
        self._task: asyncio.Task[Value] | None = None
        self._made_s = 0.0

    async def get(self) -> Value:
        """The answer that is being made or was made lately, else a new one. A caller that is cancelled cancels it for nobody else.

        Raises:
            Exception: what `make` raised.
        """
        if self._task is None or (self._task.done() and self._clock() - self._made_s >= self._kept_s):
            self._task = asyncio.get_running_loop().create_task(self._made())
            self._task.add_done_callback(_look_at)
        return await asyncio.shield(self._task)

    async def _made(self) -> Value:
        try:
            return await self._make()
        finally:
            self._made_s = self._clock()


def _look_at(task: "asyncio.Task[Value]") -> None:
    """Marks a failure as seen: whoever asked may have gone."""
    if not task.cancelled():
        task.exception()

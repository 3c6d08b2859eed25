"""Keeps a roster up to date with the replicas that there are.

Decides how often they are looked for. How they are found is the caller's (`Discover`): Ray in a gateway, a list in a test. When nobody
answers, the last that was known stays: gateways and engines go on while Ray's head is away.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from deployments.gateway.replicas.loops import end
from deployments.gateway.replicas.roster import Roster
from deployments.policy.routing.types import ReplicaView

Discover = Callable[[str], Awaitable[Sequence[ReplicaView]]]
"""Asks every replica of a model for its view of itself. Raises where nobody could be asked."""


Changed = Callable[[str], Awaitable[None]]
"""Returns when there may be other replicas of a model than when it returned before. Raises where that cannot be known."""

#: Between two looks while nothing is known to have changed, in seconds.
SELDOM_S = 10.0
#: So long after a change replicas are looked for every period: not everybody who is asked knows of it at once.
RESTLESS_S = 5.0


class Watch:
    """Keeps a roster up to date: loops of its own for every model, so that a silent replica of one does not hold up the others.

    Replicas are looked for when they are said to have changed, every period for a while after that, and seldom else. Where changes are
    not heard of, they are looked for every period.
    """

    def __init__(self, roster: Roster, discover: Discover, period_s: float, changed: Changed | None = None) -> None:
        """Args:
        roster: what is kept up to date.
        discover: finds the replicas of a model.
        period_s: between two looks while something changes.
        changed: tells that replicas have changed; None: nobody does.
        """
        self._roster = roster
        self._discover = discover
        self._period_s = period_s
        self._changed = changed
        self._tasks: dict[str, tuple[asyncio.Task[None], ...]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        """Loops that were cancelled, and have not ended yet."""
        self._woken: dict[str, asyncio.Event] = {}
        self._restless_until_s: dict[str, float] = {}
        self._hears: set[str] = set()
        """Models of whose changes this hears."""
        self._log = structlog.get_logger("herd.roster")

    def follow(self) -> None:
        """Watches just the models that the roster has now."""
        self._retire(self._tasks.keys() - set(self._roster.models))
        for model in set(self._roster.models) - self._tasks.keys():
            self._woken[model] = asyncio.Event()
            loops = (self._loop(model),) if self._changed is None else (self._loop(model), self._hear(model, self._changed))
            self._tasks[model] = tuple(asyncio.get_running_loop().create_task(one) for one in loops)

    def look(self, model: str) -> None:
        """Something may have changed with the replicas of a model: looks for them now, and more often for a while."""
        self._restless_until_s[model] = time.monotonic() + RESTLESS_S
        if model in self._woken:
            self._woken[model].set()

    def change(self, period_s: float) -> None:
        """Sets how often replicas are looked for while something changes. Every model's are looked for at once where that is new."""
        if period_s != self._period_s:
            self._period_s = period_s
            self._retire(self._tasks)
            self.follow()

    async def stop(self) -> None:
        """Ends every loop, and returns when they have ended."""
        self._retire(self._tasks)
        await end(self._ending)

    @property
    def alive(self) -> bool:
        """Every loop still runs."""
        return not any(task.done() for loops in self._tasks.values() for task in loops)

    def _retire(self, models: Iterable[str]) -> None:
        for model in tuple(models):
            self._hears.discard(model)
            self._restless_until_s.pop(model, None)
            del self._woken[model]
            for task in self._tasks.pop(model):
                task.cancel()
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)

    async def _loop(self, model: str) -> None:
        woken = self._woken[model]
        while True:
            woken.clear()
            await self._once(model)
            await asyncio.sleep(self._period_s)
            if model in self._hears and time.monotonic() >= self._restless_until_s.get(model, 0.0):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(SELDOM_S):
                        await woken.wait()

    async def _hear(self, model: str, changed: Changed) -> None:
        while True:
            try:
                await changed(model)
            except Exception as error:  # noqa: BLE001 (a control loop: whatever went wrong, it must listen again)
                self._hears.discard(model)
                self._woken[model].set()
                self._log.debug("changes_unknown", model=model, error=f"{type(error).__name__}: {error}")
            else:
                self._hears.add(model)
                self.look(model)
            await asyncio.sleep(self._period_s)

    async def _once(self, model: str) -> None:
        try:
            replicas = await self._discover(model)
        except Exception as error:  # noqa: BLE001 (a control loop: whatever went wrong, it must ask again)
            self._log.warning("roster_unknown", model=model, error=f"{type(error).__name__}: {error}")
            self.look(model)
            return
        before, known = self._roster.ready(model), {view.id for view in self._roster.replicas(model)}
        self._roster.update(model, replicas)
        if (now := self._roster.ready(model)) != before:
            self._log.info("roster_changed", model=model, ready=now, known=len(replicas))
        if known != {view.id for view in replicas}:
            self.look(model)

"""Keeps a roster up to date with the replicas that there are.

Decides how often they are looked for. How they are found is the caller's (`Discover`): Ray in a gateway, a list in a test. When nobody
answers, the last that was known stays: gateways and engines go on while Ray's head is away.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence

import structlog

from deployments.gateway.replicas.loops import end
from deployments.gateway.replicas.roster import Roster
from deployments.policy.routing.types import ReplicaView

Discover = Callable[[str], Awaitable[Sequence[ReplicaView]]]
"""Asks every replica of a model for its view of itself. Raises where nobody could be asked."""


class Watch:
    """Keeps a roster up to date: one loop per model, so that a silent replica of one does not hold up the others."""

    def __init__(self, roster: Roster, discover: Discover, period_s: float) -> None:
        self._roster = roster
        self._discover = discover
        self._period_s = period_s
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()
        """Loops that were cancelled, and have not ended yet."""
        self._log = structlog.get_logger("herd.roster")

    def follow(self) -> None:
        """Watches just the models that the roster has now."""
        self._retire(self._tasks.keys() - set(self._roster.models))
        for model in set(self._roster.models) - self._tasks.keys():
            self._tasks[model] = asyncio.get_running_loop().create_task(self._loop(model))

    def change(self, period_s: float) -> None:
        """Sets how often Ray is asked. Every model is asked at once where that is new."""
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
        return not any(task.done() for task in self._tasks.values())

    def _retire(self, models: Iterable[str]) -> None:
        for model in tuple(models):
            task = self._tasks.pop(model)
            task.cancel()
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _loop(self, model: str) -> None:
        while True:
            await self._once(model)
            await asyncio.sleep(self._period_s)

    async def _once(self, model: str) -> None:
        try:
            replicas = await self._discover(model)
        except Exception as error:  # noqa: BLE001 (a control loop: whatever went wrong, it must ask again)
            self._log.warning("roster_unknown", model=model, error=f"{type(error).__name__}: {error}")
            return
        before = self._roster.ready(model)
        self._roster.update(model, replicas)
        if (now := self._roster.ready(model)) != before:
            self._log.info("roster_changed", model=model, ready=now, known=len(replicas))

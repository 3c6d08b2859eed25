"""Shows what autoscaling decided on each scaled model, among this gateway's metrics: Ray Serve's controller shows none of the herd's.

Decides when it is asked for. The question may take long, so it is asked in a thread.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence

import structlog

from deployments.gateway.replicas.loops import end
from deployments.policy.records import verdict as verdicts
from monitoring.export import Meter

Read = Callable[[Sequence[str]], Mapping[str, str]]
"""Returns the texts of names in the cluster's store, as far as they are there. It may take long, and raise."""


class Sizes:
    """Shows the decisions, from its making until `stop`."""

    def __init__(self, read: Read, meter: Meter, period_s: float) -> None:
        """Args:
        read: asks the cluster's store. Called in a thread.
        meter: shows what was decided.
        period_s: between two questions.
        """
        self._read, self._meter, self._period_s = read, meter, period_s
        self._models: tuple[str, ...] = ()
        self._log = structlog.get_logger("herd.sizes")
        self._task = asyncio.get_running_loop().create_task(self._loop())

    def follow(self, models: Collection[str]) -> None:
        """Asks for these models from now on."""
        self._models = tuple(models)
        self._meter.scaled_only(self._models)

    async def stop(self) -> None:
        """Asks no more."""
        await end((self._task,))

    async def _loop(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 (whatever Ray raises while its head is away: it is asked again)
                self._log.debug("sizes_unknown", error=type(error).__name__)
            await asyncio.sleep(self._period_s)

    async def _look(self) -> None:
        if not self._models:
            return
        texts = await asyncio.to_thread(self._read, [verdicts.key(model) for model in self._models])
        for model in self._models:
            if (one := verdicts.read(texts.get(verdicts.key(model)))) is not None:
                figures = {"target": one.target, "now": one.demand, "expected": one.expected, "wanted": one.wanted}
                self._meter.scaled(model, figures, one.binds, one.held, one.at_s)

"""Tells whoever scales what this gateway sees of each model's load: a record of each scaled model, every 2 s.

Decides when a record is made. Keeping it may take long, and is not done here: `keep` returns at once.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import median_low

import structlog

from deployments.gateway.replicas.loops import end
from deployments.policy.queue import load_record
from deployments.policy.queue.load_record import EngineLoads, LoadRecord
from deployments.policy.routing.types import ReplicaState, ReplicaView, RunsAtOnce

PERIOD_S = 2.0

Keep = Callable[[str, str | None], None]
"""Keeps a text under a name, soon; None removes it. Returns at once."""


class LoadReporting:
    """Tells of the load, from its making until `stop`."""

    def __init__(
        self,
        name: str,
        replicas: Callable[[str], Sequence[ReplicaView]],
        record: Callable[[str, EngineLoads], LoadRecord],
        keep: Keep,
        period_s: float = PERIOD_S,
    ) -> None:
        """Args:
        name: this gateway's.
        replicas: the replicas of a model.
        record: what is counted of a model, with its replicas as they report themselves.
        keep: takes the records.
        period_s: between two records of a model.
        """
        self._name, self._replicas, self._record, self._keep, self._period_s = name, replicas, record, keep, period_s
        self._models: frozenset[str] = frozenset()
        self._rooms: dict[str, dict[str, RunsAtOnce]] = {}
        """By model and replica, what the replica's memory has shown to hold."""
        self._log = structlog.get_logger("herd.load")
        self._task = asyncio.get_running_loop().create_task(self._loop())

    def follow(self, models: Collection[str]) -> None:
        """Tells of these models from now on, and of no others."""
        self._forget(self._models - set(models))
        self._models = frozenset(models)

    async def stop(self) -> None:
        """Tells nothing any more, and has what was told removed: this gateway is not missing, it has gone."""
        await end((self._task,))
        self._forget(self._models)

    def _forget(self, models: Collection[str]) -> None:
        for model in models:
            self._keep(load_record.key(model, self._name), None)

    async def _loop(self) -> None:
        while True:
            for model in self._models:
                try:
                    self._tell(model)
                except Exception as error:  # noqa: BLE001 (a control loop: whatever went wrong, it must tell again)
                    self._log.warning("load_not_told", model=model, error=type(error).__name__)
            await asyncio.sleep(self._period_s)

    def _tell(self, model: str) -> None:
        replicas, before = self._replicas(model), self._rooms.get(model, {})
        rooms = self._rooms[model] = {view.id: before.get(view.id) or RunsAtOnce() for view in replicas}
        record = self._record(model, engines_of(replicas, rooms))
        self._keep(load_record.key(model, self._name), load_record.written(record))


def engines_of(replicas: Sequence[ReplicaView], rooms: Mapping[str, RunsAtOnce]) -> EngineLoads:
    """Returns what the replicas of a model report of themselves, in one; `rooms` follow how many requests each one can run."""
    ready = [view for view in replicas if view.state is ReplicaState.READY]
    here = [view for view in replicas if view.state in (ReplicaState.READY, ReplicaState.LEAVING)]
    crowd = sum(view.ongoing + 1 for view in ready)
    runs = [room for view in ready if (room := rooms[view.id].after(view.slots, view.ongoing, view.waiting, view.kv_usage))]
    return EngineLoads(
        ready=len(ready),
        leaving=len(here) - len(ready),
        waiting=sum(view.waiting for view in here),
        prefill_tokens=float(sum(view.prefill_tokens or 0 for view in here)),
        hit_share=sum(view.prefix_hit_rate * (view.ongoing + 1) for view in ready) / crowd if crowd else 0.0,
        youngest_s=min((view.ready_s for view in ready if view.ready_s < float("inf")), default=0.0),
        room=median_low(runs) if runs else 0,
        kinds=max(1, len({view.about.get("made_of") for view in here})),
    )

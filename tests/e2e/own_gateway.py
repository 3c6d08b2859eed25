"""A gateway of a test's own, in front of the herd's own engines and with their door's key."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from configs.schema import Limits, Model
from deployments.policy.routing.types import ReplicaState, ReplicaView
from tests.e2e.conftest import Herd
from tests.path.herd import STOPPING, herd_of
from tests.path.herd import Herd as Gateway


def views(replicas: Iterable[dict[str, Any]], model: str, slots: int = 0) -> list[ReplicaView]:
    """Replicas that `/-/status` names, as a roster knows them."""
    ends = [(one["id"], *one["address"].rsplit(":", 1)) for one in replicas]
    return [ReplicaView(name, model, host, int(port), ReplicaState.READY, 0, slots=slots) for name, host, port in ends]


@contextlib.asynccontextmanager
async def before(herd: Herd, model: Model, limits: Limits, replicas: Iterable[ReplicaView]) -> AsyncIterator[Gateway]:
    """A gateway that serves one model, by these replicas of the herd."""
    async with herd_of([], limits, models=(model,), key=herd.door_key) as own:
        own.roster.update(model.id, list(replicas))
        yield own
    here = asyncio.get_running_loop()
    await asyncio.gather(*(task for task in STOPPING if task.get_loop() is here))

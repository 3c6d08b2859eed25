"""The starts of engines that go on now. The cluster's store has them, and is asked only while somebody looks.

Decides for how long a page waits for the store, and that no question is asked before the last one has an answer: while Ray's head is away
it may take minutes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

from deployments.gateway.admission import Coming
from deployments.gateway.replicas.roster import Roster
from deployments.policy.records import starts
from deployments.policy.records.starts import Start
from deployments.wire.shared_answer import SharedAnswer

KEPT_S, WAIT_S = 5.0, 0.5

Starts = Callable[[Sequence[str]], Mapping[str, Sequence[Start]]]
"""Returns the starts of models that are kept, oldest first. It may take long, and raise."""
Going = Mapping[str, tuple[Sequence[Start], Sequence[Start]]]
"""By model, the starts that go on, and all that are kept."""


class Starting:
    """Finds the starts that go on."""

    def __init__(self, find: Starts, coming: Coming | None, roster: Roster, kept_s: float = KEPT_S) -> None:
        """Args:
        find: asks the cluster's store. Called in a thread.
        coming: counts the replicas of a model that run or start; None: all starts that have not ended go on.
        roster: has the replicas that have started.
        kept_s: seconds for which an answer is given again.
        """
        self._find, self._coming, self._roster = find, coming, roster
        self._shared = SharedAnswer(self._found, kept_s)

    async def get(self) -> Going:
        """Returns the starts of each model that has some; none where the cluster does not tell in time."""
        try:
            return await asyncio.wait_for(self._shared.get(), WAIT_S)
        except Exception:  # noqa: BLE001 (whatever Ray raises while its head is away: the page is shown without starts)
            return {}

    async def _found(self) -> Going:
        known = await asyncio.to_thread(self._find, self._roster.models)
        found = {model: (await self._going(model, kept), kept) for model, kept in known.items()}
        return {model: one for model, one in found.items() if one[0]}

    async def _going(self, model: str, kept: Sequence[Start]) -> Sequence[Start]:
        there = {replica.id for replica in self._roster.replicas(model)}
        going = starts.going(kept, there, len(kept))
        if not going or self._coming is None:
            return going
        return starts.going(kept, there, max(0, await self._coming(model) - len(there)))

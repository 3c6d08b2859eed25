"""One request's part in the deaths of engines, while it is on its way.

Decides nothing: `policy.request.poison` does. A request that has seen no engine die is neither looked up nor known by its digest, unless
the gateway remembers a death.
"""

import asyncio
import time
from collections.abc import Callable

from deployments.gateway.admission import Place
from deployments.gateway.request import Asked
from deployments.policy.errors.client_errors import EngineLost, EnginesLost, KillsEngines
from deployments.policy.request.poison import DEATHS, Death, Poison, digest_of

#: Bodies from this size on are hashed in a thread: BLAKE2b takes about 1.5 ms for a MiB, and lets the event loop go on meanwhile.
LARGE_BYTES = 256 << 10


class Suspicion:
    """The engines that died under one request."""

    __slots__ = ("_before", "_clock", "_dead", "_digest", "_poison", "_request", "_suspected")

    def __init__(self, poison: Poison, asked: Asked, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        poison: the gateway's memory.
        asked: the request.
        clock: seconds, of the clock that places have.
        """
        self._poison = poison
        self._request = asked
        self._clock = clock
        self._digest = ""
        self._before = 0
        """Deaths that the model which was named has lost to it."""
        self._dead: set[str] = set()
        """The replicas that died under it; one that it lost twice was only lost."""
        self._suspected = False

    async def look_up(self) -> None:
        """Looks up what is remembered of the request. Not needed where nothing is remembered.

        Raises:
            KillsEngines: it is condemned already.
        """
        digest = await self._known_by()
        deaths = self._poison.deaths(digest, self._clock())
        self._suspected = deaths > 0
        if self._request.chosen.instead_of is not None:  # the model that was named has lost engines to it
            self._before = min(deaths, DEATHS - 1)
        self._refuse_condemned(digest)

    async def died(self, place: Place, lost: EngineLost) -> None:
        """The replica of this place has gone, and had answered nothing of the request. One that never had it says nothing against it.

        Args:
            place: where it was.
            lost: what is known of that.

        Raises:
            KillsEngines: the request is condemned with that.
            EnginesLost: as many engines have died under it as may.
        """
        if not lost.had_it:
            return
        death = Death(place.pick.replica.id, place.since_s, self._clock(), lost.alone)
        digest = await self._known_by()
        self._poison.died(digest, death)
        self._refuse_condemned(digest)
        if self._poison.deaths(digest, self._clock()):
            self._suspected = True
            self._dead.add(death.replica)
        if self._before + len(self._dead) >= DEATHS:
            raise EnginesLost(lost.retry_after_s)

    def answered(self) -> None:
        """An engine has answered it, at least in part."""
        if self._suspected:
            self._poison.answered(self._digest, self._clock())
            self._before, self._suspected = 0, False
            self._dead.clear()

    async def _known_by(self) -> str:
        if not self._digest:
            call = self._request.call
            if len(call.body) < LARGE_BYTES:
                self._digest = digest_of(call.path, call.body)
            else:
                self._digest = await asyncio.to_thread(digest_of, call.path, call.body)
        return self._digest

    def _refuse_condemned(self, digest: str) -> None:
        if self._poison.is_condemned(digest, self._clock()):
            raise KillsEngines(self._request.chosen.model.id)

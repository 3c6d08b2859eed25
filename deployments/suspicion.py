"""One request's part in the deaths of engines, while it is on its way.

Decides nothing: `policy.poison` does. A request that has seen no engine die is neither looked up nor known by its digest.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployments.asked import Asked
from deployments.policy.errors import KillsEngines
from deployments.policy.poison import DEATHS, Poison, digest_of


class Suspicion:
    """What is held against one request."""

    __slots__ = ("_alone", "_clock", "_deaths", "_digest", "_poison", "_request")

    def __init__(self, poison: Poison, asked: Asked, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        poison: the gateway's memory.
        asked: the request.
        clock: seconds.

        Raises:
            KillsEngines: it is condemned already.
        """
        self._poison = poison
        self._request = asked
        self._clock = clock
        self._digest: str | None = None
        self._alone = True
        self._deaths = poison.deaths(self._key, clock()) if poison else 0
        self._refuse_condemned()

    @property
    def _key(self) -> str:
        if self._digest is None:
            self._digest = digest_of(self._request.call.path, self._request.call.body)
        return self._digest

    @property
    def is_used_up(self) -> bool:
        """As many engines have died under it as may."""
        return self._deaths >= DEATHS

    @contextmanager
    def at(self, replica: str) -> Iterator[None]:
        """While it is at a replica."""
        trial = self._poison.trial(replica) if self._deaths else None
        try:
            yield
        finally:
            if trial is not None:
                self._poison.tried(trial)
                self._alone = trial.alone

    def died(self, replica: str) -> None:
        """A replica has died under it, and had answered nothing of it.

        Raises:
            KillsEngines: it is condemned with that.
        """
        self._poison.died(self._key, replica, self._alone, self._clock())
        self._deaths += 1
        self._refuse_condemned()

    def answered(self) -> None:
        """An engine has answered it, at least in part."""
        if self._deaths:
            self._poison.answered(self._key, self._clock())
            self._deaths = 0

    def _refuse_condemned(self) -> None:
        if self._poison and self._poison.is_condemned(self._key, self._clock()):
            raise KillsEngines(self._request.chosen.model.id)

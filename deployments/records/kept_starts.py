"""The starts of replicas in the cluster's store, read once for all parts of a gateway that show them. Needs a connection to Ray.

Decides when the store is asked: at most once in some seconds, however many ask, and not again for a text that no longer changes.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from deployments.policy.records import starts
from deployments.policy.records.starts import Start
from deployments.ray_calls import cluster_store

#: Seconds for which a reading is good.
KEPT_S = 5.0


class Names(Protocol):
    """A place for texts by name; `deployments.ray_calls.cluster_store` is one."""

    def names(self, beginning: str) -> Sequence[str]:
        """Returns the names that begin so."""

    def several(self, names: Sequence[str]) -> Mapping[str, str]:
        """Returns the texts of these names, as far as they are there."""


class KeptStarts:
    """Reads the starts that are kept, for any thread. It may wait for Ray's head, and raises whatever Ray raises while that is away."""

    def __init__(self, store: Names = cluster_store, kept_s: float = KEPT_S, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        store: where starts are kept.
        kept_s: seconds for which a reading is good.
        clock: seconds.
        """
        self._store, self._kept_s, self._clock = store, kept_s, clock
        self._lock = threading.Lock()
        self._known: Mapping[str, Start] = {}
        self._over: set[str] = set()
        """Names of starts whose texts are not read again."""
        self._killed: dict[str, float] = {}
        """When each start was said to have been killed, by its name."""
        self._read_s: float | None = None

    def running(self) -> dict[str, Start]:
        """Returns the starts that have not ended, by their names."""
        known = self._read()
        return {name: start for name, start in known.items() if start.ended is None and name not in self._killed}

    def of(self, models: Sequence[str]) -> Mapping[str, Sequence[Start]]:
        """Returns the starts of each of these models, oldest first, also those that have ended."""
        found: dict[str, list[Start]] = {model: [] for model in models}
        for start in self._read().values():
            if start.model in found:
                found[start.model].append(start)
        return found

    def killed(self, names: Collection[str]) -> None:
        """Takes in that these starts seem to have been killed. One may have ended since the last reading, so each is read once more."""
        with self._lock:
            now = self._clock()
            for name in names:
                self._killed.setdefault(name, now)

    def _read(self) -> Mapping[str, Start]:
        """Returns the starts by their names, which sort those of one model by time."""
        with self._lock:
            now = self._clock()
            if self._read_s is None or now - self._read_s >= self._kept_s:
                self._known, self._read_s = self._asked(now), now
            return self._known

    def _asked(self, now: float) -> Mapping[str, Start]:
        names = sorted(self._store.names(starts.BEGINNING))
        self._over.intersection_update(names)
        self._killed = {name: self._killed[name] for name in names if name in self._killed}
        texts = self._store.several([name for name in names if name not in self._over])
        found = {name: starts.read(text) for name, text in texts.items()}
        self._over.update(name for name, start in found.items() if start is None or start.ended is not None)
        self._over.update(name for name, told_s in self._killed.items() if now - told_s >= self._kept_s)
        known = ((name, found.get(name) or self._known.get(name)) for name in names)
        return {name: start for name, start in known if start is not None}

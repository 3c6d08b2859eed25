"""Reads the cluster for a gateway's metrics: Ray's table of nodes, starts of replicas, and the herd's events. Needs a connection to Ray.

Decides what is asked when: nodes, names of starts and names of events once a reading, texts only of what is new, and Ray Serve's states
seldom while nothing starts, because its controller has more to do.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

from deployments.policy.fleet import events
from deployments.policy.monitoring.cluster_facts import ClusterFacts, Node
from deployments.policy.records import starts
from deployments.policy.records.starts import Start
from deployments.ray_calls import cluster_store, nodes, serve_api
from deployments.ray_calls.names import app_name

#: Between two questions for the states of replicas while none is known to start.
SELDOM_S = 60.0


class Names(Protocol):
    """A place for texts by name; `deployments.ray_calls.cluster_store` is one."""

    def names(self, beginning: str) -> Sequence[str]:
        """Returns the names that begin so."""

    def several(self, names: Sequence[str]) -> Mapping[str, str]:
        """Returns the texts of these names, as far as they are there."""


class ClusterReader:
    """Reads the cluster, again and again."""

    def __init__(
        self,
        store: Names = cluster_store,
        table: Callable[[], Sequence[Node]] = nodes.table,
        starting: Callable[[Collection[str]], Mapping[str, int]] = serve_api.starting,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        store: where starts and events are kept.
        table: returns the nodes.
        starting: counts the replicas of applications that start, by application.
        clock: seconds.
        """
        self._store, self._table, self._ask, self._clock = store, table, starting, clock
        self._known: set[str] | None = None
        self._events: Counter[str] = Counter()
        self._over: set[str] = set()
        """Names of starts that have ended, or that were killed."""
        self._starting: dict[str, int] = {}
        self._asked_s: float | None = None

    def read(self, models: Sequence[str]) -> ClusterFacts:
        """Returns what there is now. It may wait for the head.

        Raises:
            Exception: whatever Ray raises while its head is away.
        """
        table = tuple(self._table())
        running = self._running()
        now = self._clock()
        if running or any(self._starting.values()) or self._asked_s is None or now - self._asked_s >= SELDOM_S:
            apps = {app_name(model): model for model in models}
            self._starting = {apps[app]: count for app, count in self._ask(list(apps)).items()}
            self._asked_s = now
        self._over |= {name for name, start in running.items() if not self._starting.get(start.model)}
        self._count_events()
        return ClusterFacts(table, dict(self._starting), tuple(running.values()), dict(self._events))

    def _running(self) -> dict[str, Start]:
        """Returns the starts that have not ended, by their names."""
        names = set(self._store.names(starts.BEGINNING))
        self._over &= names
        texts = self._store.several(sorted(names - self._over))
        found = {name: starts.read(text) for name, text in texts.items()}
        self._over |= {name for name, start in found.items() if start is None or start.ended is not None}
        return {name: start for name, start in found.items() if start is not None and start.ended is None}

    def _count_events(self) -> None:
        names = set(self._store.names(events.BEGINNING))
        new = set[str]() if self._known is None else names - self._known
        texts = self._store.several(sorted(new))
        self._known = names
        told = [event for name in sorted(texts) if (event := events.read(texts[name])) is not None]
        self._events.update(event.kind for event in events.settled(told) if event.kind in set(events.Kind))

"""Reads the cluster for a gateway's metrics: Ray's table of nodes, starts of replicas, and the herd's events. Needs a connection to Ray.

Decides what is asked when: nodes and names of events once a reading, texts only of new events, and Ray Serve's states seldom while nothing
starts, because its controller has more to do.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from deployments.policy.fleet import events
from deployments.policy.fleet.events import Event
from deployments.policy.monitoring.cluster_facts import ClusterFacts, Node
from deployments.ray_calls import cluster_store, nodes, serve_api
from deployments.ray_calls.names import app_name
from deployments.records import audit_log
from deployments.records.kept_starts import KeptStarts, Names

#: Between two questions for the states of replicas while none is known to start.
SELDOM_S = 60.0


class ClusterReader:
    """Reads the cluster, again and again."""

    def __init__(
        self,
        kept: KeptStarts,
        store: Names = cluster_store,
        table: Callable[[], Sequence[Node]] = nodes.table,
        starting: Callable[[Collection[str]], Mapping[str, int]] = serve_api.starting,
        clock: Callable[[], float] = time.monotonic,
        told: Callable[[Event], None] = audit_log.written,
    ) -> None:
        """Args:
        kept: the starts of replicas.
        store: where events are kept.
        table: returns the nodes.
        starting: counts the replicas of applications that start, by application.
        clock: seconds.
        told: is told each new event.
        """
        self._kept, self._told = kept, told
        self._store, self._table, self._ask, self._clock = store, table, starting, clock
        self._known: set[str] | None = None
        self._events: Counter[str] = Counter()
        self._starting: dict[str, int] = {}
        self._asked_s: float | None = None

    def read(self, models: Sequence[str]) -> ClusterFacts:
        """Returns what there is now. It may wait for the head.

        Raises:
            Exception: whatever Ray raises while its head is away.
        """
        table = tuple(self._table())
        running = self._kept.running()
        now = self._clock()
        if running or any(self._starting.values()) or self._asked_s is None or now - self._asked_s >= SELDOM_S:
            apps = {app_name(model): model for model in models}
            self._starting = {apps[app]: count for app, count in self._ask(list(apps)).items()}
            self._asked_s = now
        self._kept.killed([name for name, start in running.items() if not self._starting.get(start.model)])
        self._count_events()
        return ClusterFacts(table, dict(self._starting), tuple(running.values()), dict(self._events))

    def _count_events(self) -> None:
        names = set(self._store.names(events.BEGINNING))
        new = set[str]() if self._known is None else names - self._known
        texts = self._store.several(sorted(new))
        self._known = names
        told = [event for name in sorted(texts) if (event := events.read(texts[name])) is not None]
        for event in (settled := events.settled(told)):
            self._told(event)
        self._events.update(event.kind for event in settled if event.kind in set(events.Kind))

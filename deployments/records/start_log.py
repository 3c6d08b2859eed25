"""The start of one replica, told while it goes on: its phases in the herd's memory, and its beginning and end among the events.

Decides who writes: the replica itself, so that each stands once. Phases inside vLLM come from vLLM's own lines, which a thread reads in the
node's log files until the start has ended. Whatever the cluster's store does, a start goes on.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from deployments.policy.fleet.events import Kind
from deployments.policy.records import starts
from deployments.policy.records.causes import cause
from deployments.policy.records.log_lines import MODEL, Line, Query
from deployments.policy.records.spans import told as span
from deployments.policy.records.starts import Start
from deployments.ray_calls import cluster_store
from deployments.records.event_log import Store, Teller
from deployments.records.node_logs import NodeLogs

#: Between two looks at the log, and for how long the end of a start is tried to be kept.
PERIOD_S, GIVE_UP_S = 2.0, 600.0
logger = logging.getLogger("ray.serve")


class Logs(Protocol):
    """Reads the log files of this node."""

    def read(self, query: Query) -> Sequence[Line]:
        """Returns the lines that have come since the last call."""


class StartLog:
    """Tells the start of this replica."""

    def __init__(self, start: Start, teller: Teller, logs: Logs | None = None, store: Store = cluster_store) -> None:
        """Args:
        start: as it begins.
        teller: tells events.
        logs: reads the node's log files; None: those of this process's own Ray.
        store: where the start is kept.
        """
        self._start = start
        self._teller = teller
        self._logs = logs
        self._store = store
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._kept: Start | None = None
        self._thread = threading.Thread(target=self._follow, name="start", daemon=True)

    @property
    def phases_s(self) -> Mapping[str, float]:
        """Returns the seconds of each phase that is over."""
        return starts.durations(self._start)

    def begin(self) -> None:
        """Tells that the start has begun."""
        self._teller.tell(Kind.START, f"it starts on {self._start.node}", self._start.model, self._start.replica)
        self._thread.start()

    def phase(self, phase: str) -> None:
        """Tells that a phase has begun."""
        self._enter(phase, time.time())
        self._wake.set()

    def ready(self) -> None:
        """Tells that the replica takes requests."""
        self._end(starts.READY, "")
        took = span(time.time() - self._start.began)
        self._teller.tell(
            Kind.READY, f"it takes requests on {self._start.node}, {took} after its start", self._start.model, self._start.replica
        )

    def failed(self, error: Exception) -> None:
        """Tells why the start has failed; returns when that is kept, after a few seconds at the latest."""
        said = cause(f"{type(error).__name__}: {error}", [line.text for line in self._newest()])
        self._end(starts.FAILED, said)
        self._teller.tell(Kind.FAILED, f"it could not start on {self._start.node}: {said}", self._start.model, self._start.replica)
        self._teller.flush()
        self._thread.join(PERIOD_S)

    def _newest(self) -> Sequence[Line]:
        """Returns all lines of the start, also those that the thread has seen already."""
        with contextlib.suppress(OSError):
            return (NodeLogs() if self._logs is None else self._logs).read(self._query())
        return []

    def _query(self) -> Query:
        return Query(MODEL, self._start.model, self._start.replica, since=self._start.began - 1)

    def _enter(self, phase: str, when: float) -> None:
        with self._lock:
            if self._start.ended is None:
                self._start = starts.entered(self._start, phase, when)

    def _end(self, outcome: str, error: str) -> None:
        with self._lock:
            self._start = replace(self._start, ended=time.time(), outcome=outcome, error=error)
        self._wake.set()

    def _follow(self) -> None:
        """Keeps each change of the start, until its end is kept or Ray's head has been away for long."""
        logs: Logs = NodeLogs() if self._logs is None else self._logs
        while not self._is_over():
            self._wake.wait(PERIOD_S)
            self._wake.clear()
            try:
                self._look(logs)
                self._keep()
            except Exception as error:  # noqa: BLE001 (whatever Ray raises while its head is away: a start goes on without its record)
                logger.warning("start_not_kept error=%s", type(error).__name__)

    def _is_over(self) -> bool:
        now = self._start
        return now.ended is not None and (self._kept == now or time.time() > now.ended + GIVE_UP_S)

    def _look(self, logs: Logs) -> None:
        for line in logs.read(self._query()) if self._start.ended is None else ():
            if (phase := starts.phase_of_line(line.text)) is not None:
                self._enter(phase, line.when)

    def _keep(self) -> None:
        now = self._start
        if now == self._kept:
            return
        self._store.keep(starts.key(now), starts.written(now))
        self._kept = now
        if now.ended is not None:
            for name in starts.too_many(self._store.names(starts.beginning(now.model))):
                self._store.forget(name)


def starts_of(model: str, store: Store = cluster_store) -> list[Start]:
    """Returns the starts of a model that are kept, oldest first. Needs a connection to Ray."""
    names = sorted(store.names(starts.beginning(model)))
    texts: Mapping[str, str] = store.several(names)
    return [start for name in names if (start := starts.read(texts.get(name, ""))) is not None]

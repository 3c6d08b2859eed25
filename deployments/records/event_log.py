"""The herd's events, kept in the GCS of its Ray, where every operator and every process of the herd reads and writes them.

A command, once it is connected to Ray, tells what it does, and never fails because of it:

    event_log.tell(Kind.SCALE, "2 to 3 replicas", model="scout")          # who: user@host
    for event in event_log.since(time.time() - 600): ...                   # oldest first

A gateway or an engine, whose event loop must not wait for the GCS, keeps one `Teller("gateway")` and calls the same `tell` on it.
Each event has a key of its own, so that writers never meet. The events of a node of the herd's own end with that node.
Decides nothing: events and their order are `policy.fleet.events`'.
"""

import contextlib
import getpass
import logging
import queue
import secrets
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from deployments.policy.fleet import events
from deployments.policy.fleet.events import Event
from deployments.ray_calls import cluster_store

#: Events of a process that wait for the GCS. While Ray's head is away, the oldest are lost beyond this.
MOST_WAITING = 100
logger = logging.getLogger("ray.serve")


class Store(Protocol):
    """A place for texts by name; `deployments.ray_calls.cluster_store` is one."""

    def keep(self, name: str, text: str) -> None:
        """Keeps a text."""

    def forget(self, name: str) -> None:
        """Removes a text."""

    def names(self, beginning: str) -> Sequence[str]:
        """Returns the names that begin so."""

    def several(self, names: Sequence[str]) -> Mapping[str, str]:
        """Returns the texts of these names, as far as they are there."""


def record(event: Event, store: Store = cluster_store) -> None:
    """Keeps an event, and removes the oldest where there are too many. Needs a connection to Ray.

    Raises:
        Exception: the GCS does not answer.
    """
    store.keep(events.key(event.when, secrets.token_hex(4)), events.written(event))
    for name in events.too_many(store.names(events.BEGINNING)):
        store.forget(name)


def since(when: float = 0.0, store: Store = cluster_store) -> list[Event]:
    """Returns the events since a time in seconds since 1970, oldest first. Needs a connection to Ray."""
    names = events.wanted(store.names(events.BEGINNING), when)
    texts = store.several(names)
    return [event for name in names if (event := events.read(texts.get(name, ""))) is not None]


def tell(kind: str, words: str, model: str = "", subject: str = "", store: Store = cluster_store) -> None:
    """Keeps an event of now that this operator causes. Needs a connection to Ray; where that fails the event is lost, and nothing else."""
    with contextlib.suppress(Exception):
        record(Event(time.time(), str(kind), words, model, subject, operator()), store)


def operator() -> str:
    """Returns the name of the person who runs this command, as `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in many containers
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


class Teller:
    """Keeps the events of one process, in a thread of its own: the process never waits for the GCS."""

    def __init__(self, who: str, store: Store = cluster_store) -> None:
        """Args:
        who: the name of the process's kind, `gateway` for instance.
        store: where events are kept.
        """
        self._who = who
        self._store = store
        self._waiting: queue.Queue[Event] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None

    def tell(self, kind: str, words: str, model: str = "", subject: str = "") -> None:
        """Keeps an event of now, soon. Returns at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="events", daemon=True)
            self._thread.start()
        event = Event(time.time(), str(kind), words, model, subject, self._who)
        while True:
            try:
                self._waiting.put_nowait(event)
                return
            except queue.Full:
                with contextlib.suppress(queue.Empty):
                    self._waiting.get_nowait()

    def _write(self) -> None:
        while True:
            event = self._waiting.get()
            try:
                record(event, self._store)
            except Exception as error:  # noqa: BLE001 (whatever Ray raises while its head is away: events are not worth a process)
                logger.warning("event_lost kind=%s error=%s", event.kind, type(error).__name__)

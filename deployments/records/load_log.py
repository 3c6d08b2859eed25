"""Keeps texts of a process in the cluster's store, in a thread of its own: the process never waits for the GCS.

Decides which text is kept where several come while the GCS does not answer: the newest one of each name.
"""

import logging
import threading
import time

from deployments.ray_calls import cluster_store
from deployments.records.event_log import Store

logger = logging.getLogger("ray.serve")


class Keeper:
    """Keeps the newest text of each name."""

    def __init__(self, store: Store = cluster_store) -> None:
        """Args:
        store: where texts are kept.
        """
        self._store = store
        self._waiting: dict[str, str | None] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._writing = False

    def keep(self, name: str, text: str | None) -> None:
        """Keeps a text under a name, soon; None removes the name. Returns at once."""
        with self._lock:
            self._waiting[name] = text
        self._wake.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="load", daemon=True)
            self._thread.start()

    def flush(self, within_s: float = 2.0) -> None:
        """Returns when all is kept, or after so many seconds: for a process that is about to end."""
        deadline = time.monotonic() + within_s
        while (self._waiting or self._writing) and time.monotonic() < deadline:
            time.sleep(0.02)

    def _write(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                self._writing = True
                texts, self._waiting = self._waiting, {}
            for name, text in texts.items():
                self._write_one(name, text)
            self._writing = False

    def _write_one(self, name: str, text: str | None) -> None:
        try:
            if text is None:
                self._store.forget(name)
            else:
                self._store.keep(name, text)
        except Exception as error:  # noqa: BLE001 (whatever Ray raises while its head is away: the next text comes in 2 s)
            logger.warning("not_kept name=%s error=%s", name, type(error).__name__)

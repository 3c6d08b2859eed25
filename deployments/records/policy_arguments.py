"""Follows what a model's scaling policy is told, in a thread of Ray Serve's controller: the cluster's store has it.

Decides when the store is asked. The controller's own thread only reads an attribute here.
"""

import logging
import threading
import time
from collections.abc import Callable

from deployments.policy.scaling import policy_arguments
from deployments.ray_calls import cluster_store
from deployments.records.background import running
from deployments.records.event_log import Store

#: Between two looks; and a policy that nobody has asked for so long has been replaced, or its model is gone.
PERIOD_S, LEFT_S = 2.0, 30.0
logger = logging.getLogger("ray.serve")


class Arguments:
    """The arguments of one application's policy, as they are now."""

    def __init__(self, application: str, store: Store = cluster_store, clock: Callable[[], float] = time.monotonic) -> None:
        """Args:
        application: its name.
        store: where the arguments are.
        clock: seconds.
        """
        self._key, self._store, self._clock = policy_arguments.key(application), store, clock
        self._thread: threading.Thread | None = None
        self._text: str | None = None
        self._asked_s, self._trouble = 0.0, ""

    def text(self) -> str | None:
        """Returns what was read last; None before that. Returns at once."""
        self._asked_s = self._clock()
        self._thread = running(self._thread, self._follow, self._key)
        return self._text

    def _follow(self) -> None:
        while self._clock() - self._asked_s < LEFT_S:
            try:
                self.look()
                self._trouble = ""
            except Exception as error:  # noqa: BLE001 (whatever Ray raises while its head is away: what was read last holds)
                self._say(f"{type(error).__name__}: {error}")
            time.sleep(PERIOD_S)

    def _say(self, trouble: str) -> None:
        """Logs what is wrong, once."""
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning("scaling_not_told key=%s error=%s", self._key, trouble)

    def look(self) -> None:
        """Reads once. Arguments that are gone from the store hold on: their model may be on its way out."""
        self._text = self._store.several([self._key]).get(self._key, self._text)

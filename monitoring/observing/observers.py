"""Traces and access log of one gateway, as its config wants them: the observers of its journal.

Decides what a process loads: OpenTelemetry only where the config asks for traces.
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import cast

from configs.observing import Observing, Tracing
from monitoring.export import Meter
from monitoring.journal import GATHERED_S, Journal, Later
from monitoring.logs import LOGGER
from monitoring.observing import log_writer
from monitoring.observing.access_log import AccessLog
from monitoring.observing.tracing import BATCH_S, Exporter, Traces

#: It imports OpenTelemetry, which takes a third of a second.
_OTLP = "monitoring.observing.otlp"


class Observers:
    """Watches the requests of one gateway."""

    def __init__(self, wanted: Observing, instance: str, later: Later, batch_s: float = BATCH_S, gathered_s: float = GATHERED_S) -> None:
        """Args:
        wanted: the config's part about them.
        instance: the name of this gateway.
        later: calls a function after so many seconds.
        batch_s: spans wait so long for others.
        gathered_s: requests that have ended wait so long for others, before they are counted and logged.
        """
        self._traces = Traces(lambda tracing: _exporter(tracing, instance), time.perf_counter, batch_s)
        self._access_log = AccessLog(partial(log_writer.write, logging.getLogger(LOGGER)), later, time.perf_counter, time.time)
        self._later, self._gathered_s = later, gathered_s
        self._settle: Callable[[], None] = _nothing
        if wanted.tracing is not None:  # here, and not when the thread needs it: what is loaded by now is spared by Python's collections
            with suppress(Exception):  # the thread tells of it: no traces are better than no gateway
                import_module(_OTLP)
        self.apply(wanted)

    def apply(self, wanted: Observing) -> None:
        """Watches requests that end from now on as this says."""
        self._settle()
        self._traces.apply(wanted.tracing)
        self._access_log.apply(wanted)

    def journal(self, meter: Meter) -> Journal:
        """Returns the journal of the gateway's requests.

        Args:
            meter: counts them.
        """
        made = Journal(meter, (self._access_log,), self._traces, time.perf_counter, self._later, self._gathered_s)
        self._settle = made.settle
        return made

    def stop(self, within_s: float) -> None:
        """Tells what has not been told, and returns when that is done, or after so many seconds. Called in a thread."""
        self._settle()
        self._access_log.tell()
        self._traces.stop(within_s)


def _nothing() -> None: ...


def _exporter(tracing: Tracing, instance: str) -> Exporter:
    return cast(Exporter, import_module(_OTLP).Exporter(tracing, instance))

"""Traces and access log of one gateway, as its config wants them: the observers of its journal.

Decides what a process loads: OpenTelemetry only where the config asks for traces.
"""

import logging
import time
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import cast

from configs.observing import Observing, Tracing
from monitoring.export import Meter
from monitoring.journal import Journal
from monitoring.logs import LOGGER
from monitoring.observing import log_writer
from monitoring.observing.access_log import WRITTEN_S, AccessLog, Later
from monitoring.observing.tracing import BATCH_S, Exporter, Traces

#: It imports OpenTelemetry, which takes a third of a second.
_OTLP = "monitoring.observing.otlp"


class Observers:
    """Watches the requests of one gateway."""

    def __init__(self, wanted: Observing, instance: str, later: Later, batch_s: float = BATCH_S, lines_s: float = WRITTEN_S) -> None:
        """Args:
        wanted: the config's part about them.
        instance: the name of this gateway.
        later: calls a function after so many seconds.
        batch_s: spans wait so long for others.
        lines_s: lines of the access log wait so long for others.
        """
        self._traces = Traces(lambda tracing: _exporter(tracing, instance), time.perf_counter, batch_s)
        self._access_log = AccessLog(partial(log_writer.write, logging.getLogger(LOGGER)), later, time.time, lines_s)
        if wanted.tracing is not None:  # here, and not when the thread needs it: what is loaded by now is spared by Python's collections
            with suppress(Exception):  # the thread tells of it: no traces are better than no gateway
                import_module(_OTLP)
        self.apply(wanted)

    def apply(self, wanted: Observing) -> None:
        """Watches requests that arrive from now on as this says."""
        self._traces.apply(wanted.tracing)
        self._access_log.apply(wanted)

    def journal(self, meter: Meter) -> Journal:
        """Returns the journal of the gateway's requests.

        Args:
            meter: counts them.
        """
        return Journal(meter, (self._access_log,), self._traces, time.perf_counter)

    def stop(self, within_s: float) -> None:
        """Tells what has not been told, and returns when that is done, or after so many seconds. Called in a thread."""
        self._access_log.stop()
        self._traces.stop(within_s)


def _exporter(tracing: Tracing, instance: str) -> Exporter:
    return cast(Exporter, import_module(_OTLP).Exporter(tracing, instance))

"""Traces and access log of one gateway, as its config wants them: the observers of its journal.

Decides what a process loads: OpenTelemetry only where the config asks for traces.
"""

import logging
import time

from configs.observing import Observing, Tracing
from monitoring.export import Meter
from monitoring.journal import Journal
from monitoring.logs import LOGGER
from monitoring.observing.access_log import AccessLog, Later
from monitoring.observing.tracing import BATCH_S, Exporter, Traces


class Observers:
    """Watches the requests of one gateway."""

    def __init__(self, wanted: Observing, instance: str, later: Later, batch_s: float = BATCH_S) -> None:
        """Args:
        wanted: the config's part about them.
        instance: the name of this gateway.
        later: calls a function after so many seconds.
        batch_s: spans wait so long for others.
        """
        self._traces = Traces(lambda tracing: _exporter(tracing, instance), time.perf_counter, batch_s)
        self._access_log = AccessLog(logging.getLogger(LOGGER).info, later, time.time)
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
        self._access_log.tell()
        self._traces.stop(within_s)


def _exporter(tracing: Tracing, instance: str) -> Exporter:
    from monitoring.observing import otlp  # it imports OpenTelemetry, which takes a third of a second

    return otlp.Exporter(tracing, instance)

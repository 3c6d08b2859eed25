"""Traces of one gateway: which requests are in one, and the way of their spans to the collector, in a thread of its own.

Decides nothing about spans (`monitoring.observing.spans`). A request costs random bits while it runs. When it has ended, and only if its
spans are sent, they are put into a bounded queue. The thread makes OpenTelemetry's spans of them, and sends them. Whatever goes wrong
there, spans are lost and counted, and no request hears of it. OpenTelemetry is imported by that thread, when the config first asks for
traces.
"""

import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from configs.observing import Tracing
from monitoring.ended import Ended
from monitoring.labels import Outcome
from monitoring.observing.per_second import PerSecond
from monitoring.observing.spans import Tree, is_notable, tree
from monitoring.trace_context import Trace, sampled_below

#: Spans wait this long for others, so that one request to the collector has those of many: it costs as much as those of ten requests.
BATCH_S = 5.0
#: Requests whose spans are sent together, and no later than so many wait, or as many as may. A batch holds Python's lock for milliseconds.
BATCH_REQUESTS = 64
TOLD_AGAIN_S = 60.0
#: In Python 3.11 a member of an enum takes longer to look up than to compare.
_OK = Outcome.OK


class Exporter(Protocol):
    """The way to a collector; `monitoring.observing.otlp.Exporter` is one."""

    def send(self, trees: list[Tree]) -> bool:
        """Sends spans; returns whether the collector has taken them."""

    def close(self) -> None:
        """Gives up what is being sent."""


Open = Callable[[Tracing], Exporter]
"""Opens the way to a collector. Called in the thread that sends."""


class Sender:
    """Sends spans to one collector."""

    def __init__(self, wanted: Tracing, open_: Open, batch_s: float = BATCH_S) -> None:
        """Args:
        wanted: the config's section.
        open_: opens the way to the collector.
        batch_s: spans wait so long for others.
        """
        self.wanted = wanted
        self._open, self._batch_s = open_, batch_s
        self._waiting: queue.Queue[Tree] = queue.Queue(wanted.queue_requests)
        self._many = min(BATCH_REQUESTS, wanted.queue_requests)
        self._ends, self._wakes = False, threading.Event()
        self._exporter: Exporter | None = None
        self._lost = 0
        self._told_at = -TOLD_AGAIN_S
        self._log = structlog.get_logger("herd.traces")
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """It has not ended."""
        return self._thread.is_alive()

    def put(self, made: Tree) -> None:
        """Takes the spans of a request, unless too many wait. Returns at once."""
        try:
            self._waiting.put_nowait(made)
        except queue.Full:
            self._lost += 1
        if self._waiting.qsize() == self._many:
            self._wakes.set()

    def end(self) -> None:
        """Lets it send what waits, and end then. Returns at once."""
        self._ends = True
        self._wakes.set()

    def wait(self, within_s: float) -> None:
        """Returns when it has ended. After so many seconds it gives up what it has not sent."""
        self._thread.join(within_s)
        if self._thread.is_alive() and self._exporter is not None:
            self._exporter.close()

    def _run(self) -> None:
        try:
            self._exporter = self._open(self.wanted)
        except Exception as error:  # noqa: BLE001 (no traces are better than no gateway)
            self._log.error("traces_off", error=type(error).__name__)
            return
        while not self._ends:
            self._wakes.wait(self._batch_s)
            self._wakes.clear()
            self._send_all(self._exporter)
        self._send_all(self._exporter)
        self._exporter.close()

    def _send_all(self, exporter: Exporter) -> None:
        for _ in range(-(-self._waiting.qsize() // BATCH_REQUESTS)):
            batch = [self._waiting.get_nowait() for _ in range(min(BATCH_REQUESTS, self._waiting.qsize()))]
            try:
                taken = exporter.send(batch)
            except Exception:  # noqa: BLE001 (whatever the library raises: the next batch may get through)
                taken = False
            self._lost += 0 if taken else len(batch)
        self._tell()

    def _tell(self) -> None:
        """Logs how many requests' spans were lost, at most once a minute."""
        now = time.monotonic()
        if self._lost and now - self._told_at >= TOLD_AGAIN_S:
            self._told_at, count, self._lost = now, self._lost, 0
            self._log.warning("traces_lost", requests=count, endpoint=self.wanted.endpoint)


class Traces:
    """Gives requests their places in traces, and sends the spans of those that are chosen."""

    def __init__(self, open_: Open, clock: Callable[[], float], batch_s: float = BATCH_S) -> None:
        """Args:
        open_: opens the way to a collector.
        clock: the one of requests' times, in seconds.
        batch_s: spans wait so long for others.
        """
        self._open, self._clock, self._batch_s = open_, clock, batch_s
        self._random = random.Random()
        self._errors = PerSecond()
        self._wanted: Tracing | None = None
        self._below = 0
        self._sender: Sender | None = None
        self._ending: list[Sender] = []

    def apply(self, wanted: Tracing | None) -> None:
        """Traces requests that arrive from now on as this says; None: it traces none."""
        if wanted == self._wanted:
            return
        self._wanted, self._below = wanted, 0 if wanted is None else sampled_below(wanted.sample_ratio)
        if self._sender is not None:
            self._sender.end()
            self._ending = [*(one for one in self._ending if one.alive), self._sender]
        self._sender = None if wanted is None else Sender(wanted, self._open, self._batch_s)

    def begins(self, traceparent: bytes | None) -> Trace | None:
        """Returns the place of a request that arrives; None where it is not chosen."""
        wanted = self._wanted
        if wanted is None:
            return None
        if traceparent is not None and wanted.trust_clients:
            trace = Trace.of_client(traceparent, self._random.getrandbits(64))
            if trace is not None:
                return trace
        bits = self._random.getrandbits(64)  # those of the trace's id that choose: nearly all requests need no others
        if bits >= self._below:
            return None
        return Trace.begun(self._random.getrandbits(64) << 128 | bits << 64 | self._random.getrandbits(64), self._below)

    def unsent(self) -> Trace | None:
        """Returns a place for a request that was not chosen; None where nothing is traced."""
        return None if self._wanted is None else Trace.begun_unsent(self._random.getrandbits(192), self._below)

    def ended(self, batch: Sequence[Ended]) -> None:
        """Sends the spans of the requests that are chosen, or have failed. Returns at once."""
        sender = self._sender
        if sender is None:
            return
        zero_ns = time.time_ns() - round(self._clock() * 1e9)
        for ended in batch:
            entry = ended.entry
            trace = entry.trace
            if trace is None and ended.outcome is _OK and len(entry.steps) < 2:
                continue  # as nearly all: no replica has failed it, or there would have been another
            if (trace is not None and trace.sampled) or (is_notable(ended) and self._errors.takes(ended.now_s, sender.wanted.errors_per_s)):
                place = entry.place()
                if place is not None:
                    sender.put(tree(ended, place, zero_ns))

    def stop(self, within_s: float) -> None:
        """Sends what waits, and gives up after so many seconds. Traces nothing afterwards."""
        self.apply(None)
        deadline = time.monotonic() + within_s
        for sender in self._ending:
            sender.wait(max(0.0, deadline - time.monotonic()))
        self._ending.clear()

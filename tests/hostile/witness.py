"""Other clients while an attack runs: how long they wait for their first token, and how long the gateway does not answer at all."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil

from tests.bench.report import at
from tests.hostile.case import CHAT, saying

Once = Callable[[str], None]


@dataclass(slots=True)
class Seen:
    """What the witnesses saw, in milliseconds."""

    first_ms: dict[str, list[float]] = field(default_factory=dict)
    """Times to the first token, by model."""
    health_ms: list[float] = field(default_factory=list)
    """How long each `/health` took: the gateway's event loop stood still for about the longest."""
    failed: list[str] = field(default_factory=list)
    """Answers that were not 200, or none."""

    def percentile(self, model: str, percent: int) -> float:
        """A percentile of the times to the first token; infinite where there was none."""
        times = sorted(self.first_ms.get(model, []))
        return at(times, percent) if times else float("inf")

    @property
    def longest_stall_ms(self) -> float:
        """The slowest `/health`."""
        return max(self.health_ms, default=float("inf"))


class Witness:
    """Asks while it is told to: each model for a short streamed answer, and the gateway how it is."""

    def __init__(self, port: int, models: tuple[str, ...], every_s: float = 0.1) -> None:
        self.seen = Seen()
        self._port = port
        self._every_s = every_s
        self._stop = threading.Event()
        asking = [threading.Thread(target=self._repeat, args=(self._ask, model), daemon=True) for model in models]
        self._threads = [*asking, threading.Thread(target=self._repeat, args=(self._health, ""), daemon=True)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> Seen:
        """Asks no more; what it has seen."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return self.seen

    def _repeat(self, once: Once, model: str) -> None:
        while not self._stop.is_set():
            began = time.perf_counter()
            try:
                once(model)
            except (OSError, http.client.HTTPException) as error:
                self.seen.failed.append(f"{model or 'health'}: {type(error).__name__}: {error}")
            self._stop.wait(max(0.01, self._every_s - (time.perf_counter() - began)))

    def _ask(self, model: str) -> None:
        body = json.dumps(saying(f"{time.monotonic_ns()} Tell me about llamas.", model, stream=True, max_tokens=2))
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            began = time.perf_counter()
            connection.request("POST", CHAT, body, {"content-type": "application/json"})
            answer = connection.getresponse()
            answer.read1(1)
            if answer.status != 200:
                self.seen.failed.append(f"{model}: {answer.status} {answer.read(300)!r}")
                return
            self.seen.first_ms.setdefault(model, []).append(1e3 * (time.perf_counter() - began))
            answer.read()
        finally:
            connection.close()

    def _health(self, _model: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            began = time.perf_counter()
            connection.request("GET", "/health")
            connection.getresponse().read()
            self.seen.health_ms.append(1e3 * (time.perf_counter() - began))
        finally:
            connection.close()


@contextlib.contextmanager
def witness(port: int, models: tuple[str, ...]) -> Iterator[Seen]:
    """Witnesses while this lasts."""
    one = Witness(port, models)
    try:
        yield one.seen
    finally:
        one.stop()


def rss_mib(process: psutil.Process) -> float:
    """A process's memory now."""
    return float(process.memory_info().rss) / (1 << 20)

"""A client that costs next to nothing: as many requests under way as it is told, over as many connections, for some seconds.

It reads of an answer only where it ends, so that one core carries it and the engines. Prints one line of JSON.
"""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import cast

import uvloop

from tests.bench import report
from tests.bench.fake_server import content_length
from tests.bench.load import CHAT, CannotMeasure

_LONGEST_S = 60


@dataclass(frozen=True, slots=True)
class Flood:
    """What is asked of a server."""

    port: int
    model: str
    at_once: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Flooded:
    """How it went."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


class _Asking(asyncio.Protocol):
    """One connection, on which one request follows the other."""

    def __init__(self, flood: Flood, number: int, until_s: float, took_s: list[float]) -> None:
        self._flood, self._number, self._until_s, self._took_s = flood, number, until_s, took_s
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._received, self._size, self._began_s = b"", 0, 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._size:
            head, ended, _ = self._received.partition(b"\r\n\r\n")
            if not ended:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self._end(CannotMeasure(f"answered {head[:60]!r}"))
                return
            self._size = len(head) + 4 + content_length(head)
        if len(self._received) < self._size:
            return
        now = time.perf_counter()
        self._took_s.append(now - self._began_s)
        if now < self._until_s:
            self._ask()
        else:
            self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(CannotMeasure("closed the connection"))

    def _ask(self) -> None:
        self._number += 1
        self._received, self._size = b"", 0
        body = b'{"model":"%b","messages":[{"role":"user","content":"%012d Tell me about llamas."}],"max_tokens":1,"temperature":0}'
        body %= self._flood.model.encode(), self._number
        head = b"POST %b HTTP/1.1\r\nhost: 127.0.0.1:8000\r\naccept: */*\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        self._began_s = time.perf_counter()
        self._transport.write(head % (CHAT.encode(), len(body)) + body)

    def _end(self, error: CannotMeasure | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
        self._transport.close()


def run(flood: Flood) -> Flooded:
    """Floods a server from a process of its own.

    Raises:
        CannotMeasure: not every request was answered.
    """
    command = [sys.executable, "-m", "tests.bench.flood", json.dumps(asdict(flood))]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    if ran.returncode:
        raise CannotMeasure(f"port {flood.port}: {(ran.stderr.strip().splitlines() or ['the flood ended without a word'])[-1]}")
    return Flooded(**json.loads(ran.stdout))


async def flooded(flood: Flood) -> Flooded:
    """Floods a server from this process."""
    loop, took_s, began = asyncio.get_running_loop(), list[float](), time.perf_counter()
    made = [
        loop.create_connection(
            lambda number=number: _Asking(flood, number * 10**6, began + flood.seconds, took_s),  # type: ignore[misc]
            "127.0.0.1",
            flood.port,
        )
        for number in range(flood.at_once)
    ]
    asking = [protocol for _, protocol in await asyncio.gather(*made)]
    await asyncio.gather(*(one.ended for one in asking))
    ordered = sorted(took_s)
    return Flooded(len(ordered) / (time.perf_counter() - began), report.at(ordered, 50) * 1e3, report.at(ordered, 99) * 1e3)


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(flooded(Flood(**json.loads(sys.argv[1])))))))

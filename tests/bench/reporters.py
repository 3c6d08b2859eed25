"""Replicas that only report: one process for many, on one port, each at a loopback address of its own. All that writes their reports is
production's: `LoadReports`, or with `--door` one replica with the whole of it, `Door` and HTTP server too.

Each has its own clock, as if it ran on a machine of its own, so that their words do not come at once. Prints the port, and ends when its
standard input does.
"""

import argparse
import asyncio
import random
import sys
import time
from typing import Any

from pydantic import SecretStr

from deployments.engine.front_door import Door, Receive, Scope, Send
from deployments.engine.load_reports import LoadReports
from deployments.wire.asgi_server import Server
from deployments.wire.sockets import listen
from tests.bench import reporting
from tests.bench.feeds import KEY, MODEL, host


class _Replica:
    def __init__(self, number: int, is_busy: bool) -> None:
        self._number = number
        self._is_busy = is_busy
        self._dice = random.Random(number)
        self.port = 0
        self.reports = LoadReports(self.report, self._clock)
        self._ahead_s = self._dice.uniform(0, 60)

    def _clock(self) -> float:
        return time.monotonic() + self._ahead_s

    async def report(self) -> dict[str, Any]:
        """As an engine's: one that is busy has other numbers each time."""
        running = self._dice.randrange(1, 200) if self._is_busy else 0
        return {
            "id": f"replica-{self._number}",
            "model": MODEL,
            "host": host(self._number),
            "port": self.port,
            "state": "ready",
            "canary": "",
            "slow": False,
            "ongoing": running,
            "slots": 256,
            "kv_tokens": 400_000,
            "ready_s": self._clock() + 1000,
            "start_s": 90.0,
            "figures": {},
            "running": running,
            "waiting": 0,
            "kv_usage": self._dice.random() if self._is_busy else 0.0,
            "prefix_hit_rate": self._dice.random() if self._is_busy else 0.0,
            "step_s": self._dice.random() / 50 if self._is_busy else 0.0,
        }


class _Connection(asyncio.Protocol):
    def __init__(self, replicas: dict[str, _Replica]) -> None:
        self._replicas = replicas

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        at, self._replicas[at].port = self._transport.get_extra_info("sockname")
        reporting.answer(self._replicas[at].reports, data.partition(b"?")[2].partition(b" ")[0], self._transport)


async def _nothing(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise AssertionError("nobody asks for more than reports")


async def _serve(asked: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    replicas = {host(number): _Replica(number, asked.busy) for number in range(asked.replicas)}
    listener = listen("0.0.0.0", 0)
    port = listener.getsockname()[1]
    for one in replicas.values():
        one.port = port
    if asked.door:
        door = Door(_nothing, SecretStr(KEY), replicas[host(0)].report)
        server = Server(door, listener, "httptools", 1.0)
    else:
        await loop.create_server(lambda: _Connection(replicas), sock=listener, backlog=4096)
    print(port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    if asked.door:
        door.end_reports()
        await server.stop()


def main() -> None:
    """Serves until the standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--replicas", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="every reading of a replica's is another one")
    parser.add_argument("--door", action="store_true", help="one replica, with production's door and server")
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    main()

"""A proxy that does nothing but copy bytes between two sockets: what any proxy in Python, and on this machine, cannot be under.

Prints its port, and ends when its standard input does.
"""

import asyncio
import sys

import uvloop


class _Engine(asyncio.Protocol):
    def __init__(self, client: asyncio.Transport) -> None:
        self._client = client

    def data_received(self, data: bytes) -> None:
        self._client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._client.close()


class _Client(asyncio.Protocol):
    def __init__(self, port: int) -> None:
        self._port = port
        self._engine: asyncio.Transport | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._task = asyncio.create_task(self._connect())

    def data_received(self, data: bytes) -> None:
        if self._engine is None:
            self._early.append(data)
        else:
            self._engine.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._task.cancel()
        if self._engine is not None:
            self._engine.close()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        self._engine, _ = await loop.create_connection(lambda: _Engine(self._transport), "127.0.0.1", self._port)
        self._engine.writelines(self._early)


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Client(port), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))

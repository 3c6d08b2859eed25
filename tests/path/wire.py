"""A client made of a bare socket, for what well-behaved clients never do or never show."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from tests.path.fake_engine import WAIT_S
from tests.path.herd import CHAT


def request(
    body: Mapping[str, Any] | bytes = b"", path: str = CHAT, method: str = "POST", version: str = "1.1", headers: tuple[str, ...] = ()
) -> bytes:
    """A request's bytes, with the length of its body where it has one."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    length = (f"content-length: {len(data)}",) if data else ()
    lines = (f"{method} {path} HTTP/{version}", "host: herd", "content-type: application/json", *length, *headers, "", "")
    return "\r\n".join(lines).encode() + data


class Wire:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(WAIT_S):
            await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        async with asyncio.timeout(WAIT_S):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name: value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
        return int(lines[0].split(" ")[1]), headers

    async def chunk(self) -> bytes:
        """The next chunk of a streamed answer; empty at its end."""
        async with asyncio.timeout(WAIT_S):
            size = int(await self.reader.readuntil(b"\r\n"), 16)
            return (await self.reader.readexactly(size + 2))[:-2]

    async def chunks(self) -> list[bytes]:
        """All chunks to the end."""
        found = []
        while chunk := await self.chunk():
            found.append(chunk)
        return found

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """A whole answer."""
        status, headers = await self.head()
        if headers.get("transfer-encoding") == "chunked":
            return status, headers, b"".join(await self.chunks())
        async with asyncio.timeout(WAIT_S):
            return status, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def rest(self) -> bytes:
        """What comes until the gateway closes the connection."""
        async with asyncio.timeout(WAIT_S):
            return await self.reader.read(-1)

    def hang_up(self) -> None:
        self.writer.close()


@contextlib.asynccontextmanager
async def connected(port: int, limit: int = 1 << 20) -> AsyncIterator[Wire]:
    """A connection to the gateway; with a small limit, one that hardly reads ahead."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

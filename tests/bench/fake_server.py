"""The HTTP that fake engines share: the length of a body, and a process that serves until its standard input ends."""

import asyncio
import sys
from collections.abc import Callable


def content_length(head: bytes | bytearray) -> int:
    """Returns the length of the body that a request's head announces; 0 where it announces none."""
    for line in bytes(head).lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


async def serve(protocol: Callable[[], asyncio.Protocol]) -> None:
    """Listens on a free port of the loopback interface, prints the port, and serves until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)

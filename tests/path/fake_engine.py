"""An engine made of bare sockets: speaks as vLLM's app does (HTTP/1.1, chunked server-sent events), and can break at any byte."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

# Tests take from here what an engine says, too.
from tests.wire_format import chunk

#: Every wait of these tests ends by then; none takes that long where nothing is broken.
WAIT_S = 30.0


@dataclass
class Received:
    """One request as the engine got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    """Which of the engine's connections it came on, from 1."""
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    """The connection was closed before the engine had answered."""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Wire:
    """What a script answers through."""

    writer: asyncio.StreamWriter
    received: Received

    async def raw(self, data: bytes) -> None:
        if self.writer.is_closing():  # where uvloop raises a RuntimeError
            raise ConnectionResetError
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, **headers: str) -> None:
        lines = (f"{name.replace('_', '-')}: {value}" for name, value in headers.items())
        await self.raw("\r\n".join([f"HTTP/1.1 {status} Some reason", "server: uvicorn", *lines, "", ""]).encode())

    async def open_stream(self) -> None:
        await self.head(content_type="text/event-stream; charset=utf-8", transfer_encoding="chunked", x_secret="internal")

    async def chunk(self, data: bytes) -> None:
        await self.raw(chunk(data))


Script = Callable[[Wire], Awaitable[None]]


def streams(pieces: Iterable[bytes], pace_s: float | None = None) -> Script:
    """Each piece as a chunk, so far apart."""

    async def script(wire: Wire) -> None:
        await wire.open_stream()
        for piece in pieces:
            await wire.chunk(piece)
            if pace_s is not None:
                await asyncio.sleep(pace_s)
        await wire.chunk(b"")

    return script


def answers(status: int, body: object) -> Script:
    """A whole answer in JSON, or these very bytes."""

    async def script(wire: Wire) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        await wire.head(status, content_type="application/json", content_length=str(len(data)))
        await wire.raw(data)

    return script


def then_breaks(*before: bytes, head: bool = True) -> Script:
    """These bytes as they are, after the head of a stream, then a connection that breaks."""

    async def script(wire: Wire) -> None:
        if head:
            await wire.open_stream()
        for data in before:
            await wire.raw(data)
        wire.writer.close()

    return script


def then_hangs(*pieces: bytes, head: bool = True) -> Script:
    """These chunks of a stream, then nothing for ever."""

    async def script(wire: Wire) -> None:
        if head:
            await wire.open_stream()
        for piece in pieces:
            await wire.chunk(piece)
        await asyncio.Event().wait()

    return script


def steered(pieces: "asyncio.Queue[bytes]") -> Script:
    """A stream whose chunks the test gives one by one; an empty one ends it."""

    async def script(wire: Wire) -> None:
        await wire.open_stream()
        while True:
            piece = await pieces.get()
            await wire.chunk(piece)
            if not piece:
                return

    return script


def says(*data: bytes) -> Script:
    """These bytes as they are."""

    async def script(wire: Wire) -> None:
        for piece in data:
            await wire.raw(piece)

    return script


def then_closes(script: Script) -> Script:
    """An answer, after which the engine closes the connection that it has said to keep."""

    async def both(wire: Wire) -> None:
        await script(wire)
        wire.writer.close()

    return both


class FakeEngine:
    """Serves every request by its script, or by the next of `queue` where there is one."""

    def __init__(self) -> None:
        self.script: Script = answers(200, {"object": "chat.completion", "usage": {"prompt_tokens": 3, "completion_tokens": 2}})
        self.queue: list[Script] = []
        self.requests: list[Received] = []
        self.port = 0
        self._arrived: asyncio.Queue[Received] = asyncio.Queue()
        self._connections = 0
        self._open: set[asyncio.Task[None]] = set()
        self._closed = asyncio.Condition()

    async def asked(self) -> Received:
        """The next request that arrives, or that has arrived unseen."""
        async with asyncio.timeout(WAIT_S):
            return await self._arrived.get()

    async def left(self) -> None:
        """The connection of the last request was closed before it was answered."""
        async with asyncio.timeout(WAIT_S):
            await self.requests[-1].hung_up.wait()

    async def idle(self) -> None:
        """No connection is left."""
        async with asyncio.timeout(WAIT_S), self._closed:
            await self._closed.wait_for(lambda: not self._open)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self._connections += 1
        try:
            await self._converse(reader, writer, self._connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side's end, or the test's
        finally:
            writer.close()
            self._open.discard(task)
            async with self._closed:
                self._closed.notify_all()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        first = await reader.readexactly(1)
        while first and not writer.is_closing():
            received = await _received(first, reader, connection)
            if received.path == "/metrics":  # a Prometheus asks for it: there is none, and no script of a request is taken
                first = await _answered(answers(404, b""), Wire(writer, received), reader)
                continue
            self.requests.append(received)
            self._arrived.put_nowait(received)
            script = self.queue.pop(0) if self.queue else self.script
            first = await _answered(script, Wire(writer, received), reader)

    async def close(self) -> None:
        for task in self._open:
            task.cancel()
        await self.idle()


async def _received(first: bytes, reader: asyncio.StreamReader, connection: int) -> Received:
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    return Received(method, path, headers, await reader.readexactly(int(headers.get("content-length", 0))), connection)


async def _answered(script: Script, wire: Wire, reader: asyncio.StreamReader) -> bytes:
    """Plays a script while the connection lives; the first byte of the next request, or none where there will be none."""
    playing = asyncio.ensure_future(script(wire))
    listening = asyncio.ensure_future(_first_byte(reader))
    try:
        await asyncio.wait((playing, listening), return_when=asyncio.FIRST_COMPLETED)
        if not playing.done() or isinstance(playing.exception(), ConnectionError):
            wire.received.hung_up.set()
            return b""
        await playing
        return await listening
    finally:
        playing.cancel()
        listening.cancel()
        await asyncio.gather(playing, listening, return_exceptions=True)


async def _first_byte(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(1)
    except ConnectionError:
        return b""


@contextlib.asynccontextmanager
async def fake_engine() -> AsyncIterator[FakeEngine]:
    """A fake engine that listens on this machine."""
    engine = FakeEngine()
    server = await asyncio.start_server(engine._serve, "127.0.0.1", 0, limit=1 << 20)
    engine.port = server.sockets[0].getsockname()[1]
    try:
        yield engine
    finally:
        server.close()
        await engine.close()
        await server.wait_closed()

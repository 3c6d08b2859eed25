"""Bytes to and from engines: pooled HTTP/1.1 connections that hand every piece of an answer on the moment it arrives.

Decides nothing. A stream must cost a gateway as little as can be, so there is no reader, queue or task between the engine's socket and
the client's: `data_received` → parser → `Sink.write`. Parsing is httptools' (in C). Leaves it to `deployments.pipeline` which engine is
asked and what an answer means.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import httptools

Headers = Sequence[tuple[bytes, bytes]]

#: Bytes of an answer that wait in memory for a reader before the engine's socket is no longer read.
MOST_WAITING_BYTES = 1 << 20


class EngineGone(Exception):
    """The connection to an engine could not be made, or broke before the answer was whole."""


class Sink(Protocol):
    """Where the pieces of a streamed answer go."""

    def write(self, data: bytes) -> None:
        """Takes a piece; must not block."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an engine replica listens."""

    host: str
    port: int


class Answer:
    """One answer, from its head to its last byte."""

    __slots__ = ("_connection", "_end", "_sink", "_waiting", "_waiting_bytes", "headers", "status")

    def __init__(self, connection: "_Connection", status: int, headers: Mapping[bytes, bytes], end: asyncio.Future[None]) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._end = end
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._sink: Sink | None = None

    def feed(self, data: bytes) -> None:
        """A piece has arrived."""
        if self._sink is not None:
            self._sink.write(data)
            return
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > MOST_WAITING_BYTES:
            self._connection.pause()

    async def read(self) -> bytes:
        """The whole body.

        Raises:
            EngineGone: the engine broke off before its end.
        """
        pieces: list[bytes] = []
        await self.pipe(_Pieces(pieces))
        return b"".join(pieces)

    async def pipe(self, sink: Sink) -> None:
        """Hands every piece to the sink as it arrives, until the end.

        Raises:
            EngineGone: the engine broke off before its end.
        """
        for piece in self._waiting:
            sink.write(piece)
        self._waiting.clear()
        self._sink = sink
        self._connection.resume()
        await self._end

    def pause(self) -> None:
        """Stops reading from the engine: the client is slower than it."""
        self._connection.pause()

    def resume(self) -> None:
        """Goes on reading."""
        self._connection.resume()

    def close(self) -> None:
        """Ends the exchange. Before the answer's end this closes the connection, which makes the engine stop generating."""
        self._connection.release()


class _Pieces:
    __slots__ = ("_pieces",)

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces

    def write(self, data: bytes) -> None:
        self._pieces.append(data)


class _Connection(asyncio.Protocol):
    """One connection to one engine; carries one exchange at a time."""

    def __init__(self, on_free: Callable[["_Connection"], None]) -> None:
        self._on_free = on_free
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._head: asyncio.Future[Answer] | None = None
        self._end: asyncio.Future[None] | None = None
        self._answer: Answer | None = None
        self._headers: dict[bytes, bytes] = {}
        self._keep_alive = False
        self.used = False
        self.idle_since = 0.0

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        """Writes a request; the future is the head of its answer.

        Raises (from the future):
            EngineGone: the connection broke before the head.
        """
        self._parser = httptools.HttpResponseParser(self)
        self._headers = {}
        self._answer = None
        self._keep_alive = False
        self._head, self._end = self._loop.create_future(), self._loop.create_future()
        self._end.add_done_callback(_look_at)
        if self._transport is None or self._transport.is_closing():
            self._fail()
        else:
            self._transport.resume_reading()  # its last client may have been slow to the end
            self._transport.write(request)
        return self._head

    @property
    def usable(self) -> bool:
        """Open, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    def release(self) -> None:
        """The exchange is over: back to the pool after a whole answer, closed otherwise."""
        whole = self._end is not None and self._end.done() and not self._end.cancelled() and self._end.exception() is None
        if whole and self._keep_alive and self.usable:
            self.used = True
            self._on_free(self)
        else:
            self.shut()

    def shut(self) -> None:
        """Closes at once; what was not yet sent is dropped."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self.usable and self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        if self.usable and self._transport is not None:
            self._transport.resume_reading()

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._parser is None or (self._end is not None and self._end.done()):
            self.shut()  # an engine that speaks unasked
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail()
            self.shut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail()

    def _fail(self) -> None:
        for future in (self._head, self._end):
            if future is not None and not future.done():
                future.set_exception(EngineGone())

    # httptools
    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._parser is None or self._head is None or self._end is None:
            return
        self._answer = Answer(self, self._parser.get_status_code(), self._headers, self._end)
        if not self._head.done():
            self._head.set_result(self._answer)

    def on_body(self, body: bytes) -> None:
        if self._answer is not None:
            self._answer.feed(body)

    def on_message_complete(self) -> None:
        if self._parser is not None and self._end is not None and not self._end.done():
            self._keep_alive = self._parser.should_keep_alive()
            self._end.set_result(None)


def _look_at(future: asyncio.Future[None]) -> None:
    """Marks a failure as seen: a client that hung up leaves nobody to read it."""
    if not future.cancelled():
        future.exception()


class Engines:
    """Connections to all engines, kept open between requests."""

    def __init__(self, secret: str, idle_s: float = 30, connect_s: float = 5) -> None:
        """Args:
        secret: the cluster's own, sent with every request.
        idle_s: an unused connection is closed after so long; less than the engines keep theirs.
        connect_s: longest wait for a connection.
        """
        self._authorization = b"authorization: Bearer " + secret.encode("ascii") + b"\r\n"
        self._idle_s = idle_s
        self._connect_s = connect_s
        self._free: dict[Address, deque[_Connection]] = {}

    async def exchange(self, address: Address, method: bytes, path: bytes, headers: Headers, body: bytes) -> Answer:
        """Sends a request and waits for the head of its answer, which the caller must `close`.

        Raises:
            EngineGone: no connection, or it broke before the head.
        """
        request = self._request(address, method, path, headers, body)
        connection = self._take(address)
        if connection is not None:
            try:
                return await self._answer(connection, request)
            except EngineGone:
                # The engine closed an idle connection just now. A new one tells whether it is there; only if that is refused is it gone.
                pass
        return await self._answer(await self._connect(address), request)

    def close(self) -> None:
        """Closes every idle connection."""
        for connections in self._free.values():
            for connection in connections:
                connection.shut()
        self._free.clear()

    def forget(self, known: set[Address]) -> None:
        """Closes the idle connections to engines that are no longer known."""
        for address in [address for address in self._free if address not in known]:
            for connection in self._free.pop(address):
                connection.shut()

    async def _answer(self, connection: _Connection, request: bytes) -> Answer:
        try:
            return await connection.send(request)
        except BaseException:
            connection.shut()
            raise

    def _take(self, address: Address) -> _Connection | None:
        """The connection used last, if it was used a short while ago."""
        free = self._free.get(address)
        now = asyncio.get_running_loop().time()
        while free:
            connection = free.pop()
            if connection.usable and now - connection.idle_since < self._idle_s:
                return connection
            connection.shut()
        return None

    async def _connect(self, address: Address) -> _Connection:
        loop = asyncio.get_running_loop()

        def free(connection: _Connection) -> None:
            connection.idle_since = loop.time()
            self._free.setdefault(address, deque()).append(connection)

        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await loop.create_connection(lambda: _Connection(free), address.host, address.port)
        except (OSError, TimeoutError) as error:
            raise EngineGone from error
        return connection

    def _request(self, address: Address, method: bytes, path: bytes, headers: Headers, body: bytes) -> bytes:
        lines = [
            b"%b %b HTTP/1.1\r\nhost: %b:%d\r\n" % (method, path, address.host.encode("idna"), address.port),
            self._authorization,
            *(b"%b: %b\r\n" % header for header in headers),
            b"content-length: %d\r\n\r\n" % len(body),
            body,
        ]
        return b"".join(lines)

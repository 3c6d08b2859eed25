"""One connection to one engine: an HTTP/1.1 exchange at a time, each piece of an answer handed on the moment it arrives.

Decides when an answer is whole and when its engine is gone. There is no reader, queue or task between the engine's socket and the
client's: `data_received` → parser → `Sink.write`. Parsing is httptools' (in C).
"""

import asyncio
import socket
from collections.abc import Callable

import httptools

from deployments.wire.engine.answer import Answer, EngineGone, Hold, fail
from deployments.wire.types import Address

#: An engine's machine that dies closes nothing: after so long without a word the kernel asks it, so often, before the connection breaks.
_KEEPALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}


def _head(size: int) -> bytes:
    return b"%x\r\n" % size


#: How a chunk begins, by its length with all that frames it; for bodies as long as a streamed token's usually is.
_HEADS = {len(_head(size)) + size + 2: _head(size) for size in range(1, 2048)}
_NO_HEAD = b"?"


class Connection(asyncio.Protocol):
    """One connection to one engine; carries one exchange at a time."""

    def __init__(self, address: Address, pool: "Pool") -> None:
        self.address = address
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self._head: asyncio.Future[Answer] | None = None
        self._end: asyncio.Future[None] | None = None
        self._answer: Answer | None = None
        self._headers: dict[bytes, bytes] = {}
        self._keep_alive = False
        """The answer is whole, and the engine goes on with the connection."""
        self._between = False
        """The parser waits for the next chunk."""
        self._straight: Callable[[bytes], None] | None = None
        """Takes the pieces of the answer; None before somebody asks for them, and after the answer's end."""
        self._hold: Hold | None = None
        """Holds back what becomes of pieces that came at once; there is one where somebody takes them."""
        self._paused = False
        self._idle_since_s = 0.0

    def send(self, request: bytes, body: bytes = b"") -> asyncio.Future[Answer]:
        """Writes a request, and a body behind it that is not in it yet; the future is the head of its answer.

        Raises (from the future):
            EngineGone: the connection broke before the head.
        """
        if not self._keep_alive:  # else the last answer left it where the next one begins
            self._parser = httptools.HttpResponseParser(self)
        self._headers = {}
        self._answer = None
        self._keep_alive = self._between = False
        self._straight = self._hold = None
        self._head, self._end = self._loop.create_future(), self._loop.create_future()
        if self._transport is None or self._transport.is_closing():
            self._fail()
        else:
            self._transport.write(request)
            if body:
                self._transport.write(body)
        return self._head

    def hand_to(self, take: Callable[[bytes], None], hold: Hold) -> None:
        """Hands the pieces of the answer to the first of these as they arrive, from now to the answer's end. The second is told before and
        behind those that came at once."""
        self._straight, self._hold = take, hold

    def rest(self) -> None:
        """Waits for the next exchange from now on."""
        self._idle_since_s = self._loop.time()

    @property
    def idle_s(self) -> float:
        """Seconds since it began to wait."""
        return self._loop.time() - self._idle_since_s

    @property
    def usable(self) -> bool:
        """Open, as far as is known."""
        return self._transport is not None and not self._transport.is_closing()

    def release(self) -> None:
        """The exchange is over: back to the pool after a whole answer, closed otherwise."""
        if self._keep_alive and self.usable:
            if self._paused:  # its client was slow to the end
                self.resume()
            self._pool.put(self)
        else:
            self.shut()

    def shut(self) -> None:
        """Closes at once; what was not yet sent is dropped."""
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        if self.usable and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self.usable and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        ends: socket.socket = transport.get_extra_info("socket")
        ends.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # Linux has them all
                ends.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def data_received(self, data: bytes) -> None:
        take = self._straight
        if take is not None and self._between:
            # A streamed token is just one whole chunk: it need not go through the parser, which stands where it stood. Here and behind it,
            # slices and `partition` stand for `startswith` and `find`, which take longer to read their arguments than to do their work.
            head = _HEADS.get(len(data), _NO_HEAD)
            if data[: len(head)] == head:
                take(data[len(head) : -2])
                return
        if self._parser is None or (self._end is not None and self._end.done()):
            self.shut()  # an engine that speaks unasked
            return
        self._between = False
        hold = self._hold
        if hold is None:
            self._parse(self._parser, data)
        else:
            hold(True)
            try:
                self._parse(self._parser, data)
            finally:
                hold(False)
        # A begun chunk size ends in no line break; a whole one has been told by `on_chunk_header`.
        self._between = self._between and data[-1:] == b"\n"

    def _parse(self, parser: httptools.HttpResponseParser, data: bytes) -> None:
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):  # no HTTP, or a protocol that nobody asked for
            self._fail()
            self.shut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.drop(self)
        self._fail()

    def _fail(self) -> None:
        for future in (self._head, self._end):
            if future is not None and not future.done():
                fail(future, EngineGone())

    # httptools
    def on_message_begin(self) -> None:
        if self._end is not None and self._end.done():  # an engine that speaks unasked, in one breath with its answer
            self._keep_alive = False
            self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._parser is None or self._head is None or self._end is None:
            return
        status = self._parser.get_status_code()
        if status < 200:  # an interim answer, as 100 or 103: the answer itself comes behind it (RFC 9110, section 15.2)
            self._headers = {}
            return
        self._answer = Answer(self, status, self._headers, self._end)
        if not self._head.done():
            self._head.set_result(self._answer)

    def on_chunk_header(self) -> None:
        self._between = False

    def on_chunk_complete(self) -> None:
        self._between = True

    def on_body(self, body: bytes) -> None:
        if self._straight is not None:
            self._straight(body)
        elif self._answer is not None:
            self._answer.feed(body)

    def on_message_complete(self) -> None:
        if self._answer is None:  # behind an interim answer
            return
        self._straight = self._hold = None  # what comes now is unasked
        if self._parser is not None and self._end is not None and not self._end.done():
            self._keep_alive = self._parser.should_keep_alive()
            self._end.set_result(None)


class Pool:
    """Connections that wait for their next exchange. One that closes meanwhile is out at once."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        self._free: dict[Address, dict[Connection, None]] = {}

    def put(self, connection: Connection) -> None:
        connection.rest()
        self._free.setdefault(connection.address, {})[connection] = None

    def take(self, address: Address) -> Connection | None:
        """The connection used last, if it was used a short while ago."""
        free = self._free.get(address)
        while free:
            connection, _ = free.popitem()
            if connection.usable and connection.idle_s < self._idle_s:
                return connection
            connection.shut()
        return None

    def drop(self, connection: Connection) -> None:
        free = self._free.get(connection.address, {})
        free.pop(connection, None)
        if not free:
            self._free.pop(connection.address, None)

    def close(self) -> None:
        for free in self._free.values():
            for connection in free:
                connection.shut()
        self._free.clear()

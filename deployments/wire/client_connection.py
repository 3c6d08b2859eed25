"""One client's connection: bytes to exchanges, one after the other, and what the connection may take.

Decides when the connection is closed. A request is parsed only when the answer before it is whole; what a client sends ahead waits, and
past a bound is not read.
"""

import asyncio
import math
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Protocol, cast

from deployments.answer import Flow
from deployments.policy.herd_error import HerdError
from deployments.wire.client_exchange import Exchange, Unframed
from deployments.wire.request_framing import Head, RequestReader
from deployments.wire.unreadable import Unreadable

#: Bytes of further requests that are kept while one is answered. Reading goes on until then, so that a hang-up is noticed.
MOST_AHEAD_BYTES = 64 << 10
#: A connection that closes with bytes unread drops what still comes for so long: closing at once would reset it, and the answer be lost.
LINGER_S = 2


class Server(Protocol):
    """The server that a connection belongs to."""

    header_s: float
    keep_alive_s: float
    write_s: float
    stopping: bool

    def opening(self, status_line: bytes) -> bytes: ...
    def entered(self, connection: "ClientConnection") -> HerdError | None: ...
    def left(self, connection: "ClientConnection") -> None: ...
    def run(self, exchange: Exchange) -> asyncio.Task[None]: ...


class ClientConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader()
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._flow: Flow | None = None
        self._begun = True
        """A head is expected to arrive soon: it has begun, or is the connection's first."""
        self._deaf = False
        """What still comes is dropped."""
        self._reads = True
        self._slow = False
        self._until = math.inf
        """When the connection is given up, unless something happens before."""
        self._unsent, self._stuck_since = 0, self._loop.time()
        self.opening = server.opening

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.send = self._transport.write
        self.address = _address(transport)
        self._until = self._loop.time() + self._server.header_s
        refusal = self._server.entered(self)
        if refusal is not None:
            self._refuse(refusal)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        reader = self._reader
        reader.feed(data)
        if self._exchange is None:
            self._next()
        elif not reader.whole:
            self._more(self._exchange)
        elif reader.held > MOST_AHEAD_BYTES:
            self._pause()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.left(self)
        self._deaf = True
        if self._exchange is not None:
            self._exchange.lost()

    def pause_writing(self) -> None:
        self._slow = True
        if self._flow is not None:
            self._flow.pause()

    def resume_writing(self) -> None:
        self._slow = False
        self._unsent = 0
        if self._flow is not None:
            self._flow.resume()

    # what an exchange asks for
    @property
    def stops(self) -> bool:
        """No other request is read."""
        return self._server.stopping

    def follow(self, flow: Flow | None) -> None:
        """Slows the flow down whenever the client is slower than it."""
        self._flow = flow
        if flow is not None and self._slow:
            flow.pause()

    def want_more(self) -> None:
        """Reads on."""
        if not self._reads and not self._transport.is_closing():
            self._reads = True
            self._transport.resume_reading()

    def ended(self, exchange: Exchange) -> None:
        """The answer is whole: the next request is read, or the connection closes."""
        self._exchange = self._flow = None
        closes = exchange.closes or self._server.stopping
        if not exchange.whole or (closes and self._reader.held):
            self._linger()
        elif closes:
            self._transport.close()
        else:
            self._until = self._loop.time() + self._server.keep_alive_s
            self.want_more()
            if self._reader.held:
                self._next()

    # what the server asks for
    def check(self, now: float) -> None:
        """Gives the connection up where the client has kept it waiting for too long. Called about once a second."""
        unsent = self._transport.get_write_buffer_size()
        if self._is_stuck(unsent, now):
            self._transport.abort()
        elif now >= self._until:
            if not self._deaf:
                self._deaf = True
                self._transport.close()
            elif not unsent:
                self._transport.abort()

    def _is_stuck(self, unsent: int, now: float) -> bool:
        """Whether the client takes nothing of what waits for it. An engine that is not held back may write as fast as the client reads."""
        fewer = not unsent >= self._unsent > 0
        self._unsent = unsent
        if fewer or not (self._slow or self._exchange is None):
            self._stuck_since = now
        return now - self._stuck_since >= self._server.write_s

    def shut(self) -> None:
        """Closes the connection, where an answer is under way behind it."""
        if self._exchange is None and not self._deaf:
            self._deaf = True
            self._transport.close()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._transport.abort()

    def _next(self) -> None:
        try:
            head = self._reader.head()
        except Unreadable as error:
            self._refuse(error)
            return
        if head is None:
            if not self._begun:
                self._begun = True
                self._until = self._loop.time() + self._server.header_s
            return
        self._begun = False
        self._until = math.inf
        self._exchange = exchange = (Unframed if head.old else Exchange)(head, self, self._reader.whole)
        exchange.task = self._server.run(exchange)
        if not exchange.whole:
            self._more(exchange)

    def _more(self, exchange: Exchange) -> None:
        try:
            piece = self._reader.body()
        except Unreadable as error:
            self._deaf = True
            exchange.breaks(error)
            return
        if not exchange.take(piece, self._reader.whole) or self._reader.held > MOST_AHEAD_BYTES:
            self._pause()

    def _pause(self) -> None:
        if self._reads:
            self._reads = False
            self._transport.pause_reading()

    def _refuse(self, error: HerdError) -> None:
        """Answers bytes that are no request, or a connection that is too many, and closes."""
        exchange = self._exchange = Exchange(Head(), self, whole=False)
        exchange.refuse(error)

    def _linger(self) -> None:
        """Sends no more, and waits a while for the client to close."""
        self._deaf = True
        self.want_more()
        self._until = self._loop.time() + LINGER_S
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()


def _address(transport: asyncio.BaseTransport) -> str:
    """Whose connection it is: an IPv4 address, or the 64 bits of an IPv6 address that a site gives to one host."""
    host = (transport.get_extra_info("peername") or ("",))[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Network((address, 64), strict=False))
    return str(address)

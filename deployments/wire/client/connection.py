"""One client's connection: bytes to exchanges, one after the other, and what the connection may take.

Decides when the connection is closed. A request is parsed only when the answer before it is whole; what a client sends ahead waits, and
past a bound is not read.
"""

import asyncio
import math
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Protocol, cast

from deployments.policy.errors.herd_error import HerdError
from deployments.wire.client.exchange import Exchange, Unframed
from deployments.wire.client.request_framing import RequestReader
from deployments.wire.client.request_head import Head
from deployments.wire.client.unreadable import Unreadable
from deployments.wire.types import Flow

#: Bytes of further requests that are kept while one is answered. Reading goes on until then, so that a hang-up is noticed.
MOST_AHEAD_BYTES = 64 << 10
#: A connection that closes with bytes unread drops what still comes for so long: closing at once would reset it, and the answer be lost.
LINGER_S = 2
#: Bytes that a client takes of what waits for it within `write_s`, at least, or all of it: 280 bytes a second with the default of 60 s.
LEAST_TAKEN_BYTES = 16 << 10
#: Seconds after a client's last byte until it is asked whether it is still there, and the longest time from one question to the next.
PROBE_S, LONGEST_PROBE_S = 0.25, 4.0


class Counted(Protocol):
    """A connection, as its server sees it."""

    address: str
    """Its client's: an IPv4 address, or the network of an IPv6 address."""

    def check(self, now: float) -> None: ...
    def shut(self) -> None: ...
    def abort(self) -> None: ...


class Server(Protocol):
    """The server that a connection belongs to."""

    header_s: float
    keep_alive_s: float
    write_s: float
    stopping: bool

    def opening(self, status_line: bytes) -> bytes: ...
    def entered(self, connection: Counted) -> HerdError | None: ...
    def refused(self, error: HerdError) -> None: ...
    def left(self, connection: Counted) -> None: ...
    def run(self, exchange: Exchange) -> asyncio.Task[None]: ...


class ClientConnection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, server: Server, raw: asyncio.Transport | None = None) -> None:
        """Args:
        server: the one that it belongs to.
        raw: with TLS, the transport below, which may hold most of what waits for the client.
        """
        self._server = server
        self._raw = raw
        self._loop = asyncio.get_running_loop()
        self._reader = RequestReader()
        self._transport: asyncio.Transport
        self._exchange: Exchange | None = None
        self._flow: Flow | None = None
        self._begun = True
        """A head is expected to arrive soon: it has begun, or is the connection's first."""
        self._deaf = False
        """Bytes that still come are dropped."""
        self._half_closed = False
        """The client sends no more, and may still wait for answers."""
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
        self.address = address_of(transport)
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

    def eof_received(self) -> bool:
        """Keeps the connection open for a client that has sent its whole request and then closed its side, as `nc -N` does.

        A client that has gone looks the same until something is sent to it: see `_probe`. TLS knows no connection that is half open.

        Returns:
            Whether the connection stays open. A client that leaves inside a request or an answer has hung up.
        """
        exchange = self._exchange
        if self._half_closed:
            return True
        if self._deaf or self._raw is not None or exchange is None or exchange.started or not exchange.whole:
            return False
        self._half_closed = True
        self._loop.call_later(PROBE_S, self._probe, PROBE_S)
        return True

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
        self._unsent, self._stuck_since = 0, self._loop.time()
        if self._flow is not None:
            self._flow.resume()

    # what an exchange asks for
    @property
    def stops(self) -> bool:
        """No other request is read."""
        return self._server.stopping or (self._half_closed and not self._reader.held)

    def follow(self, flow: Flow) -> None:
        """Slows the flow of the present answer down whenever the client is slower than it."""
        self._flow = flow
        if self._slow:
            flow.pause()

    def want_more(self) -> None:
        """Reads on."""
        if not self._reads and not self._transport.is_closing():
            self._reads = True
            self._transport.resume_reading()

    def ended(self, exchange: Exchange) -> None:
        """The answer is whole: the next request is read, or the connection closes."""
        self._exchange = self._flow = None
        closes = exchange.closes or self.stops
        if not exchange.whole or (closes and self._reader.held):
            self._linger()
        elif closes:
            self._close()
        else:
            self._until = self._loop.time() + self._server.keep_alive_s
            if not self._reads:
                self.want_more()
            if self._reader.held:
                self._next()
            if self._half_closed and self._exchange is None and not self._deaf:
                self._close()

    # what the server asks for
    def check(self, now: float) -> None:
        """Gives the connection up where the client has kept it waiting for too long. Called about once a second."""
        unsent = self._transport.get_write_buffer_size()
        if self._raw is not None:
            unsent += self._raw.get_write_buffer_size()
        if self._is_stuck(unsent, now):
            self.abort()
        elif now >= self._until:
            if not self._transport.is_closing():
                self._close()
            elif not unsent:
                self.abort()

    def _is_stuck(self, unsent: int, now: float) -> bool:
        """Whether the client takes next to nothing of what waits for it, be it a byte now and then.

        An engine that is not held back may write as fast as the client reads: what is taken is counted from the most that waited.
        """
        self._unsent = max(self._unsent, unsent)
        if not unsent or self._unsent - unsent >= LEAST_TAKEN_BYTES or not (self._slow or self._exchange is None):
            self._unsent, self._stuck_since = unsent, now
        return now - self._stuck_since >= self._server.write_s

    def shut(self) -> None:
        """Closes the connection, where an answer is under way behind it."""
        if self._exchange is None and not self._deaf:
            self._close()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._transport.abort()

    def _close(self) -> None:
        """Closes the connection behind what is still to be sent: `check` gives a client as long as it takes some of that."""
        self._deaf = True
        self._until = self._loop.time() + LINGER_S
        self._transport.close()

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
        exchange.answered_in(self._server.run(exchange))
        if not exchange.whole:
            self._more(exchange)
            if self._half_closed and not exchange.whole:
                exchange.breaks(Unreadable("The connection ends inside the request's body."))

    def _more(self, exchange: Exchange) -> None:
        try:
            piece = self._reader.body()
        except Unreadable as error:
            self._deaf = True
            exchange.breaks(error)
            return
        if not exchange.take(piece, self._reader.whole) or self._reader.held > MOST_AHEAD_BYTES:
            self._pause()

    def _probe(self, waited_s: float) -> None:
        """Asks a client that sends no more whether it is still there, for as long as its answer has not begun.

        The system of a client that has gone answers the first bytes with a reset, so that sending the next ones ends the connection.
        """
        exchange = self._exchange
        if self._deaf or exchange is None:
            return
        if not exchange.encourage():
            self.abort()
            return
        wait_s = min(2 * waited_s, LONGEST_PROBE_S)
        self._loop.call_later(wait_s, self._probe, wait_s)

    def _pause(self) -> None:
        if self._reads:
            self._reads = False
            self._transport.pause_reading()

    def _refuse(self, error: HerdError) -> None:
        """Answers bytes that are no request, or a connection that is too many, and closes."""
        exchange = self._exchange = Exchange(Head(), self, whole=False)
        exchange.refuse(error)
        self._server.refused(error)

    def _linger(self) -> None:
        """Sends no more, and waits a while for the client to close."""
        self._deaf = True
        self.want_more()
        self._until = self._loop.time() + LINGER_S
        if not self._transport.is_closing() and self._transport.can_write_eof():
            self._transport.write_eof()


def address_of(transport: asyncio.BaseTransport) -> str:
    """Returns the client of a connection: an IPv4 address, or the 64 bits of an IPv6 address that a site gives to one host."""
    host = (transport.get_extra_info("peername") or ("",))[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(address, IPv6Address):
        return str(address.ipv4_mapped or IPv6Network((address, 64), strict=False))
    return str(address)

"""One client's request and the answer to it.

Decides nothing about models. Once an answer has begun, `write` puts a chunk straight into the client's transport: no event, coroutine
or copy is spent on it.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from deployments.policy.errors.client_errors import BodyTooLarge, Timeout, UnknownPath
from deployments.policy.errors.herd_error import HerdError
from deployments.wire.client.content_encoding import decoded
from deployments.wire.client.once import Made
from deployments.wire.client.request_head import Head
from deployments.wire.types import Flow, Headers

JSON = (b"content-type", b"application/json")
#: Bytes of a body that are kept before the request's handler asks for it.
MOST_UNASKED_BYTES = 64 << 10

_STATUS_LINES = {status.value: b"HTTP/1.1 %d %b\r\n" % (status.value, status.phrase.encode("ascii")) for status in HTTPStatus}
_NO_CONTENT = 204
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Protocol):
    """The connection that a request came on."""

    @property
    def send(self) -> Callable[[bytes], None]:
        """Writes bytes to the client."""

    @property
    def opening(self) -> Callable[[bytes], bytes]:
        """An answer's first lines, from its status line."""

    @property
    def address(self) -> str:
        """Its client's: an IPv4 address, or the network of an IPv6 address."""

    @property
    def stops(self) -> bool:
        """No other request is read from it."""

    def want_more(self) -> None:
        """Reads on."""

    def ended(self, exchange: "Exchange") -> None:
        """The answer is whole."""

    def follow(self, flow: Flow) -> None:
        """Slows the flow down whenever the client is slower than it."""


class Exchange:
    """One request and the answer to it."""

    # As attributes of the class, so that they are not set for each request.
    started = False
    """The head of the answer has been sent."""
    finished = False
    """The answer is whole."""
    closes = True
    """The connection closes behind the answer. Known when the answer has begun."""
    task: asyncio.Task[None] | None = None
    _begun = False
    _size = 0
    _asked = False
    _arrival: asyncio.Future[None] | None = None
    _broken: HerdError | None = None
    _always: Headers = ()
    _held: "list[bytes] | None" = None

    def __init__(self, head: Head, connection: Connection, whole: bool) -> None:
        """Args:
        head: the request's.
        connection: the one that it came on.
        whole: the request has no body.
        """
        self.query = head.query
        self.method = head.method
        self.path = head.path
        """As it came: nothing in it is decoded."""
        self.headers = head.headers
        self.whole = whole
        """The request's body has arrived."""
        self._head = head
        self._connection = connection
        self._send = connection.send
        self._pieces: list[bytes] = []
        self.gone = False
        """The client has hung up. Of the object: each piece of a stream asks for it, and a class's attributes are found more slowly."""

    @property
    def address(self) -> str:
        """The client's: an IPv4 address, or the network of an IPv6 address. A proxy in front of the herd is the client."""
        return self._connection.address

    def always(self, headers: Headers) -> None:
        """Puts these headers into the answer, whatever it will be."""
        self._always = headers

    def once(self, by: object, make: Callable[["Exchange"], Made]) -> Made:
        """Returns what is made of the request's head, but for the length of the body; made once for a head that comes again. See `Once`."""
        return self._head.once.get(by, make, self)

    def has_small_body(self, most_bytes: int) -> bool:
        """Whether the body has arrived, as nearly all have with their heads, and has no more than so many bytes, as it came."""
        return self.whole and self._size <= most_bytes

    def small_body(self) -> bytes:
        """Takes the body out, which must be there."""
        pieces, self._pieces = self._pieces, []
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def body(self, limit_mib: float, within_s: float, count: Callable[[int], None]) -> bytes:
        """The request's body, decoded where its client has compressed it.

        Args:
            limit_mib: its largest size.
            within_s: its longest time to arrive.
            count: is told the size of each piece that has arrived or been decoded, and may raise a `HerdError`.

        Raises:
            BodyTooLarge: more than the limit, by its header, in fact or decoded.
            Timeout: it did not arrive in time.
            Unreadable: its framing is broken.
            WrongMedia: its content-encoding is not known.
            BadRequest: it is not what its content-encoding says.
        """
        limit = int(limit_mib * (1 << 20))
        if self._head.length > limit:
            raise BodyTooLarge(limit_mib)
        if not self.whole:
            await self._arriving(limit, limit_mib, within_s, count)
        else:
            count(self._size)
        if self._size > limit:
            raise BodyTooLarge(limit_mib)
        whole = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []  # a second copy, for as long as the answer takes
        encoding = self.headers.get(b"content-encoding")
        return whole if encoding is None else await decoded(encoding, whole, limit_mib, count)

    async def _arriving(self, limit: int, limit_mib: float, within_s: float, count: Callable[[int], None]) -> None:
        self._asked = True
        if self._head.expects_continue and not self.gone and not self._size:
            self._send(_CONTINUE)
        self._connection.want_more()
        loop, counted = asyncio.get_running_loop(), 0
        try:
            async with asyncio.timeout(within_s):
                while not self.whole and self._size <= limit:
                    if self._broken is not None:
                        raise self._broken
                    count(self._size - counted)
                    counted = self._size
                    self._arrival = loop.create_future()
                    await self._arrival
        except TimeoutError as error:
            raise Timeout(f"The request's body did not arrive within {within_s:g} s.", status=408) from error
        count(self._size - counted)

    def take(self, piece: bytes, whole: bool) -> bool:
        """A piece of the body has arrived.

        Args:
            piece: may be empty.
            whole: it is the last one.

        Returns:
            Whether more may come now.
        """
        if piece and not self.started:  # behind the begin of an answer, nobody reads it
            self._pieces.append(piece)
            self._size += len(piece)
        self.whole = whole
        if self._arrival is not None:
            self._wake()
        return whole or self._asked or self._size <= MOST_UNASKED_BYTES  # reading on behind a whole body shows that the client hangs up

    def breaks(self, error: HerdError) -> None:
        """The body's bytes cannot be read on."""
        self._broken = error
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer at once."""
        if not self.gone:
            head = self._begin(status, headers, b"" if status == _NO_CONTENT else b"content-length: %d\r\n" % len(body))
            self._send(head if self.method == "HEAD" else head + body)
            self._complete()

    def refuse(self, error: HerdError, headers: Headers = ()) -> None:
        """An error as the whole answer."""
        extra = [] if error.retry_after_s is None else [(b"retry-after", b"%d" % error.retry_after_s)]
        if isinstance(error, UnknownPath) and error.allowed:
            extra.append((b"allow", ", ".join(error.allowed).encode("ascii")))
        if error.challenge:
            extra.append((b"www-authenticate", error.challenge.encode("ascii")))
        self.reply(error.status, (JSON, *headers, *extra), error.body())

    def start(self, status: int, headers: Headers, first: bytes, flow: Flow) -> None:
        """Begins a streamed answer with its first piece, in one write. From now on the flow waits while the client is slower than it."""
        if not self.gone:
            head = self._begin(status, headers, b"transfer-encoding: chunked\r\n")
            self._send(b"%b%x\r\n%b\r\n" % (head, len(first), first))
            self._connection.follow(flow)

    def write(self, data: bytes) -> None:
        """A further piece of a streamed answer; never empty, for that would end it."""
        if not self.gone:
            send = self._send
            send(b"%x\r\n%b\r\n" % (len(data), data))

    def hold(self, holds: bool) -> None:
        """Holds back what is sent, until it is called again with False: then all of it goes in one call of the system."""
        if holds:
            self._held = []
            self._send = self._held.append
        else:
            self._send, held = self._connection.send, self._held
            if held and not self.gone:
                self._send(b"".join(held))

    def finish(self) -> None:
        """Ends a streamed answer."""
        if not self.gone:
            self._send(b"0\r\n\r\n")
            self._complete()

    def answered_in(self, task: asyncio.Task[None]) -> None:
        """The task that answers, which ends when the client hangs up."""
        self.task = task

    def begins(self) -> None:
        """Its task has begun to answer. One that is cancelled before never runs, and could not clear up behind itself."""
        self._begun = True

    def encourage(self) -> bool:
        """Sends an interim answer while the answer has not begun: any client of HTTP/1.1 passes over it (RFC 9110, section 15.2).

        Returns:
            Whether the client understands interim answers, or has its answer before its eyes.
        """
        if not self.started:
            self._send(_CONTINUE)
        return True

    def lost(self) -> None:
        """The client has hung up: who works on its answer stops."""
        self.gone = True
        if self.task is not None and self._begun and not self.finished:
            self.task.cancel()

    def _begin(self, status: int, headers: Headers, framing: bytes) -> bytes:
        self.started = True
        self.closes = self._head.closes or not self.whole or self._connection.stops
        lines = [b"%b: %b\r\n" % header for header in ((*headers, *self._always) if self._always else headers)]
        end = b"connection: close\r\n\r\n" if self.closes else b"\r\n"
        return b"".join((self._connection.opening(_STATUS_LINES[status]), *lines, framing, end))

    def _complete(self) -> None:
        self.finished = True
        self._connection.ended(self)


class Unframed(Exchange):
    """With a client of HTTP/1.0, which knows no chunks: its answer ends where the connection does."""

    def encourage(self) -> bool:
        """See `Exchange.encourage`; HTTP/1.0 has no interim answers."""
        return self.started

    def start(self, status: int, headers: Headers, first: bytes, flow: Flow) -> None:
        """Begins a streamed answer with its first piece, in one write. From now on the flow waits while the client is slower than it."""
        if not self.gone:
            self._send(self._begin(status, headers, b"") + first)
            self._connection.follow(flow)

    def write(self, data: bytes) -> None:
        """A further piece of a streamed answer."""
        if not self.gone:
            self._send(data)

    def finish(self) -> None:
        """Ends a streamed answer."""
        if not self.gone:
            self._complete()

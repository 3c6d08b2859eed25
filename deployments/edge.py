"""The HTTP edge: one client's request as an `Exchange`, over uvicorn.

Decides nothing about models. uvicorn parses, keeps connections alive and stops gracefully; what it would cost per piece of a stream (an
event, a coroutine, a copy) is left out: once a response has begun, `Exchange.write` puts a chunk straight into the client's transport.
That is what `_Protocol` is for: it shows an exchange the connection that uvicorn has for it.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from deployments.answer import Flow, Headers
from deployments.policy.errors import BadRequest, BodyTooLarge, HerdError, Timeout, UnknownPath
from deployments.server import Server

Handler = Callable[["Exchange"], Awaitable[None]]

JSON = (b"content-type", b"application/json")
#: A connection whose request was refused half read throws away what still comes for so long, so that the refusal is read.
LINGER_S = 2

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r]*", re.IGNORECASE)


class Exchange:
    """One request and the answer to it."""

    def __init__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[dict[str, Any]]]) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.started = False
        self._receive = receive
        self._connection, self._cycle = cast("tuple[_Protocol, RequestResponseCycle]", scope["herd.exchange"])
        self._transport = self._cycle.transport
        self._task = asyncio.current_task()
        self._connection.on_lost = self._lost

    @property
    def gone(self) -> bool:
        """The client has hung up."""
        return bool(self._cycle.disconnected)

    @property
    def finished(self) -> bool:
        """The answer is whole."""
        return bool(self._cycle.response_complete)

    async def body(self, limit_mib: float, within_s: float, count: Callable[[int], None]) -> bytes:
        """The request's body.

        Args:
            limit_mib: its largest size.
            within_s: its longest time to arrive.
            count: is told the size of each piece that has arrived, and may raise a `HerdError`.

        Raises:
            BodyTooLarge: more than the limit, by its header or in fact.
            Timeout: it did not arrive in time.
        """
        limit = int(limit_mib * (1 << 20))
        if self._announced() > limit:
            raise BodyTooLarge(limit_mib)
        whole = bytes(self._cycle.body)
        if self._cycle.more_body or not 0 < len(whole) <= limit:  # else it came with its head, as nearly every one does
            whole = await self._arriving(limit_mib, within_s, count)
        else:
            count(len(whole))
        self._connection.listen_for_hang_up()
        return whole

    def _announced(self) -> int:
        length = self.headers.get(b"content-length", b"0")
        return int(length) if length.isdigit() else 0

    async def _arriving(self, limit_mib: float, within_s: float, count: Callable[[int], None]) -> bytes:
        try:
            async with asyncio.timeout(within_s):
                return await self._read(limit_mib, count)
        except TimeoutError as error:
            raise Timeout(f"The request's body did not arrive within {within_s:g} s.", status=408) from error

    async def _read(self, limit_mib: float, count: Callable[[int], None]) -> bytes:
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            count(len(pieces[-1]))
            more = message.get("more_body", False)
            if size > limit_mib * (1 << 20):
                raise BodyTooLarge(limit_mib)
        return b"".join(pieces)

    def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole answer at once."""
        if not self.gone:
            head = self._head(status, (*headers, (b"content-length", b"%d" % len(body))))
            self._transport.write(head if self.method == "HEAD" else head + body)
            self._complete()

    def refuse(self, error: HerdError, headers: Headers = ()) -> None:
        """An error as the whole answer."""
        extra = [] if error.retry_after_s is None else [(b"retry-after", b"%d" % error.retry_after_s)]
        if isinstance(error, UnknownPath) and error.allowed:
            extra.append((b"allow", ", ".join(error.allowed).encode("ascii")))
        self.reply(error.status, (JSON, *headers, *extra), error.body())

    def start(self, status: int, headers: Headers, first: bytes) -> None:
        """Begins a streamed answer with its first piece, in one write."""
        if not self.gone:
            head = self._head(status, (*headers, (b"transfer-encoding", b"chunked")))
            self._transport.write(b"%b%x\r\n%b\r\n" % (head, len(first), first))

    def write(self, data: bytes) -> None:
        """A further piece of a streamed answer; never empty, for that would end it."""
        if not self._cycle.disconnected:
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data))

    def finish(self) -> None:
        """Ends a streamed answer."""
        if not self.gone:
            self._transport.write(b"0\r\n\r\n")
            self._complete()

    def follow(self, flow: Flow | None) -> None:
        """Slows the flow down whenever the client is slower than it."""
        self._connection.follow(flow)

    def _head(self, status: int, headers: Headers) -> bytes:
        self.started = self._cycle.response_started = True
        self._cycle.waiting_for_100_continue = False
        close = () if self._cycle.keep_alive and not self._cycle.more_body else ((b"connection", b"close"),)
        lines = [b"%b: %b\r\n" % header for header in (*self._cycle.default_headers, *headers, *close)]
        return b"".join((STATUS_LINE[status], *lines, b"\r\n"))

    def _complete(self) -> None:
        """What uvicorn does when a response is whole: the connection waits for its next request, or closes."""
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        self._connection.on_lost = None
        if cycle.more_body:  # the rest of a body that was refused would be taken for the next request's head
            self._connection.linger()
            return
        if not cycle.keep_alive:
            self._transport.close()
        cycle.on_response()

    def _lost(self) -> None:
        self._cycle.disconnected = True
        if self._task is not None and not self._cycle.response_complete:
            self._task.cancel()


def _without_offers(data: bytes) -> bytes:
    """A request's head without its offer of another protocol: httptools would take it, and read no body."""
    end = data.find(b"\r\n\r\n")
    head = data[:end] if end >= 0 else data
    return _UPGRADE.sub(b"", head) + data[len(head) :] if _UPGRADE.search(head) else data


class _Unframed(Exchange):
    """With a client of HTTP/1.0, which knows no chunks: its answer ends where the connection does."""

    def start(self, status: int, headers: Headers, first: bytes) -> None:
        if not self.gone:
            self._transport.write(self._head(status, headers) + first)

    def write(self, data: bytes) -> None:
        if not self.gone:
            self._transport.write(data)

    def finish(self) -> None:
        if not self.gone:
            self._complete()


class _Protocol(HttpToolsProtocol):  # type: ignore[misc]
    """uvicorn's protocol, which also tells when the client has gone or is slow, and does not wait for ever for a request's head."""

    header_s: float = 10

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (uvicorn's own signature)
        super().__init__(*args, **kwargs)
        self.on_lost: Callable[[], None] | None = None
        self._flow: Flow | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._lingers = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        if self._lingers:
            return
        super().data_received(_without_offers(data) if self._idle else data)
        if self._idle:
            self._expect_head()

    @property
    def _idle(self) -> bool:
        """No request is under way."""
        return self.cycle is None or bool(self.cycle.response_complete)

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(self.header_s, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        if self._idle and not self.transport.is_closing():
            self.transport.close()

    def linger(self) -> None:
        """Says no more, and closes when the client does. Closing with data unread would reset the connection: the answer would be lost."""
        self._lingers = True
        self.flow.resume_reading()
        if not self.transport.is_closing():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def listen_for_hang_up(self) -> None:
        """Reads on after a body that filled uvicorn's buffer; where further requests wait already, they are enough to hold."""
        if not self.pipeline:
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        """What does not parse, in the shape of all errors; after the head of another answer there is no place for it."""
        if self._idle:
            body = BadRequest(msg).body()
            head = (STATUS_LINE[400], b"content-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body))
            self.transport.write(b"".join((*head, body)))
        self.transport.close()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        # A further request may have replaced `self.cycle` by the time that this one runs.
        self.cycle.scope["herd.exchange"] = (self, self.cycle)
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._head_timer is not None:
            self._head_timer.cancel()
        if self.on_lost is not None:
            self.on_lost()

    def follow(self, flow: Flow | None) -> None:
        self._flow = flow
        if flow is not None and self.flow.write_paused:
            flow.pause()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._flow is not None:
            self._flow.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._flow is not None:
            self._flow.resume()


def edge(handler: Handler, listener: socket.socket, header_s: float, stop_s: float) -> Server:
    """Serves a handler of exchanges on a socket."""

    async def app(scope: dict[str, Any], receive: Any, _send: Any) -> None:  # noqa: ANN401 (ASGI's own)
        exchange = _Unframed(scope, receive) if scope["http_version"] == "1.0" else Exchange(scope, receive)
        if exchange.gone:
            return
        try:
            await handler(exchange)
        except asyncio.CancelledError:
            if not exchange.gone:
                raise

    return Server(app, listener, type("Protocol", (_Protocol,), {"header_s": header_s}), stop_s)

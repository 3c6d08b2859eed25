"""The HTTP edge: one client's request as an `Exchange`, over uvicorn.

Decides nothing about models. uvicorn parses, keeps connections alive and stops gracefully; what it would cost per piece of a stream (an
event, a coroutine, a copy) is left out: once a response has begun, `Exchange.write` puts a chunk straight into the client's transport.
That is what `_Protocol` is for: it shows an exchange the connection that uvicorn has for it.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from deployments.policy.errors import BodyTooLarge, HerdError, Timeout

Headers = Sequence[tuple[bytes, bytes]]
Handler = Callable[["Exchange"], Awaitable[None]]

JSON = (b"content-type", b"application/json")
#: A connection waits so long for its next request; longer than common load balancers do, so that they are the ones who close.
KEEP_ALIVE_S = 75


class Flow(Protocol):
    """What is slowed down when the client does not keep up."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...


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

    async def body(self, limit_mib: float, within_s: float) -> bytes:
        """The request's body.

        Raises:
            BodyTooLarge: more than the limit, by its header or in fact.
            Timeout: it did not arrive in time.
        """
        limit = int(limit_mib * (1 << 20))
        if self._announced() > limit:
            raise BodyTooLarge(limit_mib)
        try:
            async with asyncio.timeout(within_s):
                return await self._read(limit, limit_mib)
        except TimeoutError as error:
            raise Timeout(f"The request's body did not arrive within {within_s:g} s.", status=408) from error

    def _announced(self) -> int:
        length = self.headers.get(b"content-length", b"0")
        return int(length) if length.isdigit() else 0

    async def _read(self, limit: int, limit_mib: float) -> bytes:
        pieces: list[bytes] = []
        size, more = 0, True
        while more:
            message = await self._receive()
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            more = message.get("more_body", False)
            if size > limit:
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

    def abandon(self) -> None:
        """Breaks off: an answer that cannot be ended well must not look as if it had been."""
        self._cycle.response_complete = True
        self._transport.abort()

    def follow(self, flow: Flow | None) -> None:
        """Slows the flow down whenever the client is slower than it."""
        self._connection.follow(flow)

    def _head(self, status: int, headers: Headers) -> bytes:
        self.started = self._cycle.response_started = True
        self._cycle.waiting_for_100_continue = False
        close = () if self._cycle.keep_alive else ((b"connection", b"close"),)
        lines = [b"%b: %b\r\n" % header for header in (*self._cycle.default_headers, *headers, *close)]
        return b"".join((STATUS_LINE[status], *lines, b"\r\n"))

    def _complete(self) -> None:
        """What uvicorn does when a response is whole: the connection waits for its next request, or closes."""
        cycle = self._cycle
        cycle.response_complete = True
        cycle.message_event.set()
        self._connection.on_lost = None
        # The rest of a body that was refused unread would be taken for the next request's head.
        if not cycle.keep_alive or cycle.more_body:
            self._transport.close()
        cycle.on_response()

    def _lost(self) -> None:
        self._cycle.disconnected = True
        if self._task is not None and not self._cycle.response_complete:
            self._task.cancel()


class _Protocol(HttpToolsProtocol):  # type: ignore[misc]
    """uvicorn's protocol, which also tells when the client has gone or is slow, and does not wait for ever for a first request."""

    header_s: float = 10

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 (uvicorn's own signature)
        super().__init__(*args, **kwargs)
        self.on_lost: Callable[[], None] | None = None
        self._flow: Flow | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self.loop.call_later(self.header_s, self._close_if_silent)

    def _close_if_silent(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self.cycle.scope["herd.exchange"] = (
            self,
            self.cycle,
        )  # a pipelined request may have replaced `self.cycle` by the time this one runs

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
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


def listen(host: str, port: int, shared: bool = False) -> socket.socket:
    """A listening socket; several processes may share its port where `shared` (the kernel spreads connections over them).

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(2048)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


class Server:
    """A running HTTP server: uvicorn in a task of this event loop."""

    def __init__(self, app: Any, listener: socket.socket, protocol: type[asyncio.Protocol] | str, stop_s: float) -> None:  # noqa: ANN401
        config = uvicorn.Config(
            app,
            http=cast(Any, protocol),
            ws="none",
            lifespan="off",
            log_config=None,  # configuring logging anew would take Ray Serve's handlers away from under it
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(stop_s),
        )
        self._server = uvicorn.Server(config)
        self._task = asyncio.get_running_loop().create_task(self._server.serve(sockets=[listener]))

    @property
    def alive(self) -> bool:
        """It has not stopped by itself."""
        return not self._task.done()

    async def stop(self) -> None:
        """Takes no new connections, and ends when those it has are done or the time for that is over."""
        self._server.should_exit = True
        await asyncio.gather(self._task, return_exceptions=True)


def edge(handler: Handler, listener: socket.socket, header_s: float, stop_s: float) -> Server:
    """Serves a handler of exchanges on a socket."""

    async def app(scope: dict[str, Any], receive: Any, _send: Any) -> None:  # noqa: ANN401 (ASGI's own)
        exchange = Exchange(scope, receive)
        try:
            await handler(exchange)
        except asyncio.CancelledError:
            if not exchange.gone:
                raise

    return Server(app, listener, type("Protocol", (_Protocol,), {"header_s": header_s}), stop_s)

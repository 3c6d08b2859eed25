"""A running HTTP server for clients, on sockets that are listened on already, in the process's own event loop.

Decides how many connections there may be, and how a stop goes. What a connection does is `client_connection`'s.
"""

import asyncio
import contextlib
import resource
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from email.utils import formatdate

from deployments.policy.errors.client_errors import TooManyConnections
from deployments.policy.errors.herd_error import HerdError
from deployments.wire.client.certificate import Certificate
from deployments.wire.client.connection import ClientConnection, Counted
from deployments.wire.client.exchange import Exchange
from deployments.wire.client.handshake import Handshake
from deployments.wire.sockets import listen

Refused = Callable[[HerdError], None]
"""Is told each error that answers bytes which are no request, or a connection that is too many."""
Handler = Callable[[Exchange], Awaitable[None]]

#: Between two looks at all connections, at most.
LOOK_S = 1.0
_TWINS = {"127.0.0.1": "::1", "localhost": "::1", "::1": "127.0.0.1"}
#: Connections above a bound that are told so at once; more than these are closed without a word.
MOST_REFUSED = 64
#: How long requests that were cancelled by a stop have to say so to their clients.
LAST_WORDS_S = 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """Bounds of clients' connections."""

    header_s: float = 10
    """Longest time for a request's head to arrive."""
    keep_alive_s: float = 75
    """Longest wait of a connection for its next request. Longer than common load balancers wait, so that they are the ones who close."""
    write_s: float = 60
    """Longest time in which a client takes next to nothing of what waits for it."""
    connections: int = 10_000
    connections_per_address: int | None = None


def sockets(host: str, port: int) -> list[socket.socket]:
    """Where a gateway listens; other gateways of the node may listen there too.

    On loopback it is both of its addresses, where the machine has both and the port is free there: clients take `localhost` for either.

    Raises:
        OSError: the port is taken, or the address is not this machine's.
    """
    found = [listen(host, port, shared=True)]
    twin = _TWINS.get(host)
    if twin is not None:
        with contextlib.suppress(OSError):
            found.append(listen(twin, found[0].getsockname()[1], shared=True))
    return found


def _nothing(_error: HerdError) -> None: ...


class Listener:
    """A running HTTP server."""

    def __init__(
        self, handler: Handler, sockets: Sequence[socket.socket], bounds: Bounds, stop_s: float, certificate: Certificate | None = None
    ) -> None:
        """Serves from now on.

        Args:
            handler: answers every request.
            sockets: where to listen; they listen already.
            bounds: what connections may take.
            stop_s: longest time that a stop waits for the requests under way.
            certificate: connections are TLS with it; plain without.
        """
        self._handler = handler
        self._sockets = sockets
        self._certificate = certificate
        self._stop_s = stop_s
        self._connections: set[Counted] = set()
        self._addresses: Counter[str] = Counter()
        self._on_refused: Refused = _nothing
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._date, self._dated = b"", 0
        self.stopping = False
        self.change(bounds)
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._watch())
        self._following = self._loop.create_task(certificate.follow()) if certificate is not None else None

    def listen(self, on_refused: Refused) -> None:
        """From now on tells each error that answers no request."""
        self._on_refused = on_refused

    def change(self, bounds: Bounds) -> None:
        """These bounds hold from now on, for the connections that are open too."""
        self._bounds = bounds
        # A request takes a descriptor for its client and one for its engine; some are left for everything else.
        self._most = min(bounds.connections, max(1, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 256) // 2))
        self.header_s, self.keep_alive_s, self.write_s = bounds.header_s, bounds.keep_alive_s, bounds.write_s

    @property
    def alive(self) -> bool:
        """It has not stopped by itself, and still looks for a changed certificate."""
        return not self._task.done() and (self._following is None or not self._following.done())

    async def stop(self) -> None:
        """Takes no new connections, and ends when those it has are done or the time for that is over."""
        self.stopping = True
        own = [self._task] if self._following is None else [self._task, self._following]
        for task in own:
            task.cancel()
        await asyncio.gather(*own, return_exceptions=True)
        self._close()
        if not await self._emptied(self._stop_s):
            for task in self._tasks:
                task.cancel()
            await self._emptied(LAST_WORDS_S)
            for connection in tuple(self._connections):
                connection.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WORDS_S)

    def _close(self) -> None:
        """No new connection, and none that waits for a request."""
        for server in self._servers:
            server.close()
        for one in self._sockets:
            one.close()
        for connection in tuple(self._connections):
            connection.shut()

    async def _emptied(self, within_s: float) -> bool:
        """Whether no connection is left, after that time at most."""
        self._empty.clear()
        if not self._connections:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._connections:
                    self._look()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._empty.wait(), self._period_s)
        return not self._connections

    async def _watch(self) -> None:
        for one in self._sockets:
            self._servers.append(await self._loop.create_server(self._accepted, sock=one, backlog=2048))
        while True:
            await asyncio.sleep(self._period_s)
            self._look()

    def _accepted(self) -> asyncio.Protocol:
        return ClientConnection(self) if self._certificate is None else Handshake(self, self._certificate)

    @property
    def _period_s(self) -> float:
        return min(LOOK_S, self.header_s / 4, self.keep_alive_s / 4, self.write_s / 4)

    def _look(self) -> None:
        now = self._loop.time()
        for connection in tuple(self._connections):
            connection.check(now)

    # what a connection asks for
    def opening(self, status_line: bytes) -> bytes:
        """The first lines of every answer: its status and the date."""
        now = int(time.time())
        if now != self._dated:
            self._dated, self._date = now, b"date: %b\r\n" % formatdate(now, usegmt=True).encode("ascii")
        return status_line + self._date

    def entered(self, connection: Counted) -> HerdError | None:
        """A connection is there. Why it must go, if it must."""
        self._connections.add(connection)
        self._addresses[connection.address] += 1
        most, own = self._most, self._bounds.connections_per_address
        too_many, too_many_own = len(self._connections) - most, self._addresses[connection.address] - (own or most)
        if max(too_many, too_many_own) > MOST_REFUSED:
            connection.abort()
        elif too_many > 0:
            return TooManyConnections("This server has as many connections as it takes.", status=503)
        elif too_many_own > 0:
            return TooManyConnections(f"Your address has more than the {own} connections that it may have.")
        return None

    def refused(self, error: HerdError) -> None:
        """An error answers no request."""
        self._on_refused(error)

    def left(self, connection: Counted) -> None:
        """A connection is gone."""
        self._connections.discard(connection)
        self._addresses[connection.address] -= 1
        if not self._addresses[connection.address]:
            del self._addresses[connection.address]
        if not self._connections:
            self._empty.set()

    def run(self, exchange: Exchange) -> asyncio.Task[None]:
        """Has an exchange answered."""
        task = self._loop.create_task(self._answered(exchange))
        self._tasks.add(task)
        return task

    async def _answered(self, exchange: Exchange) -> None:
        exchange.begins()
        try:
            if not exchange.gone:
                await self._handler(exchange)
        except asyncio.CancelledError:
            if not exchange.gone:
                raise
        finally:
            # Not by a callback of the task, which would be one more turn of the loop for each request.
            self._tasks.discard(exchange.task)

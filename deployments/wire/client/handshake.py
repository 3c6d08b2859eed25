"""A client's connection while its TLS handshake is under way.

Decides nothing about requests. The connection counts from the moment it is accepted: a client that opens many and says nothing would
else take every descriptor of the process.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

from deployments.wire.client.certificate import Certificate
from deployments.wire.client.connection import ClientConnection, Server, address_of

#: The longest that asyncio may take to close a TLS connection. The listener's own bounds end every connection long before.
SHUTDOWN_S = 86_400.0

_Found = TypeVar("_Found")


class Handshake(asyncio.Protocol):
    """One connection that speaks no HTTP yet. It is replaced by a `ClientConnection` when both sides have agreed on TLS."""

    def __init__(self, server: Server, certificate: Certificate) -> None:
        self._server = server
        self._certificate = certificate
        self._raw: asyncio.Transport
        self._early: list[bytes] = []
        self._gone = False
        self._task: asyncio.Task[None] | None = None

    # asyncio.Protocol
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self.address = address_of(transport)
        self._server.entered(self)  # one too many is told so when it can read it
        loop, bound = asyncio.get_running_loop(), self._server.header_s
        context = self._certificate.context
        work = loop.start_tls(self._raw, self, context, server_side=True, ssl_handshake_timeout=bound, ssl_shutdown_timeout=SHUTDOWN_S)
        # Its first step puts TLS in our place. A task would do that after uvloop has read from the client already.
        self._task = loop.create_task(self._shaken(_Begun(work)))

    def data_received(self, data: bytes) -> None:
        """Keeps what has been decrypted before the handshake's end was told."""
        self._early.append(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone = True

    # what the server asks for
    def check(self, now: float) -> None:
        """Does nothing: asyncio itself ends a handshake that takes too long."""

    def shut(self) -> None:
        """Closes the connection: nothing has been asked on it."""
        self.abort()

    def abort(self) -> None:
        """Closes the connection at once."""
        self._gone = True
        self._raw.abort()

    async def _shaken(self, agreed: Awaitable[asyncio.Transport | None]) -> None:
        try:
            transport = await agreed
        except (OSError, RuntimeError):  # it speaks no TLS, or none of ours, or has left; uvloop says the last by a RuntimeError
            transport = None
        finally:
            self._server.left(self)
        if transport is None or self._gone:
            self._raw.abort()
            return
        connection = ClientConnection(self._server, self._raw)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        for data in self._early:
            connection.data_received(data)


class _Begun(Generic[_Found]):
    """Awaits what a coroutine returns that has done its first step already."""

    def __init__(self, work: Coroutine[Any, None, _Found]) -> None:
        self._work = work
        self._waits_for = work.send(None)

    def __await__(self) -> Generator[Any, Any, _Found]:
        yield self._waits_for
        return (yield from self._work.__await__())

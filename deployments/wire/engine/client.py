"""Requests to engines, over connections that are kept open between them.

Decides nothing. Leaves it to `deployments.gateway.pipeline` which engine is asked and what an answer means, and to
`deployments.wire.engine.connection` how its bytes come.
"""

import asyncio
import ssl
from collections.abc import Coroutine
from functools import lru_cache
from typing import Any

import structlog

from deployments.wire.engine.answer import Answer, EngineGone, NeverReached
from deployments.wire.engine.connection import Connection, Pool
from deployments.wire.types import Address, Headers

TOLD_AGAIN_S = 60.0
#: A larger body is sent by itself: put behind its head it would be a second one in memory, until the engine answers.
MOST_JOINED_BYTES = 64 << 10
#: Parts in which a connection is waited for.
PARTS = 4


class Engines:
    """Connections to all engines, kept open between requests."""

    def __init__(self, key: str, idle_s: float = 30, connect_s: float = 5, tls: ssl.SSLContext | None = None) -> None:
        """Args:
        key: for the engines' doors, sent with every request.
        idle_s: an unused connection is closed after so long; less than the engines keep theirs.
        connect_s: longest wait for a connection.
        tls: how engines are spoken to; None: plainly.
        """
        self._authorization = b"authorization: Bearer " + key.encode() + b"\r\n"
        self._connect_s = connect_s
        self._pool = Pool(idle_s)
        self._tls = tls
        self._log = structlog.get_logger("herd.upstream")
        self._told_at: dict[Address, float] = {}
        """When a failure of TLS with an engine was last logged."""

    async def exchange(self, address: Address, method: bytes, path: bytes, headers: Headers, body: bytes) -> Answer:
        """Sends a request and waits for the head of its answer, which the caller must `close`.

        Raises:
            NeverReached: no connection could be made.
            EngineGone: it broke before the head.
        """
        head = self._head(address, method, path, headers, len(body))
        request = (head + body, b"") if len(body) <= MOST_JOINED_BYTES else (head, body)
        connection = self._pool.take(address)
        if connection is None:
            return await self._first(address, request)
        try:
            return await connection.send(*request)
        except EngineGone:
            # The engine closed an idle connection just now. A new one tells whether it is there; only if that is refused is it gone.
            connection.shut()
        except BaseException:
            connection.shut()
            raise
        try:
            return await self._first(address, request)
        except NeverReached:
            raise EngineGone from None  # it was there a moment ago, and may have died of this request

    async def _first(self, address: Address, request: tuple[bytes, bytes]) -> Answer:
        """Sends a request over a new connection."""
        connection = await self._connect(address)
        try:
            return await connection.send(*request)
        except EngineGone:
            connection.shut()
            if self._tls is not None:  # a certificate that the engine does not take looks just like this in TLS 1.3
                self._tell(address, "it closed a new connection without an answer; it may not take this node's certificate")
            raise
        except BaseException:
            connection.shut()
            raise

    async def reaches(self, address: Address, within_s: float) -> bool:
        """Whether the engine's machine takes a new connection.

        It does so for a process that is too busy to answer, and not where the machine is lost or the process has ended.
        """
        try:
            (await self._reached(address, within_s)).shut()
        except EngineGone:
            return False
        return True

    def close(self) -> None:
        """Closes every idle connection."""
        self._pool.close()

    async def _connect(self, address: Address) -> Connection:
        return await self._reached(address, self._connect_s)

    async def _reached(self, address: Address, within_s: float) -> Connection:
        try:
            return await _within(within_s, self._made(address))
        except (OSError, TimeoutError) as error:
            if isinstance(error, ssl.SSLError):
                self._tell(address, str(error))
            raise NeverReached from error

    async def _made(self, address: Address) -> Connection:
        create = asyncio.get_running_loop().create_connection
        return (await create(lambda: Connection(address, self._pool), address.host, address.port, ssl=self._tls))[1]

    def _tell(self, address: Address, error: str) -> None:
        """Logs a failure of TLS, for an engine once a minute."""
        now = asyncio.get_running_loop().time()
        if now - self._told_at.get(address, -TOLD_AGAIN_S) >= TOLD_AGAIN_S:
            self._told_at = {one: at for one, at in self._told_at.items() if now - at < TOLD_AGAIN_S} | {address: now}
            self._log.warning("engine_tls", engine=f"{address.host}:{address.port}", error=error)

    def _head(self, address: Address, method: bytes, path: bytes, headers: Headers, length: int) -> bytes:
        lines = b"".join([b"%b: %b\r\n" % header for header in headers])
        opening = (_known_opening if method == b"POST" else _opening)(address, method, path)
        return b"%b%b%bcontent-length: %d\r\n\r\n" % (opening, self._authorization, lines, length)


async def _within(seconds: float, made: Coroutine[Any, Any, Connection]) -> Connection:
    """Waits for a connection to be made.

    The time is waited in parts, so that one in which this process itself is held up ends one of them, and not the connection: it may have
    been made meanwhile.

    Raises:
        TimeoutError: it was not made in time.
        OSError: it cannot be made.
    """
    task = asyncio.get_running_loop().create_task(made)
    try:
        for _ in range(PARTS):
            if (await asyncio.wait((task,), timeout=seconds / PARTS))[0]:
                return task.result()
        raise TimeoutError
    except BaseException:
        task.cancel()
        task.add_done_callback(_shut)
        raise


def _shut(made: asyncio.Task[Connection]) -> None:
    """Closes a connection that nobody waits for any more."""
    if not made.cancelled() and made.exception() is None:
        made.result().shut()


def _opening(address: Address, method: bytes, path: bytes) -> bytes:
    """Returns a request's first line, and `host`."""
    return b"%b %b HTTP/1.1\r\nhost: %b:%d\r\n" % (method, path, _encoded(address.host), address.port)


#: What is posted goes to few engines, by few paths. Others have queries, which come once and may have kilobytes.
_known_opening = lru_cache(maxsize=1024)(_opening)


@lru_cache(maxsize=1024)
def _encoded(host: str) -> bytes:
    return host.encode("idna")

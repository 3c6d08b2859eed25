"""Requests to engines, over connections that are kept open between them.

Decides nothing. Leaves it to `deployments.pipeline` which engine is asked and what an answer means, and to `deployments.connection`
how its bytes come.
"""

import asyncio

from deployments.answer import Address, Answer, EngineGone, Headers, NeverReached
from deployments.connection import Connection, Pool


class Engines:
    """Connections to all engines, kept open between requests."""

    def __init__(self, secret: str, idle_s: float = 30, connect_s: float = 5) -> None:
        """Args:
        secret: the cluster's own, sent with every request.
        idle_s: an unused connection is closed after so long; less than the engines keep theirs.
        connect_s: longest wait for a connection.
        """
        self._authorization = b"authorization: Bearer " + secret.encode() + b"\r\n"
        self._connect_s = connect_s
        self._pool = Pool(idle_s)

    async def exchange(self, address: Address, method: bytes, path: bytes, headers: Headers, body: bytes) -> Answer:
        """Sends a request and waits for the head of its answer, which the caller must `close`.

        Raises:
            NeverReached: no connection could be made.
            EngineGone: it broke before the head.
        """
        request = self._request(address, method, path, headers, body)
        connection = self._pool.take(address)
        if connection is None:
            return await self._answer(await self._connect(address), request)
        try:
            return await self._answer(connection, request)
        except EngineGone:
            # The engine closed an idle connection just now. A new one tells whether it is there; only if that is refused is it gone.
            pass
        try:
            again = await self._connect(address)
        except NeverReached:
            raise EngineGone from None  # it was there a moment ago, and may have died of this request
        return await self._answer(again, request)

    def close(self) -> None:
        """Closes every idle connection."""
        self._pool.close()

    async def _answer(self, connection: Connection, request: bytes) -> Answer:
        try:
            return await connection.send(request)
        except BaseException:
            connection.shut()
            raise

    async def _connect(self, address: Address) -> Connection:
        try:
            async with asyncio.timeout(self._connect_s):
                create = asyncio.get_running_loop().create_connection
                _, connection = await create(lambda: Connection(address, self._pool), address.host, address.port)
        except (OSError, TimeoutError) as error:
            raise NeverReached from error
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

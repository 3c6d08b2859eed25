"""`wire.client_connection`: a client that takes its answer too slowly is let go. Its transport and its clock are the test's."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.policy.errors.herd_error import HerdError
from deployments.wire.client.connection import LEAST_TAKEN_BYTES, ClientConnection, Counted
from deployments.wire.client.exchange import Exchange

pytestmark = pytest.mark.asyncio(loop_scope="session")

WRITE_S = 60


class Transport(asyncio.Transport):
    """Holds as many bytes as the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.unsent = 0
        self.closed = self.aborted = False

    def write(self, data: Any) -> None:
        self.unsent += len(data)

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = self.aborted = True


class Server:
    header_s, keep_alive_s, write_s, stopping = 10.0, 75.0, float(WRITE_S), False

    def opening(self, status_line: bytes) -> bytes:
        return status_line

    def entered(self, connection: Counted) -> None:
        return None

    def refused(self, error: HerdError) -> None: ...
    def left(self, connection: Counted) -> None: ...

    def run(self, exchange: Exchange) -> asyncio.Task[None]:
        async def answer() -> None:
            exchange.reply(200, (), b"y" * (1 << 20))

        return asyncio.get_running_loop().create_task(answer())


async def answered(raw: Transport | None = None) -> tuple[ClientConnection, Transport, Iterator[float]]:
    """A connection with an answer that the client has not taken; seconds from then on."""
    transport = Transport()
    connection = ClientConnection(Server(), raw)
    connection.connection_made(transport)
    connection.data_received(b"GET / HTTP/1.1\r\nhost: herd\r\nconnection: close\r\n\r\n")
    assert connection._exchange is not None
    assert connection._exchange.task is not None
    await connection._exchange.task
    began = asyncio.get_running_loop().time()
    return connection, transport, (began + second for second in range(1, 10_000))


@pytest.mark.parametrize(("bytes_a_second", "kept"), [(0, False), (1, False), (200, False), (300, True), (LEAST_TAKEN_BYTES, True)])
async def test_reader_that_takes_next_to_nothing_is_let_go(bytes_a_second: int, kept: bool) -> None:
    connection, transport, seconds = await answered()
    for _ in range(3 * WRITE_S):
        transport.unsent -= min(bytes_a_second, transport.unsent)
        connection.check(next(seconds))
        if not transport.unsent:
            break
    assert (transport.aborted and transport.unsent > 0) is not kept


async def test_bytes_below_tls_wait_for_the_client_too() -> None:
    raw = Transport()
    raw.unsent = 1 << 20
    connection, transport, seconds = await answered(raw)
    transport.unsent = 0
    for _ in range(WRITE_S - 1):
        connection.check(next(seconds))
    assert transport.closed
    assert not transport.aborted
    for _ in range(2):
        connection.check(next(seconds))
    assert transport.aborted

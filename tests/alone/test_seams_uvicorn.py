"""What uvicorn, httptools and uvloop do not document and `deployments/wire` relies on is in those that are installed.

Engines are served by uvicorn. Gateways have a protocol of their own on httptools' parser, and uvloop below it.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httptools
import pytest
import uvloop

from deployments.wire.asgi_server import Server
from deployments.wire.engine.connection import Connection, Pool
from deployments.wire.sockets import listen
from deployments.wire.types import Address
from tests.alone.seams import ROOT, Seam, imported, told, unlisted
from tests.wire_format import chunk

SEAMS = [
    Seam("wire/asgi_server", "uvicorn:Server.capture_signals", takes=("self",)),
    Seam("wire/asgi_server", "uvicorn:Server.serve", takes=("self", "sockets")),
    Seam("wire/asgi_server", "uvicorn:Server", has=("should_exit",)),
    Seam(
        "wire/asgi_server",
        "uvicorn:Config",
        has=(
            "app",
            "http",
            "ws",
            "lifespan",
            "log_config",
            "access_log",
            "server_header",
            "proxy_headers",
            "ssl_context_factory",
            "timeout_keep_alive",
            "timeout_graceful_shutdown",
        ),
    ),
    Seam("wire/client/request_head", "httptools:HttpRequestParser", has=("feed_data",)),
    Seam("wire/client/request_head", "httptools:HttpParserError"),
    Seam("wire/client/request_head", "httptools:HttpParserUpgrade"),
    Seam("wire/engine/connection", "httptools:HttpResponseParser", has=("feed_data", "get_status_code", "should_keep_alive")),
    Seam("wire/engine/connection", "httptools:HttpParserError"),
    Seam("wire/engine/connection", "httptools:HttpParserUpgrade"),
    Seam(
        "wire/client/handshake",
        "asyncio.base_events:BaseEventLoop.start_tls",
        has=("transport", "protocol", "sslcontext", "server_side", "ssl_handshake_timeout", "ssl_shutdown_timeout"),
    ),
]


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: f"{seam.name}-{seam.used_by}")
def test_package_still_has(seam: Seam) -> None:
    assert seam.wrong(told([seam.name])[0]) is None


@pytest.mark.parametrize("package", ["uvicorn", "httptools", "uvloop"])
def test_every_import_in_the_room_is_held_here(package: str) -> None:
    assert unlisted(SEAMS, imported("wire", package)) == set()


def test_every_seam_is_in_a_file_of_ours() -> None:
    assert all((ROOT / "deployments" / f"{seam.used_by}.py").exists() for seam in SEAMS)


def test_name_that_is_gone_or_changed_is_told_with_the_file_that_uses_it() -> None:
    wrong = [
        Seam("wire/asgi_server", "uvicorn:Server.nothing"),
        Seam("wire/asgi_server", "uvicorn.nowhere:Server"),
        Seam("wire/asgi_server", "uvicorn:Server.serve", takes=("self",)),
        Seam("wire/asgi_server", "uvicorn:Server", has=("nothing",)),
    ]
    said = [seam.wrong(found) or "" for seam, found in zip(wrong, told(seam.name for seam in wrong), strict=True)]
    assert all(one.startswith("deployments/wire/asgi_server.py relies on uvicorn") for one in said)
    assert [one.rpartition(": ")[2] for one in said] == [
        "it is gone",
        "it is gone",
        "it takes ['self', 'sockets'], no longer ['self']",
        "it has no nothing",
    ]
    assert unlisted([], {("wire/asgi_server", "uvicorn:Server")})


def test_import_that_no_seam_speaks_of_is_found() -> None:
    seams = [Seam("a", "ray.serve:start"), Seam("b", "ray:nodes")]
    assert unlisted(seams, {("a", "ray:serve"), ("b", "ray:nodes"), ("b", "ray:serve"), ("a", "ray:node")}) == {
        ("b", "ray:serve"),
        ("a", "ray:node"),
    }


PIECES = [b'data: {"id":"1"}\n\n', b"x" * 3000, b"data: [DONE]\n\n"]


@asynccontextmanager
async def uvicorns(app: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, Server]]:
    """A connection to a server as an engine replica has it."""
    with listen("127.0.0.1", 0) as listener:
        server = Server(app, listener, "httptools", 0.5)
        reader, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        try:
            yield reader, writer, server
        finally:
            writer.close()
            await server.stop()


async def streaming(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for piece in PIECES:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def test_uvicorn_frames_chunks_as_the_fakes_do_and_the_gateway_reads_without_parsing() -> None:
    """`deployments/wire/engine/connection.py` knows a whole chunk by its length."""
    async with uvicorns(streaming) as (reader, writer, server):
        writer.write(b"GET / HTTP/1.1\r\nhost: engine\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked\r\n" in head
        assert b"server: " not in head
        expected = b"".join(map(chunk, [*PIECES, b""]))
        assert await reader.readexactly(len(expected)) == expected
        assert server.alive


async def test_uvicorn_stops_by_itself_when_it_is_told_to_and_takes_a_fraction_of_a_second_for_it() -> None:
    async def endless(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async with uvicorns(endless) as (_, writer, server):
        writer.write(b"GET / HTTP/1.1\r\nhost: engine\r\n\r\n")
        await asyncio.sleep(0.2)
        async with asyncio.timeout(10):
            await server.stop()
        assert not server.alive


class Heard:
    """Takes down what llhttp calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return lambda *_: self.calls.append(name)


def test_parser_calls_what_the_engine_side_listens_for_in_this_order() -> None:
    """`deployments/wire/engine/connection.py`."""

    class Kept(Heard):
        def on_message_complete(self) -> None:  # where the engine side asks, too; afterwards it is too late
            self.calls += ["on_message_complete"] if parser.should_keep_alive() else []

    heard = Kept()
    parser = httptools.HttpResponseParser(heard)
    parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"abc") + chunk(b""))
    assert parser.get_status_code() == 200
    used = [name for name in heard.calls if name in vars(Connection)]
    assert used == [
        "on_message_begin",
        "on_header",
        "on_headers_complete",
        "on_chunk_header",
        "on_body",
        "on_chunk_complete",
        "on_chunk_header",
        "on_chunk_complete",
        "on_message_complete",
    ]


def test_parser_stands_where_it_stood_when_whole_chunks_pass_it_by() -> None:
    """`deployments/wire/engine/connection.py`: what comes between two chunks is not fed."""
    parser = httptools.HttpResponseParser(heard := Heard())
    parser.feed_data(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunk(b"abc"))
    parser.feed_data(chunk(b"def") + chunk(b""))
    assert heard.calls.count("on_body") == 2
    assert heard.calls[-1] == "on_message_complete"


def test_request_that_offers_an_upgrade_is_told_by_an_exception() -> None:
    """`deployments/wire/client/request_head.py`."""
    parser = httptools.HttpRequestParser(heard := Heard())
    with pytest.raises(httptools.HttpParserUpgrade):
        parser.feed_data(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n")
    assert "on_headers_complete" in heard.calls


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def test_first_step_of_a_handshake_takes_the_connection_over(new_loop: Any) -> None:
    """`deployments/wire/client/handshake.py` takes the first step of `start_tls` by itself, and awaits the rest in a task."""

    async def taken_over() -> bool:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        transport, protocol = await loop.create_connection(asyncio.Protocol, sock=ours)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        work = loop.start_tls(transport, protocol, context, server_side=True, ssl_handshake_timeout=1, ssl_shutdown_timeout=1)
        waits_for = work.send(None)
        changed = transport.get_protocol() is not protocol
        theirs.close()
        transport.abort()
        work.close()
        waits_for.cancel()
        return changed

    loop = new_loop()
    try:
        assert loop.run_until_complete(taken_over())
    finally:
        loop.close()


async def test_connection_to_an_engine_can_set_its_sockets_options() -> None:
    """`deployments/wire/engine/connection.py` reaches the socket below a transport."""
    with listen("127.0.0.1", 0) as listener:
        address = Address(*listener.getsockname()[:2])
        transport, _ = await asyncio.get_running_loop().create_connection(lambda: Connection(address, Pool(1)), address.host, address.port)
        ends = transport.get_extra_info("socket")
        assert ends.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        transport.abort()

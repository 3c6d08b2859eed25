"""TLS between a gateway and an engine: the real client against the real server and door, with authorities of its own."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr
from structlog.testing import capture_logs

from configs.certificates import Certificates
from deployments.engine.front_door import Door, Receive, Scope, Send
from deployments.wire.asgi_server import Server
from deployments.wire.engine import tls as engine_tls
from deployments.wire.engine.answer import EngineGone
from deployments.wire.engine.client import Engines
from deployments.wire.key_pair import UnusableFiles
from deployments.wire.sockets import listen
from deployments.wire.types import Address
from tests.path.certificates import Authority, authority

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "the key to the door"
CHUNKS = [b"data: %d\n\n" % number for number in range(50)]


async def engine(scope: Scope, receive: Receive, send: Send) -> None:
    """Streams a few chunks, as an engine does."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    for chunk in CHUNKS:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def report() -> dict[str, Any]:
    return {"state": "ready"}


@contextlib.asynccontextmanager
async def served(tls: Certificates | None) -> AsyncIterator[Address]:
    """An engine's own server; TLS as it is told."""
    listener = listen("127.0.0.1", 0)
    address = Address("127.0.0.1", listener.getsockname()[1])
    server = Server(Door(engine, SecretStr(KEY), report), listener, "httptools", 0.1, engine_tls.server(tls))
    try:
        yield address
    finally:
        await server.stop()


@contextlib.contextmanager
def engines(tls: Certificates | None, key: str = KEY) -> Any:
    """The gateway's way to engines."""
    one = Engines(key, tls=engine_tls.client(tls))
    try:
        yield one
    finally:
        one.close()


async def ask(way: Engines, address: Address, path: bytes = b"/v1/chat/completions") -> tuple[int, bytes]:
    async with asyncio.timeout(10):
        answer = await way.exchange(address, b"POST", path, (), b"{}")
        try:
            return answer.status, await answer.read()
        finally:
            answer.close()


@pytest.fixture
def own(tmp_path: Path) -> Authority:
    return authority(tmp_path / "own")


async def test_nodes_of_one_authority_talk_and_keep_their_connection(own: Authority) -> None:
    async with served(own.node("engine")) as address:
        with engines(own.node("gateway")) as way:
            for _ in range(3):
                assert await ask(way, address) == (200, b"".join(CHUNKS))
            assert (await ask(way, address, b"/-/load"))[0] == 200


async def test_door_asks_for_its_key_behind_tls_too(own: Authority) -> None:
    async with served(own.node("engine")) as address:
        with engines(own.node("gateway"), key="wrong") as way:
            assert (await ask(way, address))[0] == 401


async def test_nothing_of_a_request_is_readable_on_the_wire(own: Authority) -> None:
    heard: list[bytes] = []

    async def carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                heard.append(data)
                sink.write(data)
        sink.close()

    async with served(own.node("engine")) as address:

        async def listening(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            onward_reader, onward_writer = await asyncio.open_connection(address.host, address.port)
            await asyncio.gather(carry(reader, onward_writer), carry(onward_reader, writer))

        listener = await asyncio.start_server(listening, "127.0.0.1", 0)
        with engines(own.node("gateway")) as way:
            assert (await ask(way, Address("127.0.0.1", listener.sockets[0].getsockname()[1])))[0] == 200
        listener.close()
        await listener.wait_closed()
    assert heard
    assert not [word for word in (KEY.encode(), b"HTTP/1.1", b"data: ") if word in b"".join(heard)]


@pytest.mark.parametrize("other", ["engine", "gateway", "both"])
async def test_a_certificate_of_another_authority_is_refused_and_the_log_says_so(own: Authority, tmp_path: Path, other: str) -> None:
    """With `engine` the gateway does not take the engine's certificate, with `gateway` the engine does not take the gateway's."""
    theirs = authority(tmp_path / "other").node()
    at_engine = theirs if other in ("engine", "both") else own.node("engine")
    at_gateway = theirs if other == "gateway" else own.node("gateway")
    if other == "gateway":  # it takes the engine's, and shows one that the engine does not take
        at_gateway = theirs.model_copy(update={"authority": own.node().authority})
    async with served(at_engine) as address:
        with engines(at_gateway) as way, capture_logs() as lines:
            for _ in range(3):
                with pytest.raises(EngineGone):
                    await ask(way, address)
    assert [(line["event"], line["engine"]) for line in lines] == [("engine_tls", f"127.0.0.1:{address.port}")], "once, not each time"
    assert KEY not in str(lines)


async def test_gateway_without_tls_gets_nothing_from_an_engine_with_it(own: Authority) -> None:
    async with served(own.node("engine")) as address:
        with engines(None) as way, pytest.raises(EngineGone):
            await ask(way, address)


async def test_gateway_with_tls_sends_no_key_to_an_engine_without(own: Authority) -> None:
    async with served(None) as address:
        with engines(own.node("gateway")) as way, capture_logs() as lines, pytest.raises(EngineGone):
            await ask(way, address)
    assert [line["event"] for line in lines] in ([], ["engine_tls"])


async def test_client_without_a_certificate_sees_no_page(own: Authority) -> None:
    """Not even `/metrics`, which asks for no key: Prometheus has a certificate of the authority's too."""
    context = ssl.create_default_context(cafile=own.node().authority)
    context.check_hostname = False
    async with served(own.node("engine")) as address:
        with pytest.raises((ssl.SSLError, ConnectionError)):  # noqa: PT012 (which of the steps fails is the kernel's choice)
            reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
            writer.write(b"GET /metrics HTTP/1.1\r\nhost: engine\r\n\r\n")
            async with asyncio.timeout(10):
                if not await reader.read(1):
                    raise ConnectionError
        with contextlib.suppress(UnboundLocalError):
            writer.transport.abort()


async def test_files_that_do_not_do_are_told_with_their_field(own: Authority, tmp_path: Path) -> None:
    node, other = own.node(), authority(tmp_path / "other").node()
    for changed, said in (
        ({"authority": "/no/such.pem"}, r"engine_tls\.authority \(/no/such\.pem\)"),
        ({"certificate": "/no/such.pem"}, r"engine_tls\.certificate with engine_tls\.key"),
        ({"key": other.key}, r"engine_tls\.certificate with engine_tls\.key"),
    ):
        for make in (engine_tls.client, engine_tls.server):
            with pytest.raises(UnusableFiles, match=said):
                make(node.model_copy(update=changed))


def locked(key: str, folder: Path) -> str:
    """A copy of a key that has a passphrase."""
    found = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    passphrase = serialization.BestAvailableEncryption(b"secret")
    (folder / "locked.key").write_bytes(found.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, passphrase))
    return str(folder / "locked.key")


async def test_key_with_a_passphrase_is_refused_and_nobody_is_asked(own: Authority, tmp_path: Path) -> None:
    node = own.node()
    with pytest.raises(UnusableFiles, match="must have no passphrase"):
        engine_tls.client(node.model_copy(update={"key": locked(node.key, tmp_path)}))


async def test_a_connection_that_tls_never_answers_is_given_up(own: Authority) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        way = Engines(KEY, connect_s=0.2, tls=engine_tls.client(own.node()))
        with pytest.raises(EngineGone):
            await ask(way, Address("127.0.0.1", silent.getsockname()[1]))

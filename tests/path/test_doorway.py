"""Where a gateway listens, how many connections it takes and for how long, and TLS."""

import asyncio
import contextlib
import os
import socket
import ssl
import time
import warnings
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from configs.doorway import Tls
from deployments.lifecycle.own_certificate import trust
from deployments.wire.client import listener
from deployments.wire.client.certificate import Certificate
from deployments.wire.client.connection import LEAST_TAKEN_BYTES, ClientConnection
from deployments.wire.client.exchange import Exchange
from deployments.wire.client.listener import Bounds, Listener, sockets
from deployments.wire.key_pair import UnusableFiles
from tests.path.fake_engine import WAIT_S, FakeEngine, answers, steered, streams
from tests.path.herd import asking, herd_of, limits, until
from tests.path.wire import connected, request
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOUR_S = 3600.0
MODELS = request(path="/v1/models", method="GET")


async def test_reader_that_takes_nothing_is_let_go_and_its_place_is_free(engine: FakeEngine) -> None:
    engine.script = streams(b"x" * (1 << 20) + b"\n\n" for _ in range(1000))
    async with herd_of([engine], limits(write_s=0.5)) as herd, connected(herd.port, limit=4096) as client:
        await client.send(request(asking(stream=True)))
        await client.head()
        await engine.left()
        await herd.has_ended("cancelled")


async def test_reader_that_takes_nothing_of_a_whole_answer_is_let_go(engine: FakeEngine) -> None:
    engine.script = answers(200, b"y" * (16 << 20))
    async with herd_of([engine], limits(write_s=0.5)) as herd, connected(herd.port, limit=4096) as client:
        await client.send(request(asking()))
        await client.head()
        await until(lambda: not herd.server._connections)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.reader.readexactly(16 << 20)


async def test_slow_reader_that_takes_something_is_kept(engine: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times, nearly as long as a client has passes while it takes something. The clock is the test's: how fast bytes come to the
    client does not count, nor that the system hands them over in lumps of a megabyte or more."""
    monkeypatch.setattr(listener, "LOOK_S", HOUR_S)  # the listener itself does not look, for 75 s
    engine.script = answers(200, b"y" * (32 << 20))
    slow = herd_of([engine], limits(write_s=HOUR_S, header_s=300), keep_alive_s=300)
    async with slow as herd, connected(herd.port, limit=4096) as client:
        await client.send(request(asking()))
        await client.head()
        (connection,) = herd.server._connections
        assert isinstance(connection, ClientConnection)
        now, left, waiting = asyncio.get_running_loop().time(), 32 << 20, connection._transport.get_write_buffer_size
        for _ in range(5):
            enough = waiting() - LEAST_TAKEN_BYTES
            assert enough > 0
            while waiting() > enough:
                left -= len(await client.reader.read(64 << 10))
                await asyncio.sleep(0.001)
            now += 0.9 * HOUR_S
            connection.check(now)
        assert len(await client.reader.readexactly(left)) == left


async def test_stream_whose_engine_is_silent_is_no_slow_reader(engine: FakeEngine) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    engine.script = steered(pieces)
    async with herd_of([engine], limits(write_s=0.2)) as herd, connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        pieces.put_nowait(event("1"))
        await client.head()
        await asyncio.sleep(0.8)
        pieces.put_nowait(DONE)
        pieces.put_nowait(b"")
        assert await client.chunks() == [event("1"), DONE]


async def test_connection_waits_for_its_next_request_as_long_as_the_config_says(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), keep_alive_s=0.4) as herd, connected(herd.port) as client:
        for _ in range(3):
            await asyncio.sleep(0.2)
            await client.send(MODELS)
            assert (await client.answer())[0] == 200
        assert await client.rest() == b""


async def test_address_with_too_many_connections_is_told_so(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), connections_per_address=3) as herd, contextlib.AsyncExitStack() as stack:
        kept = [await stack.enter_async_context(connected(herd.port)) for _ in range(3)]
        for client in kept:
            await client.send(MODELS)
            assert (await client.answer())[0] == 200
        async with connected(herd.port) as one_more:
            status, headers, body = await one_more.answer()
            assert (status, headers["connection"], headers["retry-after"]) == (429, "close", "1")
            assert b'"code":"too_many_connections"' in body
            await one_more.send(MODELS)
            assert await one_more.rest() == b""
        kept[0].hang_up()
        await until(lambda: len(herd.server._connections) == 2)
        async with connected(herd.port) as again:
            await again.send(MODELS)
            assert (await again.answer())[0] == 200


async def test_server_with_too_many_connections_says_so(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), connections=1) as herd, connected(herd.port) as client:
        await client.send(MODELS)
        assert (await client.answer())[0] == 200
        async with connected(herd.port) as one_more:
            assert (await one_more.answer())[0] == 503


async def test_flood_of_connections_above_the_bound_is_closed_without_a_word(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), connections_per_address=1) as herd, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connected(herd.port)) for _ in range(100)]
        said = []
        for client in clients[1:]:
            with contextlib.suppress(ConnectionError):
                said.append(await client.rest())
        assert sum(one.startswith(b"HTTP/1.1 429") for one in said) == 64
        assert len(herd.server._connections) <= 66


def has_both_loopbacks() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


async def hello(exchange: Exchange) -> None:
    exchange.reply(200, (), b"hello")


@contextlib.asynccontextmanager
async def serving(host: str, certificate: Certificate | None = None) -> AsyncIterator[int]:
    found = sockets(host, 0)
    listener = Listener(hello, found, Bounds(), 1, certificate)
    try:
        yield found[0].getsockname()[1]
    finally:
        await listener.stop()


@pytest.mark.skipif(not has_both_loopbacks(), reason="this machine has no ::1")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
async def test_loopback_is_both_of_its_addresses(host: str) -> None:
    async with serving(host) as port, httpx.AsyncClient(trust_env=False, verify=False, timeout=WAIT_S) as http:
        for address in ("127.0.0.1", "[::1]"):
            assert (await http.get(f"http://{address}:{port}/")).text == "hello"


@pytest.mark.skipif(not has_both_loopbacks(), reason="this machine has no ::1")
async def test_loopback_whose_other_address_is_taken_is_one_address() -> None:
    with socket.socket(socket.AF_INET6) as other:
        other.bind(("::1", 0))
        other.listen()
        port = other.getsockname()[1]
        found = sockets("127.0.0.1", port)
        assert [one.family for one in found] == [socket.AF_INET]
        found[0].close()


class Files:
    """A certificate of its own making, and its key."""

    def __init__(self, folder: Path) -> None:
        self.tls = Tls(certificate=str(folder / "tls.crt"), key=str(folder / "tls.key"))
        self.renew("first")

    def renew(self, name: str, key_too: bool = True) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        made = (
            made.serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
        )
        signed = made.add_extension(x509.SubjectAlternativeName(names), critical=False).sign(key, hashes.SHA256())
        Path(self.tls.certificate).write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        if key_too:
            plain = serialization.NoEncryption()
            text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
            Path(self.tls.key).write_bytes(text)

    def spoil(self) -> None:
        Path(self.tls.key).write_text("no key")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def shown(port: int) -> str:
    """The name in the certificate of a new connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=unverified())
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    return str(x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


async def test_gateway_speaks_tls_with_its_certificate(engine: FakeEngine, files: Files) -> None:
    engine.script = streams([event("1"), DONE])
    async with herd_of([engine], limits(), tls=files.tls.model_dump()) as herd:
        async with httpx.AsyncClient(trust_env=False, verify=trust(files.tls), timeout=WAIT_S) as http:
            answer = await http.post(f"https://127.0.0.1:{herd.port}/v1/chat/completions", json=asking(stream=True))
            assert (answer.status_code, answer.content) == (200, event("1") + DONE)
            refused = await http.post(f"https://127.0.0.1:{herd.port}/v1/chat/completions", content=b"x" * (65 << 20))
            assert refused.status_code == 415
        async with connected(herd.port) as plain:
            await plain.send(MODELS)
            with contextlib.suppress(ConnectionError):
                assert not (await plain.rest()).startswith(b"HTTP/1.1 200")


def unverified(newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = newest
    return context


@pytest.mark.parametrize(("newest", "spoken"), [(ssl.TLSVersion.TLSv1_1, False), (ssl.TLSVersion.TLSv1_2, True)])
async def test_old_tls_is_not_spoken(files: Files, newest: ssl.TLSVersion, spoken: bool) -> None:
    async with serving("127.0.0.1", Certificate(files.tls)) as port:
        with warnings.catch_warnings():  # this client may, whatever Python and OpenSSL think of it
            warnings.simplefilter("ignore", DeprecationWarning)
            context = unverified(newest)
            context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
        with contextlib.nullcontext() if spoken else pytest.raises((ssl.SSLError, ConnectionError)):
            _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            writer.close()


def slowly(port: int, size: int) -> int:
    """How many bytes come of an answer that a client of OpenSSL's own reads at 3 MiB a second at first, then as fast as it can."""
    found = 0
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as plain, unverified().wrap_socket(plain) as client:
        client.sendall(request(asking(), headers=("connection: close",)))
        while piece := client.recv(1 << 18):
            found += len(piece)
            if found < size // 3:  # for longer than the second or two that asyncio gives a connection that closes
                time.sleep(len(piece) / (3 << 20))
    return found


async def test_slow_reader_over_tls_gets_every_byte_of_a_connection_that_closes(engine: FakeEngine, files: Files) -> None:
    size = 24 << 20
    engine.script = answers(200, b"y" * size)
    async with herd_of([engine], limits(write_s=5), tls=files.tls.model_dump()) as herd:
        assert await asyncio.to_thread(slowly, herd.port, size) > size  # with the answer's head


async def test_reader_over_tls_that_takes_nothing_of_a_whole_answer_is_let_go(engine: FakeEngine, files: Files) -> None:
    engine.script = answers(200, b"y" * (24 << 20))
    async with herd_of([engine], limits(write_s=0.5), tls=files.tls.model_dump()) as herd:
        reader, writer = await asyncio.open_connection("127.0.0.1", herd.port, ssl=unverified(), limit=4096)
        writer.write(request(asking()))
        await reader.readuntil(b"\r\n\r\n")
        await until(lambda: not herd.server._connections)
        writer.transport.abort()


async def test_connections_without_their_handshake_count(files: Files) -> None:
    async with contextlib.AsyncExitStack() as stack:
        found = sockets("127.0.0.1", 0)
        listener = Listener(hello, found, Bounds(connections=2), 1, Certificate(files.tls))
        stack.push_async_callback(listener.stop)
        port = found[0].getsockname()[1]
        silent = [await stack.enter_async_context(connected(port)) for _ in range(100)]
        await until(lambda: sum(client.reader.at_eof() for client in silent) == 34)  # two may stay, and 64 are waited for to be told
        assert len(listener._connections) == 66
        for client in silent:
            client.hang_up()
        await until(lambda: not listener._connections)
        async with httpx.AsyncClient(trust_env=False, verify=unverified(), timeout=WAIT_S) as http:
            assert (await http.get(f"https://127.0.0.1:{port}/")).text == "hello"


async def test_handshake_that_does_not_end_is_given_up(files: Files) -> None:
    found = sockets("127.0.0.1", 0)
    listener = Listener(hello, found, Bounds(header_s=0.3), 1, Certificate(files.tls))
    try:
        async with connected(found[0].getsockname()[1]) as client:
            assert await client.rest() == b""
        await until(lambda: not listener._connections)
    finally:
        await listener.stop()


async def test_changed_certificate_is_shown_to_new_connections(files: Files) -> None:
    certificate = Certificate(files.tls)
    async with serving("127.0.0.1", certificate) as port:
        following = asyncio.create_task(certificate.follow(0.02))
        try:
            assert await shown(port) == "first"
            files.renew("half", key_too=False)  # the key comes a moment later
            await asyncio.sleep(0.2)
            assert await shown(port) == "first"
            files.renew("second")
            async with asyncio.timeout(WAIT_S):
                while await shown(port) != "second":
                    pass
            os.unlink(files.tls.key)
            await asyncio.sleep(0.2)
            assert await shown(port) == "second"
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


async def test_certificate_whose_files_did_not_do_is_read_again_though_they_did_not_change(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = Certificate(files.tls)
    before = certificate.context
    read, failed = certificate._read, 0

    def fails_twice() -> ssl.SSLContext:  # as when the key is changed between two looks at the files
        nonlocal failed
        failed += 1
        if failed < 3:
            raise UnusableFiles("half of it")
        return read()

    monkeypatch.setattr(certificate, "_read", fails_twice)
    files.renew("second")
    following = asyncio.create_task(certificate.follow(0.01))
    await until(lambda: failed == 2)
    assert certificate.context is before
    await until(lambda: certificate.context is not before)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def test_listener_that_no_longer_follows_its_certificate_is_not_well(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = Certificate(files.tls)

    async def defect() -> None:
        raise ValueError

    monkeypatch.setattr(certificate, "follow", defect)
    listener = Listener(hello, sockets("127.0.0.1", 0), Bounds(), 1, certificate)
    assert listener.alive
    await until(lambda: not listener.alive)
    await listener.stop()


async def test_files_that_cannot_be_used_are_named(files: Files, tmp_path: Path) -> None:
    other = Files(tmp_path)
    other.renew("other", key_too=False)
    with pytest.raises(UnusableFiles, match="do not belong together"):
        Certificate(files.tls)
    files.spoil()
    with pytest.raises(UnusableFiles, match="no certificate and key in PEM"):
        Certificate(files.tls)
    os.unlink(files.tls.key)
    with pytest.raises(UnusableFiles, match=r"tls\.key cannot be read: No such file"):
        Certificate(files.tls)


async def test_commands_trust_the_gateways_own_certificate_only(files: Files) -> None:
    assert trust(None) is True
    assert isinstance(trust(files.tls), ssl.SSLContext)
    os.unlink(files.tls.certificate)
    assert trust(files.tls) is True

"""Attacks over raw sockets: heads and bodies without end, readers that do not read, many connections, and framing that has two readings.

Each returns what is not as it must be. How many requests a stream of bytes has is `test_smuggling.py`'s.
"""

import asyncio
import contextlib
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from dataclasses import dataclass

from tests.hostile.case import saying

_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")
_HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
_GET = b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\n"
#: What a test waits beyond the gateway's own limits, on a machine that does other things as well.
SLACK_S = 10.0


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway, and how long it should wait for its clients."""

    port: int
    header_s: float = 10.0
    body_read_s: float = 30.0
    reader_s: float = 60.0
    """How long a client may take nothing of an answer."""
    many: int = 100
    """Connections of an attack that is made of many."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a connection got."""

    statuses: tuple[int, ...]
    raw: bytes
    closed: bool
    took_s: float


Attack = Callable[[Target], Coroutine[None, None, list[str]]]


@contextlib.asynccontextmanager
async def connected(port: int, limit: int = 1 << 16) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A bare connection to the gateway."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def said(port: int, pieces: Iterable[bytes], within_s: float, pause_s: float = 0.0) -> Said:
    """Sends pieces one after the other while the gateway takes them, and hears what it says until it closes or the time is over."""
    began = time.perf_counter()
    got = bytearray()
    closed = False
    async with connected(port) as (reader, writer):
        hearing = asyncio.create_task(_hear(reader, got))
        try:
            async with asyncio.timeout(within_s):
                with contextlib.suppress(ConnectionError):
                    for piece in pieces:
                        if hearing.done():
                            break
                        writer.write(piece)
                        await writer.drain()
                        await asyncio.sleep(pause_s)
                closed = await hearing
        except TimeoutError:
            hearing.cancel()
    statuses = tuple(int(found) for found in _STATUS.findall(got))
    return Said(statuses, bytes(got), closed, time.perf_counter() - began)


async def _hear(reader: asyncio.StreamReader, got: bytearray) -> bool:
    """Collects what comes, up to 4 MiB, until the other side closes."""
    with contextlib.suppress(ConnectionError):
        while (piece := await reader.read(1 << 16)) and len(got) < 4 << 20:
            got += piece
    return True


async def _refused(target: Target, name: str, pieces: Iterable[bytes], statuses: set[int], within_s: float | None = None) -> list[str]:
    """What is wrong where one connection should be told a status once, and be closed."""
    heard = await said(target.port, pieces, within_s or target.header_s + target.body_read_s + SLACK_S)
    wrong = []
    if len(heard.statuses) != 1 or heard.statuses[0] not in statuses:
        wrong.append(f"{name}: {heard.statuses or 'no answer'}, not one of {sorted(statuses)}: {heard.raw[:200]!r}")
    if not heard.closed:
        wrong.append(f"{name}: still open after {heard.took_s:.0f} s")
    return wrong


def _times(piece: bytes, mib: int) -> Iterable[bytes]:
    """A piece, over and over, in writes of 64 KiB."""
    block = piece * max(1, (1 << 16) // len(piece))
    return (block for _ in range((mib << 20) // len(block)))


async def head_of_many_fields(target: Target) -> list[str]:
    """100 MiB of short header fields in one head."""
    return await _refused(target, "100 MiB of fields", [_GET, *_times(b"a0001: b\r\n", 100), b"\r\n"], {400, 431})


async def head_of_one_field(target: Target) -> list[str]:
    """One header field of 71 MiB."""
    return await _refused(target, "a field of 71 MiB", [_GET + b"a: ", *_times(b"b", 71), b"\r\n\r\n"], {400, 431})


async def head_of_one_name(target: Target) -> list[str]:
    """A header's name of 16 MiB."""
    return await _refused(target, "a name of 16 MiB", [_GET, *_times(b"b", 16), b": x\r\n\r\n"], {400, 431})


async def head_of_a_path(target: Target) -> list[str]:
    """A path of 32 MiB."""
    return await _refused(target, "a path of 32 MiB", [b"GET /", *_times(b"a", 32), b" HTTP/1.1\r\nhost: x\r\n\r\n"], {400, 414, 431})


async def heads_behind_a_request(target: Target) -> list[str]:
    """A long head that comes pipelined, behind a request that is in order."""
    heard = await said(target.port, [_GET + b"\r\n" + _GET, *_times(b"a0001: b\r\n", 32), b"\r\n"], target.header_s + SLACK_S)
    right = heard.statuses[:1] == (200,) and set(heard.statuses[1:]) <= {400, 431} and heard.closed
    return [] if right else [f"pipelined: {heard.statuses}, {'closed' if heard.closed else 'open'}"]


async def trailers_without_end(target: Target) -> list[str]:
    """Trailers of 32 MiB behind a chunked body."""
    body = json.dumps(saying()).encode()
    chunks = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
    heard = await said(
        target.port,
        [_HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks, *_times(b"a: b\r\n", 32), b"\r\n"],
        target.body_read_s + SLACK_S,
    )
    return [] if set(heard.statuses) <= {200, 400, 408, 413, 431} and heard.closed else [f"trailers: {heard.statuses}, open"]


async def chunk_extension_without_end(target: Target) -> list[str]:
    """A chunk whose extension is 32 MiB."""
    pieces = [_HEAD + b"transfer-encoding: chunked\r\n\r\n1;", *_times(b"x", 32), b"\r\na\r\n0\r\n\r\n"]
    return await _refused(target, "a chunk extension of 32 MiB", pieces, {400, 408, 413, 431})


async def chunks_of_one_byte(target: Target) -> list[str]:
    """A body of a million chunks of one byte."""
    pieces = [_HEAD + b"transfer-encoding: chunked\r\n\r\n", *_times(b"1\r\nx\r\n", 6), b"0\r\n\r\n" + _GET + b"connection: close\r\n\r\n"]
    heard = await said(target.port, pieces, target.body_read_s + SLACK_S)
    return [] if heard.statuses[:1] in ((400,), (413,)) else [f"small chunks: {heard.statuses}"]


async def slow_heads(target: Target) -> list[str]:
    """Many heads that come a byte at a time."""
    slow = [bytes([byte]) for byte in _GET + b"x-a: " + b"b" * 1000]
    return await _all_end(target, slow, pause_s=0.5, within_s=target.header_s + SLACK_S, statuses={400, 408, 431})


async def no_heads(target: Target) -> list[str]:
    """Many connections that say nothing, or only empty lines."""
    return await _all_end(target, [b"\r\n"] * 10_000, pause_s=0.5, within_s=target.header_s + SLACK_S, statuses={400, 408})


async def slow_bodies(target: Target) -> list[str]:
    """Many bodies that come a byte at a time."""
    pieces = [_HEAD + b"content-length: 1000000\r\n\r\n", *[b"x"] * 10_000]
    return await _all_end(target, pieces, pause_s=0.5, within_s=target.body_read_s + SLACK_S, statuses={400, 408})


async def slow_chunks(target: Target) -> list[str]:
    """Many chunked bodies that never end."""
    pieces = [_HEAD + b"transfer-encoding: chunked\r\n\r\n", *[b"1\r\nx\r\n"] * 10_000]
    return await _all_end(target, pieces, pause_s=0.5, within_s=target.body_read_s + SLACK_S, statuses={400, 408})


async def _all_end(target: Target, pieces: list[bytes], pause_s: float, within_s: float, statuses: set[int]) -> list[str]:
    all_said = await asyncio.gather(*(said(target.port, pieces, within_s, pause_s) for _ in range(target.many)))
    still_open = sum(not one.closed for one in all_said)
    others = {status for one in all_said for status in one.statuses} - statuses
    return [f"{still_open} of {target.many} still open after {within_s:g} s"] * bool(still_open) + [f"told {others}"] * bool(others)


async def many_connections(target: Target) -> list[str]:
    """Ten times as many connections that do nothing, and one that asks."""
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(target.many * 10):
            await stack.enter_async_context(connected(target.port))
        heard = await said(target.port, [_GET + b"connection: close\r\n\r\n"], SLACK_S)
    return [] if heard.statuses == (200,) else [f"among {target.many * 10} others: {heard.statuses or 'no answer'}"]


async def pipelined_flood(target: Target) -> list[str]:
    """20,000 requests at once by one who reads no answer; then all answers are read."""
    count = 20_000
    async with connected(target.port) as (reader, writer):
        writer.write((_GET + b"\r\n") * (count - 1) + _GET + b"connection: close\r\n\r\n")
        await asyncio.sleep(1)
        got = bytearray()
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(60):
                while piece := await reader.read(1 << 20):
                    got += piece
    answers = len(_STATUS.findall(got))
    return [] if answers <= count else [f"{answers} answers to {count} requests"]


async def connections_that_break(target: Target) -> list[str]:
    """Requests whose client goes at every stage, by a reset."""
    body = json.dumps(saying(stream=True)).encode()
    whole = _HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    for cut in range(0, len(whole) + 1, 7):
        async with connected(target.port) as (_, writer):
            writer.write(whole[:cut])
            await writer.drain()
    return []


async def readers_that_do_not_read(target: Target) -> list[str]:
    """Streams of 32 MiB, of which nothing is read: they are let go, and their clients see the connection end."""
    body = json.dumps(saying(stream=True, seed=32)).encode()
    request = _HEAD + b"content-length: %d\r\n\r\n" % len(body) + body

    async def one() -> bool:
        async with connected(target.port, limit=1 << 10) as (reader, writer):
            writer.write(request)
            await reader.readuntil(b"\r\n")
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await asyncio.sleep(target.reader_s + SLACK_S)
            writer.transport.resume_reading()  # type: ignore[attr-defined]
            got = 0
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(SLACK_S):
                    while piece := await reader.read(1 << 20):
                        got += len(piece)
            return got < 32 << 20

    let_go = sum(await asyncio.gather(*(one() for _ in range(8))))
    return [] if let_go == 8 else [f"{8 - let_go} of 8 got the whole answer after {target.reader_s:g} s without reading"]


#: Heads whose end, or the end of whose body, can be read in two ways: one answer, and no more of that connection.
FRAMING: dict[str, bytes] = {
    "chunk-size": b"transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "chunk-size-signed": b"transfer-encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
    "chunk-size-huge": b"transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "chunk-size-space": b"transfer-encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
    "chunk-end": b"transfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "chunk-bare-lf": b"transfer-encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "te-xchunked": b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te-identity": b"transfer-encoding: identity\r\ncontent-length: 2\r\n\r\n{}",
    "te-gzip": b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "te-twice": b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-chunked-identity": b"transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "te-tab": b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "te-quoted": b'transfer-encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "te-and-length": b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    "length-and-te": b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "length-twice": b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "length-same-twice": b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "length-list": b"content-length: 2, 2\r\n\r\n{}",
    "length-signed": b"content-length: +2\r\n\r\n{}",
    "length-negative": b"content-length: -2\r\n\r\n{}",
    "length-hex": b"content-length: 0x2\r\n\r\n{}",
    "length-empty": b"content-length: \r\n\r\n{}",
    "length-huge": b"content-length: 99999999999999999999999\r\n\r\n{}",
    "length-underscore": b"content-length: 1_0\r\n\r\n{}",
    "host-twice": b"host: other\r\ncontent-length: 2\r\n\r\n{}",
    "host-same-twice": b"host: 127.0.0.1\r\ncontent-length: 2\r\n\r\n{}",
    "space-before-colon": b"content-length : 2\r\n\r\n{}",
    "folded": b"x: a\r\n b\r\ncontent-length: 2\r\n\r\n{}",
    "folded-length": b"content-length:\r\n 2\r\n\r\n{}",
    "nul": b"x: a\0b\r\ncontent-length: 2\r\n\r\n{}",
    "bare-cr": b"x: a\rb: c\r\ncontent-length: 2\r\n\r\n{}",
    "no-colon": b"x\r\ncontent-length: 2\r\n\r\n{}",
    "no-name": b": x\r\ncontent-length: 2\r\n\r\n{}",
}
#: Whole requests of the same kind.
LINES: dict[str, bytes] = {
    "host-none": b"GET /v1/models HTTP/1.1\r\nconnection: close\r\n\r\n",
    "version-2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version-3": b"GET / HTTP/3.0\r\nhost: x\r\n\r\n",
    "version-1.2": b"GET /v1/models HTTP/1.2\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
    "connect": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: 127.0.0.1:22\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 40 + b"\r\n\r\n",
    "garbage": b"\0\1\2\3\r\n\r\n",
    "only-method": b"GET\r\n\r\n",
}


async def framing(target: Target) -> list[str]:
    """Each of `FRAMING` and `LINES`: told once, and closed. What stands behind it is nobody's request."""
    behind = _GET + b"connection: close\r\n\r\n"
    requests = {name: _HEAD + rest for name, rest in FRAMING.items()} | LINES
    found = await asyncio.gather(
        *(_refused(target, name, [raw + behind], {400, 404, 405, 408, 413, 421, 431, 501, 505}) for name, raw in requests.items()),
    )
    return [one for wrong in found for one in wrong]


async def absolute_targets(target: Target) -> list[str]:
    """A target with a host of its own is judged by that host, whatever the header says."""
    raw = b"GET http://evil.example/-/status HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
    heard = await said(target.port, [raw], SLACK_S)
    return [] if heard.statuses and heard.statuses[0] in (400, 403, 421) else [f"absolute target: {heard.statuses}"]


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        head_of_many_fields,
        head_of_one_field,
        head_of_one_name,
        head_of_a_path,
        heads_behind_a_request,
        trailers_without_end,
        chunk_extension_without_end,
        chunks_of_one_byte,
        slow_heads,
        no_heads,
        slow_bodies,
        slow_chunks,
        many_connections,
        pipelined_flood,
        connections_that_break,
        readers_that_do_not_read,
        framing,
        absolute_targets,
    )
}

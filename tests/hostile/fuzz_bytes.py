"""A fuzzer over bytes: heads, bodies and chunks, mutated and cut, on raw sockets.

What must be true of each: no more answers than requests (h11 reads the same bytes for comparison), every answer is HTTP, the connection
ends in time, and how the network cuts the bytes changes no status. Everything follows from the seed.
"""

import asyncio
import contextlib
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import h11

#: Connections at once.
AT_ONCE = 64
#: The last request of every case, so that the connection ends behind it.
LAST = b"GET /v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) [ -~]*")
_FIELD = re.compile(rb"[A-Za-z0-9-]+: [ -~]*")

_BODY = b'{"model":"smollm2","max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}'
_STREAM = b'{"model":"smollm2","stream":true,"max_tokens":1,"messages":[{"role":"user","content":"Hi"}]}'
_PATHS = (b"/v1/chat/completions", b"/v1/completions", b"/tokenize", b"/v1/messages", b"/nothing", b"/health", b"/v1/models")
_FIELDS = (
    b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked", b"transfer-encoding: identity", b"Transfer-Encoding : chunked",
    b"transfer-encoding:\tchunked", b"transfer-encoding: chunked, chunked", b"content-length: 0", b"content-length: 5",
    b"content-length: +5",
    b"content-length: 5, 5", b"content-length: 99999999999999999999", b"content-length: ", b"connection: close",
    b"connection: keep-alive", b"connection: upgrade", b"upgrade: h2c", b"upgrade: websocket",
    b"Upgrade: foo\r\nconnection: Upgrade", b"expect: 100-continue",
    b"expect: x", b"host: other", b"host: ", b"trailer: x",
    b"x: " + b"y" * 300, b" folded", b"x", b"x\0: y", b"content-type: text/plain",
    b"content-encoding: gzip", b"origin: https://evil.example", b"cookie: a=b", b"x-request-id: \xff\xfe",
    b"content-length: 5\r\ncontent-length: 6",
)  # fmt: skip
_BYTES = (b"\r", b"\n", b"\r\n", b"\0", b":", b" ", b"\t", b";", b"/", b"%", b"\xff", b"0", b"\r\n\r\n", b"\r\nupgrade: x", b"\x0b", b",")


@dataclass(frozen=True, slots=True)
class Bytes:
    """One case: the pieces as they are sent, one after the other."""

    pieces: tuple[bytes, ...]

    @property
    def whole(self) -> bytes:
        """All of them."""
        return b"".join(self.pieces)


def case(seed: int) -> Bytes:
    """The case of a seed."""
    dice = random.Random(seed)
    requests = [_request(dice) for _ in range(dice.randint(1, 3))]
    data = b"".join(requests)
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        data = _mutated(dice, data)
    data += LAST
    cuts = sorted({_place(dice, data) for _ in range(dice.randint(1, 5))})
    return Bytes(tuple(data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True) if begin < end))


def _place(dice: random.Random, data: bytes) -> int:
    """Where to cut: often at or near the end of a line."""
    ends = [found.start() for found in re.finditer(rb"[\r\n:]", data)]
    return min(len(data), dice.choice(ends) + dice.randint(0, 2)) if ends and dice.random() < 0.7 else dice.randrange(len(data) + 1)


def _request(dice: random.Random) -> bytes:
    path, body = dice.choice(_PATHS), dice.choice((b"", _BODY, _BODY, _STREAM, b"{}", b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"))
    lines = [b"%b %b HTTP/1.%b" % (b"POST" if body else b"GET", path, dice.choice((b"1", b"1", b"1", b"1", b"0")))]
    lines += [b"host: 127.0.0.1", b"content-type: application/json"]
    lines += [dice.choice(_FIELDS) for _ in range(dice.choice((0, 0, 0, 1, 1)))]
    if body and dice.random() < 0.5:
        lines.append(b"transfer-encoding: chunked")
        body = _chunked(dice, body)
    elif body:
        lines.append(b"content-length: %d" % len(body))
    head = lines[1:]
    dice.shuffle(head)
    return b"\r\n".join([lines[0], *head, b"", body])


def _chunked(dice: random.Random, body: bytes) -> bytes:
    cut = dice.randrange(1, len(body))
    extension = dice.choice((b"", b"", b"", b";a=b", b';a="\r\n"', b" ", b";" + b"x" * 50))
    chunks = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in (body[:cut], body[cut:]))
    return chunks + dice.choice((b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\nx: y\r\n\r\n", b"0;a\r\n\r\n", b"0\r\nupgrade: x\r\n\r\n"))


_VERSIONS = (b"HTTP/1.0", b"HTTP/2.0", b"http/1.1", b"HTTP/1.1 ", b"HTTP/11")
_ENDS = (b"\n", b"\r", b"\r\r\n", b"\r\n ")


def _mutated(dice: random.Random, data: bytes) -> bytes:
    """Some bytes with one change: at a place, up to another one behind it, or to the first of something."""
    at = _place(dice, data)
    end = min(len(data), at + dice.randint(1, 30))
    changed = (
        data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :],
        data[:at] + data[end:],
        data[:at] + dice.choice(_BYTES) + data[at:],
        data[:end] + data[at:end] + data[end:],
        data.replace(b"\r\n", dice.choice(_ENDS), 1),
        data[:at] + b"\r\n" + dice.choice(_FIELDS) + data[at:],
        data.replace(b"\r\n\r\n", b"\r\n" + dice.choice(_FIELDS) + b"\r\n\r\n", 1),
        data.replace(b"HTTP/1.1", dice.choice(_VERSIONS), 1),
        data[:at],
    )
    return dice.choice(changed)


def requests_in(data: bytes) -> int:
    """The most answers that some bytes may get: one for each whole request, as h11 reads them, and one for what is none or not whole.

    Two things that h11 refuses are no fault: an empty line before a request (RFC 9112, section 2.2), and fields among the trailers that
    would say where a body ends, because trailers are dropped unread.
    """
    whole = 0
    while True:
        data = data.removeprefix(b"\r\n")
        try:
            rest = _behind_request(data)
        except h11.RemoteProtocolError as error:
            head, end, behind = data.partition(b"\r\n\r\n")
            if not re.search("Content-Length|Transfer-Encoding", str(error)) or not _FRAMING.search(behind):
                return whole + 1
            data = head + end + _FRAMING.sub(_renamed, behind, count=1)  # where it is in a chunk, the next turn has the trailer
            continue
        if rest is None:
            return whole + 1
        whole += 1
        if rest is _LAST_ONE:
            return whole
        data = rest


_FRAMING = re.compile(rb"\r\n(content-length|transfer-encoding)(?=:)", re.IGNORECASE)
_LAST_ONE = b"no more requests"


def _renamed(found: re.Match[bytes]) -> bytes:
    return b"\r\n" + b"x" * len(found[1])


def _behind_request(data: bytes) -> bytes | None:
    """The bytes behind the first request; `_LAST_ONE` where the connection ends with it, None where it is not whole.

    Raises:
        h11.RemoteProtocolError: it is none.
    """
    reading = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    if data:  # without any it would mean that the connection has ended
        reading.receive_data(data)
    while not isinstance(event := reading.next_event(), h11.EndOfMessage):
        if event is h11.NEED_DATA or event is h11.PAUSED:
            return None
    reading.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
    reading.send(h11.EndOfMessage())
    return bytes(reading.trailing_data[0]) if reading.our_state is h11.DONE else _LAST_ONE


class NotHttp(Exception):
    """An answer that is not HTTP; the message says where."""


def answers_in(raw: bytes) -> list[int]:
    """The statuses of the answers in some bytes, the last of which may have been cut off by a reset.

    Raises:
        NotHttp: something else stands there.
    """
    found, at = [], 0
    while at < len(raw):
        end = raw.find(b"\r\n\r\n", at)
        if end < 0:
            raise NotHttp(f"no head: {raw[at : at + 100]!r}")
        line, *fields = raw[at:end].split(b"\r\n")
        status = _LINE.fullmatch(line)
        if not status or not all(_FIELD.fullmatch(one) for one in fields):
            raise NotHttp(f"head: {raw[at:end]!r}")
        headers = {name.lower(): value for name, _, value in (one.partition(b": ") for one in fields)}
        if len(headers) != len(fields):
            raise NotHttp(f"a field twice: {raw[at:end]!r}")
        at = end + 4
        if int(status[1]) >= 200:
            found.append(int(status[1]))
            at = _behind(raw, at, headers)
    return found


def _behind(raw: bytes, at: int, headers: dict[bytes, bytes]) -> int:
    """Where an answer's body ends."""
    if b"content-length" in headers:
        return at + int(headers[b"content-length"])
    if b"transfer-encoding" not in headers:
        return len(raw)
    while True:
        end = raw.find(b"\r\n", at)
        if end < 0 or not re.fullmatch(rb"[0-9a-f]+", raw[at:end]):
            raise NotHttp(f"a chunk: {raw[at : at + 50]!r}")
        size = int(raw[at:end], 16)
        at = end + 2 + size + 2
        if not size:
            return at


@dataclass(slots=True)
class Found:
    """What a run has found."""

    cases: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


async def run(port: int, first: int, count: int, within_s: float) -> Found:
    """Sends each case twice: in one piece, and cut."""
    found, gate = Found(), asyncio.Semaphore(AT_ONCE)

    async def one(seed: int) -> None:
        async with gate:
            await _both(port, seed, within_s, found)

    for begin in range(first, first + count, 1_000):
        await asyncio.gather(*(one(seed) for seed in range(begin, min(begin + 1_000, first + count))))
    return found


async def _both(port: int, seed: int, within_s: float, found: Found) -> None:
    sent = case(seed)
    most = requests_in(sent.whole)
    heard = []
    for pieces in ((sent.whole,), sent.pieces):
        raw, took_s, ended = await _sent(port, pieces, within_s)
        found.cases += 1
        found.slowest_s = max(found.slowest_s, took_s)
        found.wrong += [f"{seed}: {one}" for one in _wrong(raw, most, ended)]
        with contextlib.suppress(NotHttp):
            heard.append(answers_in(raw))
            found.statuses.update(heard[-1])
    # A request may be refused before its body is there; the connection then ends behind the refusal.
    if len(heard) == 2 and any(one != other for one, other in zip(*heard, strict=False)):
        found.wrong.append(f"{seed}: {heard[0]} in one piece, {heard[1]} when cut")


def _wrong(raw: bytes, most: int, ended: bool) -> Iterator[str]:
    if not ended:
        yield f"hangs after {raw[-100:]!r}"
        return
    try:
        statuses = answers_in(raw)
    except NotHttp as error:
        yield str(error)
        return
    if len(statuses) > most:
        yield f"{len(statuses)} answers {statuses} to {most} requests"
    if not statuses:
        yield "no answer"
    yield from (f"status {status}" for status in statuses if status >= 500 and status not in (501, 505))


async def _sent(port: int, pieces: tuple[bytes, ...], within_s: float) -> tuple[bytes, float, bool]:
    """What comes back until the connection ends; how long that took; and whether it ended in time."""
    began, loop = time.perf_counter(), asyncio.get_running_loop()
    got = bytearray()
    with socket.socket() as connection:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            async with asyncio.timeout(within_s):
                await loop.sock_connect(connection, ("127.0.0.1", port))
                with contextlib.suppress(ConnectionError):  # closed before all was sent: what was said can be read all the same
                    for number, piece in enumerate(pieces):
                        await asyncio.sleep(0.002 if number else 0)
                        await loop.sock_sendall(connection, piece)
                with contextlib.suppress(ConnectionError):
                    while piece := await loop.sock_recv(connection, 1 << 16):
                        got += piece
                return bytes(got), time.perf_counter() - began, True
        except TimeoutError:
            return bytes(got), time.perf_counter() - began, False

"""Streams of HTTP requests for tests of their framing, well formed and damaged, and what two readers find in them."""

from collections.abc import Iterable
from dataclasses import dataclass

import h11
from hypothesis import strategies as st

from deployments.wire.client.request_framing import RequestReader
from deployments.wire.client.request_head import Head
from deployments.wire.client.unreadable import Unreadable


@dataclass(frozen=True)
class Found:
    """What a reader made of a stream."""

    requests: tuple[tuple[bytes, bytes, bytes], ...]
    """Method, target and body of each whole request."""
    refused: int = 0
    """The status that the stream was refused with; 0 where it was not."""
    closed: bool = False
    """The last request is the connection's last."""
    strict: bool = False
    """It was refused for what our reader takes on purpose: an empty line before a request (RFC 9112, section 2.2), or framing fields among
    the trailers, which are dropped unread."""


class _Asking:
    """Asks our reader as a connection does."""

    def __init__(self) -> None:
        self.reader = RequestReader()
        self.requests: list[tuple[bytes, bytes, bytes]] = []
        self.closed = False
        self._head: Head | None = None
        self._body = b""

    def step(self) -> bool:
        """Reads a head or a piece of a body; whether there may be more to read."""
        if self._head is None:
            self._head, self._body = self.reader.head(), b""
        if self._head is not None and not self.reader.whole:
            self._body += self.reader.body()
        if self._head is None or not self.reader.whole:
            return False
        self.requests.append((self._head.method.encode(), self._head.target, self._body))
        self.closed, self._head = self._head.closes, None
        return not self.closed


def ours(pieces: Iterable[bytes]) -> Found:
    """What our reader finds in bytes that arrive in these pieces."""
    asking = _Asking()
    for piece in pieces:
        asking.reader.feed(piece)
        try:
            while asking.step():
                pass
        except Unreadable as error:
            return Found(tuple(asking.requests), refused=error.status)
        if asking.closed:
            break
    return Found(tuple(asking.requests), closed=asking.closed)


def reference(data: bytes) -> Found:
    """What h11 finds."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18)
    requests: list[tuple[bytes, bytes, bytes]] = []
    connection.receive_data(data)
    method = target = body = b""
    began = False
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            in_trailers = began and any(name in str(error) for name in ("Content-Length", "Transfer-Encoding"))
            strict = in_trailers or "no request line received" in str(error)
            return Found(tuple(requests), refused=error.error_status_hint, strict=strict)
        if isinstance(event, h11.Request):
            method, target, body, began = event.method, event.target, b"", True
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            requests.append((method, target, body))
            began = False
            connection.send(h11.Response(status_code=200, headers=[(b"content-length", b"0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is h11.MUST_CLOSE:
                return Found(tuple(requests), closed=True)
            connection.start_next_cycle()
        else:
            return Found(tuple(requests))


_NAMES = st.sampled_from(["accept", "x-a", "User-Agent", "X-Request-Id", "cookie", "Authorization", "x-stainless-os"])
_VALUES = st.text("abcXYZ019 ,;=/\"'()%", max_size=12).map(str.strip)
_OFFERS = st.sampled_from(
    [
        [],
        [],
        [],
        ["connection: Upgrade", "upgrade: foo"],
        ["connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "http2-settings: AAMAAABkAAQBAAAAAAIAAAAA"],
        ["connection: close"],
        ["upgrade: websocket"],
    ]
)
_TARGETS = st.sampled_from(["/", "/v1/models", "/v1/chat/completions?a=b", "/a%20b", "/-/status"])
#: Bodies that a reader which lost its place would take for something else.
_BODIES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [
            b"GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
            b"\r\nupgrade:zzz",
            b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n",
            b"\r\n\r\n",
            b"\r\nupgrade: foo\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        ]
    ),
)
_EXTENSIONS = st.sampled_from([b"", b"", b";a", b";a=b", b';a="b c"'])
_TRAILERS = st.sampled_from([b"", b"", b"x-sum: 1\r\n", b"content-length: 5\r\n", b"upgrade: foo\r\nx: y\r\n"])


@st.composite
def _requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "HEAD"]))
    lines = [f"{method} {draw(_TARGETS)} HTTP/1.1", "Host: herd", *draw(_OFFERS)]
    lines += [f"{name}: {value}" for name, value in draw(st.lists(st.tuples(_NAMES, _VALUES), max_size=3))]
    content = draw(_BODIES)
    framing = draw(st.sampled_from(["none", "length", "chunked"]))
    if framing == "length":
        lines.append(f"Content-Length: {len(content)}")
    if framing == "chunked":
        lines.append(draw(st.sampled_from(["Transfer-Encoding: chunked", "transfer-encoding: Chunked"])))
    head = "\r\n".join([*lines, "", ""]).encode()
    if framing == "none":
        return head
    return head + (content if framing == "length" else draw(_chunked(content)))


@st.composite
def _chunked(draw: st.DrawFn, content: bytes) -> bytes:
    size = draw(st.integers(1, 20))
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    chunks = [b"%x%b\r\n%b\r\n" % (len(piece), draw(_EXTENSIONS), piece) for piece in pieces]
    return b"".join(chunks) + b"0%b\r\n%b\r\n" % (draw(_EXTENSIONS), draw(_TRAILERS))


#: A few requests behind each other.
STREAMS = st.lists(_requests(), min_size=1, max_size=4).map(b"".join)

_DAMAGE = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"+",
        b"-",
        b"0x",
        b"_",
        b";",
        b"\x0b",
        b"\x80",
        b"0",
        b"f",
        b",",
        b"#",
        b"\r\nupgrade: h2c",
        b"\r\nTransfer-Encoding: chunked",
        b"\r\ntransfer-encoding: gzip, chunked",
        b"\r\ntransfer-encoding:\x0bchunked",
        b"\r\ncontent-length: 3",
        b"\r\ncontent-length: +3",
        b"\r\ncontent-length : 3",
        b"\r\nhost: other",
        b"\r\n folded",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"CONNECT ",
    ]
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A stream with one to three places changed: bytes put in, taken out or replaced."""
    data = draw(STREAMS)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        out = draw(st.integers(0, 3))
        data = data[:at] + draw(st.one_of(_DAMAGE, st.just(b""), st.binary(min_size=1, max_size=2))) + data[at + out :]
    return data

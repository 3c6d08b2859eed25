"""Reads the requests of one connection from its bytes; does no I/O.

Decides where a request begins and ends (RFC 9112). A head is collected up to its empty line, bounded, and only then parsed, by llhttp.
No byte is ever changed or skipped. How the network cuts the bytes makes no difference: every head of a connection, pipelined ones too,
and every body get the same checks.
"""

import re
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from deployments.wire.client.chunked_body import ChunkedBody
from deployments.wire.client.unreadable import Unreadable

MOST_HEAD_BYTES = 64 << 10
MOST_FIELDS = 100
MOST_LINE_BYTES = 16 << 10
"""Of the request's first line."""

MOST_LENGTH_DIGITS = 18

# llhttp alone would take more than one space between the line's parts.
_LINE = re.compile(rb"([A-Z-]{1,24}) [!-~]+ HTTP/1\.([01])\r\n")
_HOST = re.compile(rb"[!$%&'()*+,\-.0-9:;=A-Z\[\]_a-z~]*")


class Head:
    """A request's head. Also takes what llhttp finds in it."""

    __slots__ = ("_whole", "chunked", "closes", "expects_continue", "headers", "length", "method", "old", "target")

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        """Path and query, as they came."""
        self.headers: dict[bytes, bytes] = {}
        """Values by name in lower case; those of a repeated name are joined by commas."""
        self.length = 0
        """Of the body, as `content-length` announces it."""
        self.chunked = False
        self.closes = False
        """No other request is read from the connection."""
        self.old = False
        """HTTP/1.0."""
        self.expects_continue = False
        self._whole = False

    def on_url(self, url: bytes) -> None:
        """Called by llhttp."""
        self.target = url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Called by llhttp."""
        name, value = name.lower(), value.rstrip(b" \t")
        if name in self.headers:
            value = self.headers[name] + b", " + value
        self.headers[name] = value

    def on_headers_complete(self) -> None:
        """Called by llhttp."""
        self._whole = True

    def parse(self, data: bytes) -> None:
        """Reads a whole head.

        Raises:
            Unreadable: it is none, or the end of its request cannot be known for sure.
        """
        line = _LINE.match(data)
        if line is None or line[1] == b"CONNECT":
            raise Unreadable("The request must begin with a method, a path and HTTP/1.1. This server is no proxy.")
        self.method, self.old = line[1].decode("ascii"), line[2] == b"0"
        try:
            HttpRequestParser(self).feed_data(data)
        except HttpParserUpgrade:  # an offer, which is not taken
            self.closes = True
        except HttpParserError as error:
            self._frame()  # which may have more to say
            raise Unreadable(f"The request is not valid HTTP: {error}.") from error
        if not self._whole:
            raise Unreadable("The request's head ends too early.")
        self._frame()
        self._persist()
        if not self.target.startswith(b"/"):
            self._absolute()
        self._check_host()

    def _frame(self) -> None:
        """Where the body ends. Two ways to say so, or one said twice, may be understood differently by whatever stands in front."""
        length, encoding = self.headers.get(b"content-length"), self.headers.get(b"transfer-encoding")
        if encoding is not None:
            if encoding.lower() != b"chunked":
                raise Unreadable("The only transfer-encoding that this server reads is chunked.", 501)
            if length is not None or self.old:
                raise Unreadable("A request with transfer-encoding has no content-length, and is of HTTP/1.1.")
            self.chunked = True
        elif length is not None:
            if not length.isdigit() or len(length) > MOST_LENGTH_DIGITS:
                raise Unreadable("The header content-length must be one number.")
            self.length = int(length)

    def _persist(self) -> None:
        connection = self.headers.get(b"connection")
        if self.old or b"upgrade" in self.headers:
            self.closes = True
        elif connection is not None and connection != b"keep-alive":
            self.closes = self.closes or b"close" in [option.strip() for option in connection.lower().split(b",")]
        if b"expect" in self.headers:
            self.expects_continue = not self.old and self.headers[b"expect"].lower() == b"100-continue"

    def _absolute(self) -> None:
        """A target that names its host, as it is sent to a proxy: the name counts, not the header's (RFC 9112, section 3.2.2)."""
        if self.target == b"*":
            return
        try:
            url = urlsplit(self.target)
        except ValueError as error:
            raise Unreadable("The request's target is no URL.") from error
        if not url.netloc or url.scheme not in (b"http", b"https"):
            raise Unreadable("The request's target must be a path.")
        if b"host" in self.headers:
            self.headers[b"host"] = url.netloc
        self.target = (url.path or b"/") + (b"?" + url.query if url.query else b"")

    def _check_host(self) -> None:
        host = self.headers.get(b"host")
        if host is None and self.old:
            return
        if host is None or not _HOST.fullmatch(host):
            raise Unreadable("A request must have one header host, with a host's name.")


class RequestReader:
    """The bytes of one connection, and how far they have been read."""

    __slots__ = ("_body", "_buffer", "_left", "_looked_at", "_skipped", "whole")

    def __init__(self) -> None:
        self.whole = True
        """The last request's body has been read to its end. Only then may the next head be asked for."""
        self._buffer = b""
        self._looked_at = 0
        self._skipped = False
        self._left = 0
        self._body: ChunkedBody | None = None

    @property
    def held(self) -> int:
        """Bytes that have not been read."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Takes what has arrived."""
        self._buffer = self._buffer + data if self._buffer else data

    def head(self) -> Head | None:
        """The next request's head; none while it is not complete.

        Raises:
            Unreadable: the bytes are no head, or one that is too large.
        """
        buffer = self._buffer
        if not (buffer and 65 <= buffer[0] <= 90):  # the first letter of a method
            if not self._begins():
                return None
            buffer = self._buffer
        end = buffer.find(b"\r\n\r\n", max(self._looked_at - 3, 0)) + 4
        if end < 4:
            _check(buffer)
            self._looked_at = len(buffer)
            return None
        data = buffer if end == len(buffer) else buffer[:end]
        lines = _check(data)
        if data.count(b"\r") != lines:
            raise Unreadable("The request has a line break that is not CR LF.")
        if lines - 2 > MOST_FIELDS:
            raise Unreadable(f"The request has more than {MOST_FIELDS} headers.", 431)
        head = Head()
        head.parse(data)
        self._buffer = buffer[end:]
        self._looked_at, self._skipped = 0, False
        self._left, self._body = head.length, ChunkedBody() if head.chunked else None
        self.whole = not (head.length or head.chunked)
        return head

    def _begins(self) -> bool:
        """Whether a request has begun. One empty line before it is allowed (RFC 9112, section 2.2)."""
        buffer = self._buffer
        if not self._skipped and buffer[:2] == b"\r\n":
            self._skipped = True
            self._buffer = buffer = buffer[2:]
        if not buffer or (buffer == b"\r" and not self._skipped):
            return False
        if not 65 <= buffer[0] <= 90:
            raise Unreadable("The request does not begin with an HTTP method.")
        return True

    def body(self) -> bytes:
        """Takes the part of the last request's body that has come; `whole` says whether that was its end.

        Raises:
            Unreadable: the bytes are no chunked body.
        """
        buffer = self._buffer
        if self._body is not None:
            piece, end = self._body.take(buffer)
            self._buffer, self.whole = buffer[end:], self._body.whole
            return piece
        if len(buffer) == self._left:  # all of it and nothing behind it, as mostly
            self._buffer, self._left, self.whole = b"", 0, True
            return buffer
        piece = buffer if len(buffer) <= self._left else buffer[: self._left]
        self._buffer = buffer[len(piece) :]
        self._left -= len(piece)
        self.whole = not self._left
        return piece


def _check(data: bytes) -> int:
    """Refuses a head, or the beginning of one, by its size and its line breaks: what is wrong first counts, wherever the network cut.

    Returns:
        The number of its lines.
    """
    if len(data) > MOST_LINE_BYTES and data.find(b"\n", 0, MOST_LINE_BYTES) < 0:
        raise Unreadable(f"The request's first line is longer than {MOST_LINE_BYTES >> 10} KiB.", 414)
    read = data[:MOST_HEAD_BYTES]
    lines = read.count(b"\r\n")
    if read.count(b"\n") != lines:
        raise Unreadable("The request has a line break that is not CR LF.")
    if len(data) > MOST_HEAD_BYTES:
        raise Unreadable(f"The request's head is larger than {MOST_HEAD_BYTES >> 10} KiB.", 431)
    return lines

"""One request's head: what llhttp finds in it, checked.

Decides which heads are refused: those whose request might end elsewhere for whoever stands in front, and those that name no host.
"""

import re
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from deployments.wire.client.once import Once
from deployments.wire.client.unreadable import Unreadable

MOST_LENGTH_DIGITS = 18

# llhttp alone would take more than one space between the line's parts.
_LINE = re.compile(rb"([A-Z-]{1,24}) [!-~]+ HTTP/1\.([01])\r\n")
_HOST = re.compile(rb"[!$%&'()*+,\-.0-9:;=A-Z\[\]_a-z~]*")


class Head:
    """A request's head. Also takes what llhttp finds in it."""

    __slots__ = (
        "_whole", "chunked", "closes", "expects_continue", "headers", "length", "method", "old", "once", "path", "query", "target"
    )  # fmt: skip

    def __init__(self) -> None:
        self.method = ""
        self.target = b""
        """Path and query, as they came."""
        self.path = ""
        self.query = b""
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
        self.once = Once()
        """Keeps a value that a reader has made of the head, whatever its length is: one for all heads that repeat it."""

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
        path, _, self.query = self.target.partition(b"?")
        self.path = path.decode("latin-1")

    def with_length(self, digits: bytes) -> "Head":
        """Returns this head with another length of its body."""
        return Head().as_in(self, digits)

    def as_in(self, head: "Head", digits: bytes) -> "Head":
        """Takes over what another head has, but for the length of the body; returns itself."""
        self.method, self.target, self.path, self.query = head.method, head.target, head.path, head.query
        self.headers = {**head.headers, b"content-length": digits}
        self.length = int(digits)
        self.closes, self.old, self.expects_continue = head.closes, head.old, head.expects_continue
        self.once = head.once
        return self

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

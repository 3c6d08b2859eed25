"""Reads the requests of one connection from its bytes; does no I/O.

Decides where a request begins and ends (RFC 9112). A head is collected up to its empty line, bounded, and only then parsed, by llhttp.
No byte is ever changed or skipped. How the network cuts the bytes makes no difference: every head of a connection, pipelined ones too,
and every body get the same checks. Only a head that repeats the one before it, but for the length of its body, has had them already.
"""

from deployments.wire.client.chunked_body import ChunkedBody
from deployments.wire.client.repeated_head import RepeatedHead
from deployments.wire.client.request_head import Head
from deployments.wire.client.unreadable import Unreadable

MOST_HEAD_BYTES = 64 << 10
MOST_FIELDS = 100
MOST_LINE_BYTES = 16 << 10
"""Of the request's first line."""


class RequestReader:
    """The bytes of one connection, and how far they have been read."""

    __slots__ = ("_body", "_buffer", "_last", "_left", "_looked_at", "_skipped", "whole")

    def __init__(self) -> None:
        self.whole = True
        """The last request's body has been read to its end. Only then may the next head be asked for."""
        self._buffer = b""
        self._last: RepeatedHead | None = None
        """The last head, where it may come again."""
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
        if self._last is not None and (known := self._last.again(self._buffer)) is not None:
            head, end = known
        elif (found := self._new()) is not None:
            head, end = found
        else:
            return None
        self._buffer = self._buffer[end:]
        self._looked_at, self._skipped = 0, False
        self._left, self._body = head.length, ChunkedBody() if head.chunked else None
        self.whole = not (head.length or head.chunked)
        return head

    def _new(self) -> tuple[Head, int] | None:
        """Returns a head that has to be parsed, and where it ends; None while it is not complete."""
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
        self._last = RepeatedHead.of(data, head)
        return head, end

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

"""Reads a body of `transfer-encoding: chunked` from bytes, strictly (RFC 9112, section 7.1).

Decides where the body ends. Every byte is either accepted or refused when it arrives, so the result does not depend on how the network
cuts the bytes.
"""

import re
from collections.abc import Callable
from typing import cast

from deployments.wire.client.unreadable import Unreadable

#: Bytes of all trailer fields together, and how many there may be. They are read and dropped.
MOST_TRAILER_BYTES, MOST_TRAILERS = 8192, 32
#: Bytes of chunk sizes and extensions that may come in one go beyond a quarter of the content. Tiny chunks cost a microsecond each, so
#: that this is some 15 ms of work. It is counted by chunks, so that it does not matter how the network cuts them; content that came long
#: before makes no more room.
MOST_FRAMING_BYTES = 64 << 10

# A size has hexadecimal digits only: no sign, prefix or space, and no line break but CR LF.
_EXTENSION = rb";[\t -~\x80-\xff]{0,255}"
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:" + _EXTENSION + rb")?\r\n")
_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,16}|[0-9A-Fa-f]{1,16}(?:" + _EXTENSION + rb")?\r?")
_TOKEN = rb"[!#-'*+\-.^_`|~0-9A-Za-z]"
_TRAILER = re.compile(rb"(" + _TOKEN + rb"+:[\t -~\x80-\xff]*)?\r\n")
_TRAILER_BEGUN = re.compile(rb"\r?|" + _TOKEN + rb"*|" + _TOKEN + rb"+:[\t -~\x80-\xff]*\r?")


#: Reads the next part of a body: from bytes and a position in them to the position behind it; content is appended to the list.
_Turn = Callable[["ChunkedBody", bytes, int, list[bytes]], int]


class ChunkedBody:
    """The state of one chunked body."""

    __slots__ = ("_framing", "_left", "_trailer_bytes", "_trailers", "_turn", "whole")

    def __init__(self) -> None:
        self.whole = False
        """The body's last byte has been read."""
        self._turn: _Turn = ChunkedBody._size
        self._left = 0
        self._framing = self._trailers = self._trailer_bytes = 0

    def take(self, data: bytes) -> tuple[bytes, int]:
        """Reads as much as it can.

        Args:
            data: bytes of the connection that begin where the last call ended.

        Returns:
            The content found, and how many bytes of `data` were read. Those behind must come again, with more behind them.

        Raises:
            Unreadable: the bytes are no chunked body.
        """
        pieces: list[bytes] = []
        at, before = 0, -1
        while not self.whole and at > before:
            before = at
            at = self._turn(self, data, at, pieces)
        return b"".join(pieces), at

    def _size(self, data: bytes, at: int, _pieces: list[bytes]) -> int:
        found = _SIZE.match(data, at)
        if found is None:
            if _SIZE_BEGUN.fullmatch(data, at):
                return at
            raise Unreadable("A chunk of the body has a size that is not hexadecimal digits and a line break.")
        self._left = int(found[1], 16)
        self._framing = max(0, self._framing + found.end() - at + 2 - self._left // 4)
        if self._framing > MOST_FRAMING_BYTES:
            raise Unreadable("The body has many chunks of a few bytes. Send larger chunks.")
        self._turn = cast(_Turn, ChunkedBody._data if self._left else ChunkedBody._trailer)
        return found.end()

    def _data(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        behind = at + self._left
        if data[behind : behind + 2] == b"\r\n":  # a whole chunk, and most are
            pieces.append(data[at:behind])
            self._left = 0
            self._turn = ChunkedBody._size
            return behind + 2
        end = min(at + self._left, len(data))
        if end > at:
            pieces.append(data[at:end])
            self._left -= end - at
        if not self._left:
            self._turn = ChunkedBody._end_of_chunk
        return end

    def _end_of_chunk(self, data: bytes, at: int, _pieces: list[bytes]) -> int:
        found = data[at : at + 2]
        if found == b"\r\n":
            self._turn = ChunkedBody._size
            return at + 2
        if found in (b"", b"\r"):
            return at
        raise Unreadable("A chunk of the body is not as long as its size says.")

    def _trailer(self, data: bytes, at: int, _pieces: list[bytes]) -> int:
        found = _TRAILER.match(data, at)
        if found is None and not _TRAILER_BEGUN.fullmatch(data, at):
            raise Unreadable("A trailer behind the body is not a header field.")
        end = len(data) if found is None else found.end()
        if self._trailer_bytes + end - at > MOST_TRAILER_BYTES or self._trailers > MOST_TRAILERS:
            raise Unreadable("The trailers behind the body are too large.", 431)
        if found is None:
            return at
        self._trailers += 1
        self._trailer_bytes += end - at
        self.whole = found[1] is None
        return end

"""Knows a head again that came before on the same connection: a client's requests differ in their bodies, and so in the length of these.

Decides what is the same: every byte but the digits of `content-length`. Such a head needs no second look, for all that the first one was
checked for holds for it too.
"""

import re

from deployments.wire.client.request_head import MOST_LENGTH_DIGITS, Head

#: A connection keeps no longer head than this.
MOST_KEPT_BYTES = 4 << 10
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)", re.IGNORECASE)


class RepeatedHead:
    """A head, in the bytes before and behind the digits of its length."""

    __slots__ = ("_after", "_before", "_digits", "_head")

    def __init__(self, data: bytes, begin: int, end: int, head: Head) -> None:
        """Args:
        data: the whole head.
        begin: where the digits begin.
        end: where they end.
        head: what was read of it.
        """
        self._before, self._digits, self._after = data[:begin], data[begin:end], data[end:]
        self._head = head

    @classmethod
    def of(cls, data: bytes, head: Head) -> "RepeatedHead | None":
        """Returns what knows a head again; None where it should not be kept.

        Args:
            data: the whole head, which is one.
            head: what was read of it.
        """
        if not head.length or head.closes or len(data) > MOST_KEPT_BYTES:
            return None
        found = _LENGTH.search(data)
        return None if found is None else cls(data, found.start(1), found.end(1), head)

    def again(self, buffer: bytes) -> tuple[Head, int] | None:
        """Returns the head with which these bytes begin, and where it ends; None where it is another one, or not whole."""
        if not buffer.startswith(self._before):
            return None
        begin, after = len(self._before), self._after
        end = buffer.find(after, begin, begin + MOST_LENGTH_DIGITS + len(after))
        digits = buffer[begin:end]
        if end < 0 or not digits.isdigit():
            return None
        return (self._head if digits == self._digits else self._head.with_length(digits)), end + len(after)

"""How much a JSON text would become once it is decoded, found before anything is built.

Decides over bytes, piece by piece. Lists, objects and strings are what takes memory and time: 64 MiB of `[],[],…` are 21 million lists and
stop a process for ten seconds. Text and images hardly count, however long they are. Most numbers are quick too, but the decoder takes
10 µs for `5e-324`, and as long for every 300 digits of a long number: 64 KiB of these took 70 ms.
"""

from collections.abc import Iterator

#: Lists and objects that may always stand inside each other. The count is not exact: between 64 and 160 levels it depends on where the
#: pieces end, beyond that a text is always too deep. Python's decoder, in the engines, gives up at about 900.
DEEPEST = 64
#: Those that a text which passed has at most.
DEEPEST_OF_ALL = 160
_STRUCTURE = b"[]{},"
_OTHERS = bytes(set(range(256)) - set(_STRUCTURE))
_SEPARATOR = b","
#: All digits become the same one, so that a long number is found by a search for its first 300.
_DIGITS = bytes.maketrans(b"123456789", b"000000000")
_LONG = b"0" * 300
#: Numbers of a text that are never too many, however long each takes.
FEW_NUMBERS = 2000


class Structure:
    """Counts what stands outside of strings."""

    def __init__(self) -> None:
        self.built = 0
        """Lists, objects and strings so far."""
        self.separators = 0
        """Commas so far: one less than the values of each list and object."""
        self.escapes = 0
        """Backslashes so far: a decoder takes ten times as long for what is written with them."""
        self.slow_numbers = 0
        """Numbers with an exponent so far, and 300 digits of others."""
        self.outside = 0
        """Bytes so far that stand in no string: numbers, spaces and what separates them."""
        self.longest = 0
        """Bytes of the longest string, about, where it is longer than a piece."""
        self.too_deep = False
        self._inside = False
        self._run = 0
        self._open = b""

    def feed(self, piece: bytes) -> None:
        """Counts one more piece, which does not end inside an escape sequence; see `pieces`."""
        escapes = piece.count(b"\\")
        if escapes:
            self.escapes += escapes
            piece = piece.replace(b"\\\\", b"").replace(b'\\"', b"")
        segments = piece.split(b'"')
        plain = b"".join(segments[1::2] if self._inside else segments[::2])
        self._count_numbers(plain)
        outside = plain.translate(None, _OTHERS)
        quotes = len(segments) - 1
        self._measure(segments)
        self.built += (quotes + (not self._inside)) // 2 + outside.count(b"[") + outside.count(b"{")
        self._inside ^= bool(quotes & 1)
        self.separators += outside.count(_SEPARATOR)
        self._open = self._closed(self._open + outside.replace(_SEPARATOR, b""))

    def _count_numbers(self, plain: bytes) -> None:
        """Counts what is slow to decode; a word or a long number that is cut in two may count as one more or less."""
        self.outside += len(plain)
        exponents = plain.count(b"e") + plain.count(b"E") - plain.count(b"true") - plain.count(b"false")
        self.slow_numbers += max(0, exponents) + plain.translate(_DIGITS).count(_LONG)

    def _measure(self, segments: list[bytes]) -> None:
        """Adds to the string that goes on from piece to piece."""
        if self._inside:
            self._run += len(segments[0])
            self.longest = max(self.longest, self._run)
        if len(segments) > 1:
            self._run = len(segments[-1])

    def _closed(self, brackets: bytes) -> bytes:
        """Takes away pairs with nothing between them, level by level; what stays is open."""
        for _ in range(DEEPEST):
            fewer = brackets.replace(b"[]", b"").replace(b"{}", b"")
            if len(fewer) == len(brackets):
                break
            brackets = fewer
        self.too_deep = self.too_deep or len(brackets) > DEEPEST
        return brackets[: DEEPEST + 1]


def pieces(text: bytes, size: int) -> Iterator[bytes]:
    """Yields a text in pieces of about so many bytes, none of which ends between a backslash and what it escapes."""
    begin = 0
    while begin < len(text):
        piece = text[begin : begin + size]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:
            piece = text[begin : begin + size + 1]
        yield piece
        begin += len(piece)


def is_simple(text: bytes) -> bool:
    """Tells in a microsecond whether a short text has too few brackets to be too deep, and too few numbers for them to take long."""
    few = len(text) <= FEW_NUMBERS or text.count(_SEPARATOR) <= FEW_NUMBERS
    return few and text.count(b"[") + text.count(b"{") <= 2 * DEEPEST

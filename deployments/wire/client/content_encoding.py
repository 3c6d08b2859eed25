"""Bodies that a client has compressed: gzip, deflate (with zlib's frame or without) and zstd.

Decides that a body is never larger in memory than the limit says, whatever it would be decoded to: it is decoded piece by piece. A large
one is decoded in a thread, so that no stream waits for it.
"""

import asyncio
import zlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from backports import zstd

from deployments.policy.errors.client_errors import BadRequest, BodyTooLarge, WrongMedia

#: Decoded bytes that are made on the event loop, which takes a millisecond or two. What is larger goes to a thread.
MOST_AT_ONCE = 256 << 10
#: Decoded bytes between two looks at what the gateway holds in all.
MOST_AT_A_TIME = 8 << 20
#: Frames of a body, one behind the other. Each one costs a copy of those behind it.
MOST_FRAMES = 16
#: 8 MiB: the window that content encodings may ask for (RFC 9659).
_WINDOW_LOG = 23


class _Decoder(Protocol):
    """A decoder of one frame, as the standard library has them."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class _Frame:
    """One frame, and how far it has been decoded."""

    def __init__(self, decoder: _Decoder, data: bytes) -> None:
        self._data = data
        self.decoder = decoder

    def more(self, most: int) -> bytes:
        """Decodes up to so many bytes."""
        found = self.decoder.decompress(self._data, most)
        # zlib leaves to its caller what it has not read yet; zstd keeps it.
        self._data = getattr(self.decoder, "unconsumed_tail", b"")
        return found


def _gzip(data: bytes) -> _Frame:
    return _Frame(zlib.decompressobj(16 + zlib.MAX_WBITS), data)


def _zstd(data: bytes) -> _Frame:
    return _Frame(zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}), data)


def _deflate(data: bytes) -> _Frame:
    """RFC 9110 means zlib's frame by it; some clients leave it out."""
    framed = len(data) > 1 and data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
    return _Frame(zlib.decompressobj(zlib.MAX_WBITS if framed else -zlib.MAX_WBITS), data)


_DECODERS: Mapping[str, Callable[[bytes], _Frame]] = MappingProxyType(
    {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate, "zstd": _zstd},
)
#: Encodings whose frames may stand one behind the other.
_IN_MEMBERS = frozenset({"gzip", "x-gzip", "zstd"})


class _Body:
    """One body, decoded as far as somebody has asked."""

    def __init__(self, encoding: str, data: bytes, limit_mib: float) -> None:
        self._make = _DECODERS[encoding]
        self._encoding = encoding
        self._frame = self._make(data)
        self._limit_mib = limit_mib
        self.limit = int(limit_mib * (1 << 20))
        self.pieces: list[bytes] = []
        self.size = 0
        """Bytes that have been decoded."""
        self._frames = 0
        self.whole = False

    def decode(self, most: int) -> None:
        """Goes on until so many bytes are there in all, or the body is whole.

        Raises:
            BadRequest: the body is not what it is said to be.
            BodyTooLarge: it is larger than the limit.
        """
        try:
            while not self.whole and self.size < most:
                self._step(min(most, self.limit + 1) - self.size)
        except (zlib.error, zstd.ZstdError) as error:
            raise BadRequest(f"The body is not {self._encoding}, as its header content-encoding says.", code="invalid_encoding") from error

    def _step(self, most: int) -> None:
        piece = self._frame.more(most)
        self.pieces.append(piece)
        self.size += len(piece)
        if self.size > self.limit:
            raise BodyTooLarge(self._limit_mib)
        if self._frame.decoder.eof:
            self._end_of_frame(self._frame.decoder.unused_data)
        elif not piece:
            raise BadRequest(f"The body ends inside its {self._encoding} data.", code="invalid_encoding")

    def _end_of_frame(self, rest: bytes) -> None:
        self._frames += 1
        if rest and self._encoding in _IN_MEMBERS and self._frames < MOST_FRAMES:
            self._frame = self._make(rest)
        elif rest:
            raise BadRequest(f"The body goes on behind its {self._encoding} data.", code="invalid_encoding")
        else:
            self.whole = True


async def decoded(encoding: bytes, data: bytes, limit_mib: float, count: Callable[[int], None]) -> bytes:
    """A body as it was before its client encoded it.

    Args:
        encoding: the header `content-encoding`.
        data: the body as it came.
        limit_mib: largest size of the decoded body.
        count: is told the size of each decoded piece, and may raise a `HerdError`.

    Raises:
        WrongMedia: the encoding is not known, or there are several.
        BadRequest: the data are not of that encoding, or not whole.
        BodyTooLarge: the decoded body is larger than the limit.
    """
    name = encoding.decode("ascii", "replace").strip().lower()
    if name in ("", "identity"):
        return data
    if name not in _DECODERS:
        raise WrongMedia(
            f"The content-encoding '{name[:100]}' is not read here. Send the body as it is, or encoded once with gzip, deflate or zstd.",
            param="content-encoding",
        )
    body = _Body(name, data, limit_mib)
    if len(data) <= MOST_AT_ONCE:
        body.decode(MOST_AT_ONCE)
    count(body.size)
    while not body.whole:
        before = body.size
        await asyncio.to_thread(body.decode, before + MOST_AT_A_TIME)
        count(body.size - before)
    return b"".join(body.pieces)

"""One answer of an engine, from its head to its last byte, and what its pieces are handed to.

Decides how much of it waits in memory for a reader. How its bytes come is `deployments.wire.engine.connection`'s.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

#: Bytes of an answer that wait in memory for a reader before the engine's socket is no longer read.
MOST_WAITING_BYTES = 1 << 20
#: The largest answer that is read whole: a thousand embeddings of 8,192 numbers take about 100 MiB.
MOST_WHOLE_MIB = 128


class EngineGone(Exception):
    """The connection to an engine could not be made, or broke before the answer was whole."""


class NeverReached(EngineGone):
    """The connection to an engine could not be made, so it has not seen the request."""


class Sink(Protocol):
    """Where the pieces of a streamed answer go."""

    def write(self, data: bytes) -> None:
        """Takes a piece; must not block."""


class Reading(Protocol):
    """The connection that an answer comes over."""

    straight: Callable[[bytes], None] | None
    """Who takes the pieces of the answer as they arrive; none before `Answer.pipe`."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def release(self) -> None: ...


class Answer:
    """One answer, from its head to its last byte."""

    __slots__ = ("_broken", "_connection", "_end", "_held", "_waiting", "_waiting_bytes", "headers", "status")

    def __init__(self, connection: Reading, status: int, headers: Mapping[bytes, bytes], end: asyncio.Future[None]) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._end = end
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._held = False
        self._broken = False

    def feed(self, data: bytes) -> None:
        """A piece has arrived before anybody takes it."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > MOST_WAITING_BYTES:
            self._connection.pause()

    async def read(self, most: int = MOST_WHOLE_MIB << 20) -> bytes:
        """The whole body, or more than `most` bytes of its beginning where it is longer; then the connection is not used again.

        Raises:
            EngineGone: the engine broke off before its end.
        """
        pieces = _Pieces(self, most)
        try:
            await self.pipe(pieces)
        except EngineGone:
            if pieces.size <= most:
                raise
        return b"".join(pieces.pieces)

    async def pipe(self, sink: Sink) -> None:
        """Hands every piece to the sink as it arrives, until the end.

        Raises:
            EngineGone: the engine broke off before its end, or `break_off` was called.
        """
        for piece in self._waiting:
            sink.write(piece)
        self._waiting.clear()
        if not self._end.done():  # else what still comes is unasked
            self._connection.straight = sink.write
        if not self._held:  # by a client for whom these pieces were too much already
            self._connection.resume()
        if not self._broken:
            await self._end
        if self._broken:
            raise EngineGone

    def pause(self) -> None:
        """Stops reading from the engine: the client is slower than it."""
        self._held = True
        self._connection.pause()

    def resume(self) -> None:
        """Goes on reading."""
        self._held = False
        self._connection.resume()

    def break_off(self) -> None:
        """Ends it as if the engine had gone: what it says is not fit to go on with."""
        self._broken = True
        if not self._end.done():
            self._end.set_exception(EngineGone())

    def close(self) -> None:
        """Ends the exchange. Before the answer's end this closes the connection, which makes the engine stop generating."""
        self._connection.release()


class _Pieces:
    __slots__ = ("_answer", "_most", "pieces", "size")

    def __init__(self, answer: Answer, most: int) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self._answer = answer
        self._most = most

    def write(self, data: bytes) -> None:
        if self.size > self._most:
            return  # what came in one breath with the piece that was too much
        self.pieces.append(data)
        self.size += len(data)
        if self.size > self._most:
            self._answer.break_off()

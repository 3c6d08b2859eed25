"""One answer of an engine, from its head to its last byte, and what its pieces are handed to.

Decides how much of it waits in memory for a reader. How its bytes come is `deployments.wire.engine.connection`'s.
"""

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol

#: Bytes of an answer that wait in memory for a reader before the engine's socket is no longer read.
MOST_WAITING_BYTES = 1 << 20
#: The largest answer that is read whole: a thousand embeddings of 8,192 numbers take about 100 MiB.
MOST_WHOLE_MIB = 128


class Cut(Enum):
    """Why an engine's answer ended before it was whole."""

    LOST = "lost"
    """The connection broke or could not be made, or the engine said that its core had died. Only this tells that the engine is gone."""
    ENGINE_ERROR = "engine_error"
    """The engine ended the answer with an error of its own, and goes on serving."""
    DIVERGED = "diverged"
    """The engine did not go on with what another engine had said."""
    MADE_WAY = "made_way"
    """A request of a batch left its place to one in a hurry."""
    REFUSED = "refused"
    """The gateway wants no more of the answer."""


class Broken(Exception):
    """An engine's answer ended before it was whole."""

    def __init__(self, cut: Cut) -> None:
        super().__init__(cut.value)
        self.cut = cut


class EngineGone(Broken):
    """The connection to an engine could not be made, or broke before the answer was whole."""

    def __init__(self) -> None:
        super().__init__(Cut.LOST)


class NeverReached(EngineGone):
    """The connection to an engine could not be made, so it has not seen the request."""


def fail(future: "asyncio.Future[Any]", error: Broken) -> None:
    """Ends a future with an error, and marks it as seen: a client that hung up leaves nobody to read it."""
    future.set_exception(error)
    future.exception()


Hold = Callable[[bool], None]
"""Holds back what is written, until it is called again with False: then all of it goes on at once."""


def _at_once(_holds: bool) -> None: ...


class Sink(Protocol):
    """Where the pieces of a streamed answer go."""

    def write(self, data: bytes) -> None:
        """Takes a piece; must not block."""


class Reading(Protocol):
    """The connection that an answer comes over."""

    def hand_to(self, take: Callable[[bytes], None], hold: Hold) -> None:
        """Hands the pieces of the answer to the first of these as they arrive, from now to the answer's end. The second is told before and
        behind those that came at once."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def release(self) -> None: ...


class Answer:
    """One answer, from its head to its last byte."""

    __slots__ = ("_connection", "_cut", "_end", "_held", "_waiting", "_waiting_bytes", "headers", "status")

    def __init__(self, connection: Reading, status: int, headers: Mapping[bytes, bytes], end: asyncio.Future[None]) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection
        self._end = end
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._held = False
        self._cut: Cut | None = None

    def feed(self, data: bytes) -> None:
        """A piece has arrived before anybody takes it."""
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes > MOST_WAITING_BYTES:
            self._connection.pause()

    @property
    def is_whole(self) -> bool:
        """All of it has arrived, as a short answer has when its head is read."""
        return self._end.done() and self._cut is None and self._end.exception() is None

    def at_hand(self) -> bytes:
        """Returns the body of an answer that is whole."""
        waiting = self._waiting
        return waiting[0] if len(waiting) == 1 else b"".join(waiting)

    async def read(self, most: int = MOST_WHOLE_MIB << 20) -> bytes:
        """The whole body, or more than `most` bytes of its beginning where it is longer; then the connection is not used again.

        Raises:
            EngineGone: the engine broke off before its end.
        """
        if self.is_whole and self._waiting_bytes <= most:
            return self.at_hand()
        pieces = _Pieces(self, most)
        try:
            await self.pipe(pieces)
        except Broken as broken:
            if broken.cut is not Cut.REFUSED:
                raise
        return b"".join(pieces.pieces)

    async def pipe(self, sink: Sink, hold: Hold = _at_once) -> None:
        """Hands every piece to the sink as it arrives, until the end.

        Args:
            sink: takes the pieces.
            hold: holds back what becomes of those that came at once.

        Raises:
            EngineGone: the engine broke off before its end.
            Broken: `break_off` was called.
        """
        hold(True)
        try:
            for piece in self._waiting:
                sink.write(piece)
        finally:
            hold(False)
        self._waiting.clear()
        if not self._end.done():  # else what still comes is unasked
            self._connection.hand_to(sink.write, hold)
        if not self._held:  # by a client for whom these pieces were too much already
            self._connection.resume()
        if self._cut is None:
            await self._end
        if self._cut is not None:
            raise Broken(self._cut)

    def pause(self) -> None:
        """Stops reading from the engine: the client is slower than it."""
        self._held = True
        self._connection.pause()

    def resume(self) -> None:
        """Goes on reading."""
        self._held = False
        self._connection.resume()

    def break_off(self, cut: Cut) -> None:
        """Ends it here, for a reason. A later reason does not replace the first one."""
        self._cut = self._cut or cut
        if not self._end.done():
            fail(self._end, Broken(self._cut))

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
            self._answer.break_off(Cut.REFUSED)

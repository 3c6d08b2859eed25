"""One answer among its readers: what has been said and cleared, and what is held back meanwhile.

Decides when the engine must wait: while a reader says so, and while more is held back than `MOST_HELD_BYTES`.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from deployments.gateway.readers.reader import Piece, Reader, Readers
from deployments.wire.brake import Brake

#: Bytes of a stream that readers may hold back before its engine waits: about 16,000 tokens.
MOST_HELD_BYTES = 4 << 20

Show = Callable[[bytes], None]
_log = structlog.get_logger("herd.readers")


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a reader ended an answer."""

    reason: str
    kept: int


class Screen:
    """Stands between what engines say and what the client gets."""

    def __init__(self, readers: Readers, brake: Brake, stop: Callable[[], object]) -> None:
        """Args:
        readers: who reads, at least one.
        brake: makes the engine wait.
        stop: ends what the engine says.
        """
        self.said = 0
        """Pieces that an engine has said."""
        self.cleared = 0
        """Pieces that every reader has let go, and that the client therefore has."""
        self._brake = brake
        self._stop = stop
        self._held: deque[tuple[bytes, Show]] = deque()
        self._held_bytes = 0
        self._refusal: Refusal | None = None
        self._failure: Exception | None = None
        self._ended = self._closed = False
        self._settled = asyncio.Event()
        self._gates = [_Gate(self) for _ in readers]
        self._readers: list[Reader] = []
        try:
            for make, gate in zip(readers, self._gates, strict=True):
                self._readers.append(make(gate))
        except Exception:
            self.close()  # those that were made already
            raise

    @property
    def is_over(self) -> bool:
        """Nothing more of the answer is read or let go."""
        return self._closed or self._refusal is not None or self._failure is not None

    @property
    def is_clear(self) -> bool:
        """Every piece that was said has been let go."""
        return self.cleared == self.said

    def read(self, piece: Piece, show: Show) -> None:
        """Has the next piece read, which goes to `show` when every reader has let it go."""
        if self.is_over:
            return
        self.said += 1
        self._held.append((piece.data, show))
        self._held_bytes += len(piece.data)
        self._tell(lambda reader: reader.read(piece))
        self._slow_down()

    def end(self) -> None:
        """The engine has said all."""
        self._ended = True
        self._tell(lambda reader: reader.end())
        self._settle()

    async def settled(self) -> Refusal | None:
        """Waits until every piece has been let go, or until a reader has ended the answer; returns how.

        Raises:
            Exception: of a reader that failed.
        """
        await self._settled.wait()
        if self._failure is not None:
            raise self._failure
        return self._refusal

    def close(self) -> None:
        """Closes the readers. What they hold back is dropped."""
        if not self._closed:
            self._closed = True
            self._held.clear()
            self._brake.release(self, *self._gates)
            for reader in self._readers:
                try:
                    reader.close()
                except Exception as error:  # noqa: BLE001 (the others have work to end, too)
                    _log.error("reader_failed_to_close", exc_info=error)

    # what gates ask for
    def clear(self) -> None:
        """Shows what every reader has let go by now."""
        cleared = min(self.said, *(gate.cleared for gate in self._gates))
        while self.cleared < cleared and not self.is_over:
            self.cleared += 1
            data, show = self._held.popleft()
            self._held_bytes -= len(data)
            show(data)
        self._slow_down()
        self._settle()

    def cut(self, refusal: Refusal) -> None:
        """Ends the answer behind what was let go; one that was let go to its end stays as it is."""
        if self._settled.is_set():
            return
        self._refusal = refusal
        self._finish()

    def slow(self, gate: "_Gate", pause: bool) -> None:
        """Makes the engine wait for a reader, or go on."""
        (self._brake.hold if pause else self._brake.release)(gate)

    def _tell(self, tell: Callable[[Reader], None]) -> None:
        for reader in self._readers:
            if self.is_over:
                return
            try:
                tell(reader)
            except Exception as error:  # noqa: BLE001 (in the engine's connection it would look as if the engine had gone)
                self._failure = error
                self._finish()

    def _finish(self) -> None:
        self._settled.set()
        self._stop()

    def _settle(self) -> None:
        if self._ended and self.is_clear:
            self._settled.set()

    def _slow_down(self) -> None:
        if self._held_bytes > MOST_HELD_BYTES:
            self._brake.hold(self)
        else:
            self._brake.release(self)


class _Gate:
    """The gate of one reader."""

    def __init__(self, screen: Screen) -> None:
        self.cleared = 0
        self._screen = screen

    def clear(self, pieces: int) -> None:
        if pieces > self.cleared and not self._screen.is_over:
            self.cleared = pieces
            self._screen.clear()

    def cut(self, reason: str, kept: int = 0) -> None:
        if not self._screen.is_over:
            self._screen.cut(Refusal(reason, kept))

    def pause(self) -> None:
        if not self._screen.is_over:
            self._screen.slow(self, pause=True)

    def resume(self) -> None:
        if not self._screen.is_over:
            self._screen.slow(self, pause=False)

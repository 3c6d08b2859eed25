"""Readers of an answer before its client: the protocol, and what a reader may do.

Decides nothing. A reader is made for one answer. It gets every piece that an engine says, and its gate lets pieces go, ends the answer or
makes the engine wait, at once or later, from a task of the reader's own. A client gets a piece when every reader has let it go.

An answer is read once, whichever engines say it: what a second engine repeats of a first one is not read again. Where an answer begins
anew, because nothing of it was shown and it cannot be gone on with, its readers are closed and others are made.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from deployments.policy.request import answer_texts


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of an answer, as its client would get it."""

    data: bytes
    """Whole events of a stream, or the whole body of an answer that is not streamed."""
    streamed: bool

    def texts(self) -> Mapping[int, str]:
        """Reads what the model wrote, by the index of the choice. Decodes the piece at each call."""
        return answer_texts.of_events(self.data) if self.streamed else answer_texts.of_body(self.data)


class Gate(Protocol):
    """A reader's way to act on its answer. Every method does nothing once the answer is over."""

    def clear(self, pieces: int) -> None:
        """Lets go of the first so many pieces of the answer. A smaller number than before changes nothing."""

    def cut(self, reason: str, kept: int = 0) -> None:
        """Ends the answer behind what every reader has let go. The engine stops, and no other one is asked to go on.

        Args:
            reason: what the client is told, as `finish_reason` is: `content_filter`.
            kept: of an answer that is not streamed, characters of each choice's text that the client still gets.
        """

    def pause(self) -> None:
        """Makes the engine wait. Pieces that are on their way still come."""

    def resume(self) -> None:
        """Lets the engine go on."""


class Reader(Protocol):
    """Reads one answer. None of its methods may block; one that raises an error ends the answer as a defect of the server."""

    def read(self, piece: Piece) -> None:
        """Takes the next piece. Pieces are counted from 1, for the gate's `clear`."""

    def end(self) -> None:
        """Learns that the engine has said all. What is held back must be let go or cut from now on, soon."""

    def close(self) -> None:
        """Ends the reader's own work: the answer is over, however it ended, or begins anew with other readers."""


MakeReader = Callable[[Gate], Reader]
Readers = Sequence[MakeReader]

"""The words of engines in one stream: put together to whole events, and kept where another engine might have to go on.

Decides how much is kept.
"""

from collections import deque

from deployments.policy.errors import engine_errors
from deployments.policy.request import resume

#: An event that is longer goes on in parts; in a stream that might be continued, the first one tells the prompt's token ids.
MOST_HELD_BYTES, MOST_KEPT_BYTES = 1 << 16, 1 << 26
#: The last pieces of a stream that is not kept: the reason for its end, the usage, the end itself.
LAST_PIECES = 3


class Said:
    """The whole events of a stream, as engines said them: all of them, or the last few."""

    __slots__ = ("is_kept", "pieces")

    def __init__(self, resumable: bool) -> None:
        """Args:
        resumable: another engine could go on with the stream, so that all of it is kept.
        """
        self.is_kept = resumable
        """All of it is here."""
        self.pieces: deque[bytes] | list[bytes] = []
        """Pieces, appended by those who take them: a method of this class would be one more call for each piece of each stream."""

    def begins(self) -> None:
        """Prepares for the pieces of a stream that begins. Most answers are none, and a bounded queue takes long to make."""
        if not self.is_kept and isinstance(self.pieces, list):
            self.pieces = deque(self.pieces, maxlen=LAST_PIECES)

    def __bool__(self) -> bool:
        """Whether anything has been said."""
        return bool(self.pieces)

    @property
    def most_held_bytes(self) -> int:
        """The longest event that is put together."""
        return MOST_KEPT_BYTES if self.is_kept else MOST_HELD_BYTES

    @property
    def tail(self) -> bytes:
        """The last three pieces: the reason for the end and the usage stand in them."""
        pieces = self.pieces
        return b"".join(pieces[-LAST_PIECES:] if isinstance(pieces, list) else pieces)

    @property
    def is_whole(self) -> bool:
        """The stream has been said to its end, whatever its engine does behind that."""
        return engine_errors.is_whole(self.tail)

    def delivered(self) -> resume.Delivered:
        """Returns what another engine must be told to go on.

        Raises:
            CannotResume: no other engine could.
        """
        if not self.is_kept:
            raise resume.CannotResume
        return resume.delivered(b"".join(self.pieces))

    def seam(self) -> resume.Seam:
        """Returns what finds the place behind which another engine says something new, where something has been said."""
        return resume.Seam(b"".join(self.pieces))

    def forget(self) -> None:
        """Keeps the last pieces only from now on: no other engine can go on with the stream."""
        if self.is_kept:
            self.is_kept = False
            self.pieces = deque(maxlen=LAST_PIECES)

    def clear(self) -> None:
        """Forgets all: the stream begins anew."""
        self.pieces.clear()


class Events:
    """Puts events of a stream together that the network has cut."""

    __slots__ = ("_said", "held", "held_bytes")

    def __init__(self, said: Said) -> None:
        self._said = said
        self.held: list[bytes] = []
        """Returns the bytes that wait for the end of their event."""
        self.held_bytes = 0

    def add(self, data: bytes) -> bytes:
        """Takes a piece, and returns the whole events that there are now. The parts of an event that is too long go on as they come, and
        the stream cannot be continued then."""
        whole = self._add(data)
        if self.held_bytes >= self._said.most_held_bytes:
            self._said.forget()
            whole += self.rest()
        return whole

    def rest(self) -> bytes:
        """Returns all that waits, and holds nothing more."""
        held = b"".join(self.held)
        self.held, self.held_bytes = [], 0
        return held

    def _add(self, data: bytes) -> bytes:
        self.held.append(data)
        self.held_bytes += len(data)
        if b"\n" not in data:  # it is inside an event; one that tells a long prompt's token ids has megabytes
            return b""
        held = self.rest()
        end = held.rfind(b"\n\n") + 2
        if end < 2:
            end = 0
        if end < len(held):
            self.held, self.held_bytes = [held[end:]], len(held) - end
        return held[:end]

"""The client's side of a streamed answer: what an engine says goes on at once, in whole events, and is kept in case the engine dies.

Decides what the client sees of a stream, by `policy.resume`. Runs once per piece, so it does nothing but pass it on, keep it and note the
time; nothing is read before an engine has died.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Protocol

from deployments.gateway.request import Request
from deployments.policy.errors import engine_errors
from deployments.policy.errors.herd_error import HerdError
from deployments.policy.request import resume
from deployments.wire.engine.answer import Broken, Cut
from deployments.wire.types import Flow, Headers

#: An event that is longer goes on in parts; in a stream that might be continued, the first one tells the prompt's token ids.
MOST_HELD_BYTES, MOST_KEPT_BYTES = 1 << 16, 1 << 26
#: The last pieces of a stream that is not kept: the reason for its end, the usage, the end itself.
LAST_PIECES = 3


#: How an event of chat and completions begins; an error's begins otherwise.
_EVENT = b'data: {"id"'


class Client(Protocol):
    """Where an answer goes; `deployments.wire.client.exchange.Exchange` over HTTP."""

    started: bool

    @property
    def finished(self) -> bool: ...
    def reply(self, status: int, headers: Headers, body: bytes) -> None: ...
    def refuse(self, error: HerdError, headers: Headers = ()) -> None: ...
    def start(self, status: int, headers: Headers, first: bytes) -> None: ...
    def write(self, data: bytes) -> None: ...
    def finish(self) -> None: ...
    def follow(self, flow: Flow | None) -> None: ...


class Source(Protocol):
    """An engine's answer, as far as a relay has a say in it."""

    def break_off(self, cut: Cut) -> None:
        """Ends it here, for a reason."""


def _nothing() -> None: ...


class Relay:
    """Passes the events of one answer on, whichever engines they come from.

    Only whole events go on: an engine that dies inside one leaves a stream that another event can still follow.
    """

    def __init__(self, client: Client, deadline: asyncio.Timeout, request: Request, clock: Callable[[], float]) -> None:
        """Args:
        client: where the answer goes.
        deadline: by which it must begin; moved to the request's end when it does.
        request: what is answered.
        clock: the one of the request's times.
        """
        self.client = client
        self.times: list[float] = []
        self.on_first: Callable[[], None] = _nothing
        """Called when an engine's prefill is over: at its first piece that is new. May be called again."""
        self._head: tuple[int, Headers] = (200, ())
        self._deadline = deadline
        self._rest_s = request.due_s - request.begins_by_s
        self._clock = clock
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._plain = False
        """Under way, and nothing to look for in a single event."""
        self._source: Source | None = None
        self._cut: Cut | None = None
        """Why the present engine's answer was broken off here; what still comes of it is not for the client."""
        self._seam: resume.Seam | None = None
        self._hides, self._simple = False, True
        self.error: engine_errors.Said | None = None
        """The error with which an engine ended its answer, which is then broken off; the engine need not be dead."""
        # What the reason for its end, and the usage, stand in. A stream that can be continued is kept whole.
        self._said: deque[bytes] | list[bytes] = deque(maxlen=LAST_PIECES)

    def keep(self, with_ids: bool, simple: bool) -> None:
        """This stream can be continued, so what is said is kept.

        Args:
            with_ids: the client wants token ids itself; else they are taken out.
            simple: each event shows something; where tools may be called, some do not, and are left out.
        """
        self._said = []
        self._hides, self._simple = not with_ids, simple or with_ids

    @property
    def started(self) -> bool:
        """The client has seen the begin of the answer."""
        return bool(self.times)

    @property
    def said(self) -> bytes:
        """The events that went on, as the engines said them: all where they are kept, else the last pieces."""
        return b"".join(self._said)

    def delivered(self) -> resume.Delivered:
        """What another engine must be told to go on.

        Raises:
            CannotResume: no other engine could.
        """
        if not self.kept:
            raise resume.CannotResume
        return resume.delivered(self.said)

    @property
    def tail(self) -> bytes:
        """The last three pieces: the reason for the end and the usage stand in them."""
        return b"".join(reversed(tuple(islice(reversed(self._said), LAST_PIECES))))

    @property
    def kept(self) -> bool:
        """All that was said is known."""
        return isinstance(self._said, list)

    def begin(self, status: int, headers: Headers, source: Source) -> None:
        """An engine's answer comes now. It is another engine's than before: what the client has already, this one will say again."""
        self._head = (status, headers)
        self._source = source
        self.error, self._cut = None, None
        self._plain = False
        self._held, self._held_bytes = [], 0
        self._seam = resume.Seam(self.said) if self.started else None

    def write(self, data: bytes) -> None:
        """A piece of the answer."""
        if self._plain and data.startswith(_EVENT) and data.find(b"\n") == len(data) - 2:  # one event, as nearly every piece is
            self._said.append(data)
            self.client.write(resume.one_shown(data) if self._hides else data)
            self.times.append(self._clock())
            return
        if self._held or data[-2:] != b"\n\n":
            self._part(data)
        else:
            self._whole(data)
        self._plain = bool(self._simple and self.times and not self._cut and not self._held and not self._seam)

    def _part(self, data: bytes) -> None:
        """The network cut the engine's events: what is whole goes on, the rest waits for its end."""
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes >= (MOST_KEPT_BYTES if self.kept else MOST_HELD_BYTES):
            self._said = deque(maxlen=LAST_PIECES)  # not to be continued, for it goes on in parts
            self._release(self._held_bytes)
        elif b"\n" in data:  # else it is inside an event; one that tells a long prompt's token ids has megabytes
            self._release(b"".join(self._held).rfind(b"\n\n") + 2)

    def _release(self, end: int) -> None:
        if end > 1:
            held = b"".join(self._held)
            self._held = [held[end:]] if end < len(held) else []
            self._held_bytes = len(held) - end
            self._whole(held[:end])

    def _whole(self, data: bytes) -> None:
        if self._cut is not None:
            return
        if b'"error"' in data and (at := engine_errors.error_at(data)) >= 0:
            self._new_events(data[:at])
            self._ends_in(engine_errors.said_in(data[at:]))
        elif engine_errors.is_last(data) and not engine_errors.has_finish(self.tail + data):
            self._ends_in(engine_errors.UNFINISHED)
        else:
            self._new_events(data)

    def _new_events(self, data: bytes) -> None:
        if data and self._seam is not None:
            data = self._new(data)
        if data:
            self._said.append(data)
            self._pass(resume.shown(data) if self._hides else data)

    def _ends_in(self, error: engine_errors.Said) -> None:
        if self._cut is None:  # else the events before it were no continuation
            self.error = error
            self._break_off(Cut.LOST if error.of_death else Cut.ENGINE_ERROR)

    def _break_off(self, cut: Cut) -> None:
        self._cut = cut
        if self._source is not None:
            self._source.break_off(cut)

    def _new(self, data: bytes) -> bytes:
        assert self._seam is not None  # noqa: S101 (for the type only)
        try:
            new = self._seam.after(data)
        except resume.CannotResume:
            self._said = deque(maxlen=LAST_PIECES)  # another try would end here again
            self._break_off(Cut.DIVERGED)
            return b""
        if new:
            self.on_first()
        return new

    def _pass(self, data: bytes) -> None:
        if not data:
            return
        if self.times:
            self.client.write(data)
        else:
            self._first(data)
        self.times.append(self._clock())

    def _first(self, data: bytes) -> None:
        """Only now is the client told a status: until here the request could have been refused, or served elsewhere."""
        self.on_first()
        self.client.start(*self._head, data)
        until = self._deadline.when()
        if until is not None:
            self._deadline.reschedule(until + self._rest_s)

    def complete(self) -> None:
        """The client has a whole answer, although the engine broke off behind it."""
        self.client.finish()

    def end(self) -> None:
        """The engine has said all, which need not have ended in a whole event.

        Raises:
            Broken: it did not say why it ends, or it ended in an error.
        """
        if self._held:
            self._whole(b"".join(self._held))
        if self.error is None and not engine_errors.has_finish(self.tail):
            self._ends_in(engine_errors.UNFINISHED)
        if self._cut is not None:
            raise Broken(self._cut)
        self.client.finish()

"""The delivery of one answer to its client, whole or streamed, whichever engines it comes from.

Decides what the client sees of an answer. Three marks tell how far it has come: what engines have *said*, what its readers have *cleared*,
and what the client has been *shown*. Where nobody reads, all that is said is cleared, and what is cleared is shown at once: a piece of a
stream is then passed on, kept in case its engine dies, and timed, and nothing else is done for it. `gateway.readers` holds the rest.
"""

import asyncio
from collections.abc import Callable

from deployments.gateway.readers.reading import Reading
from deployments.gateway.request import Asked, Client, is_stream
from deployments.gateway.said import Events, Said
from deployments.policy.errors import engine_errors
from deployments.policy.errors.client_errors import AnswerTooLarge
from deployments.policy.request import resume as going_on
from deployments.policy.request import usage
from deployments.policy.request.calls import COUNTED
from deployments.wire.brake import Brake
from deployments.wire.deadlines import Deadline
from deployments.wire.engine.answer import MOST_WHOLE_MIB, Answer, Broken, Cut
from deployments.wire.types import Headers

#: How an event of chat and completions begins; an error's begins otherwise.
_EVENT, _BEGIN = b'data: {"id"', slice(11)


def _nothing() -> None: ...


class Delivery:
    """Delivers one answer.

    Only whole events of a stream go on: an engine that dies inside one leaves a stream that another event can still follow.
    """

    # As attributes of the class, so that they are not set for each request.
    error: engine_errors.Said | None = None
    """The error with which an engine ended its answer, which is then broken off; the engine need not be dead."""
    _brake: Brake | None = None  # made when somebody makes an engine wait, or reads
    _head: tuple[int, Headers] = (200, ())
    _source: Answer | None = None  # the present engine's
    _cut: Cut | None = None  # why it was broken off from here; what still comes of it is not for the client
    _prefilled: Callable[[], None] = staticmethod(_nothing)
    _plain = False  # under way, and nothing to look for in a single event
    _cut_events: Events | None = None  # made when the network cuts an event
    _seam: going_on.Seam | None = None
    _reading: Reading | None = None  # None where nobody reads
    _hides = False  # the token ids of its events, which its client has not asked for
    _simple = True
    """Every event shows something. Where tools may be called, some with token ids show nothing, and are left out."""
    _furthest = 0  # pieces that were said before the answer began anew

    def __init__(self, client: Client, asked: Asked, deadline: Deadline, clock: Callable[[], float]) -> None:
        """Args:
        client: where the answer goes.
        asked: the request.
        deadline: by which the answer must begin; moved to its end when it does.
        clock: the one of the request's times.
        """
        self.times = asked.trial.times
        """When the client was shown each piece of a stream."""
        self._client, self._asked, self._deadline, self._clock = client, asked, deadline, clock
        resumable = going_on.can_resume(asked.call.endpoint, asked.body)
        self.said = Said(resumable)
        if resumable:
            with_ids = bool(asked.body.get("return_token_ids"))
            self._hides, self._simple = not with_ids, with_ids or not asked.body.get("tools")
        if asked.request.rules.readers is not None:
            self._read_from_here()

    def _read_from_here(self) -> None:
        """Has the readers made; those of an answer that begins anew are others."""
        read_by = self._asked.request.rules.readers
        if read_by is not None and (readers := read_by(self._asked)):
            self._reading = Reading(readers, self._asked, self._braked(), lambda: self.break_off(Cut.REFUSED), self._show)

    def _braked(self) -> Brake:
        """Returns what makes the present engine wait, and each after it."""
        if self._brake is None:
            self._brake = Brake()
            self._brake.follow(self._source)
        return self._brake

    @property
    def is_read(self) -> bool:
        """Somebody reads it before its client does."""
        return self._reading is not None

    @property
    def shown(self) -> bool:
        """The client has seen the begin of the answer."""
        return bool(self.times)

    @property
    def is_whole(self) -> bool:
        """The client has been shown a stream to its end, and need not wait for what its engine does behind that."""
        return self.said.is_whole and (self._reading is None or self._reading.screen.is_clear)

    @property
    def progress(self) -> int:
        """Pieces that have been said, at most by one engine where the answer began anew. Shown ones, where nobody reads."""
        return len(self.times) if self._reading is None else max(self._furthest, self._reading.screen.said)

    async def take(self, answer: Answer, prefilled: Callable[[], None]) -> None:
        """Delivers what one engine answers; of what an engine before it has said, this one says all again.

        Args:
            answer: the engine's.
            prefilled: is called when the engine has computed the prompt, at least once.

        Raises:
            Broken: the answer ended before it was whole, or in an error.
            AnswerTooLarge: it is not streamed, and longer than the gateway holds.
        """
        if self._reading is not None and self._reading.screen.is_over:
            raise Broken(Cut.REFUSED)
        self._source, self._prefilled, self.error, self._cut = answer, prefilled, None, None
        if self._brake is not None:
            self._brake.follow(answer)
        try:
            if is_stream(answer.headers):
                self._asked.trial.streams()
                self._begin(answer)
                try:
                    await answer.pipe(self, self._client.hold)
                except asyncio.CancelledError:  # the client has hung up, its time is over, or the gateway stops
                    if not self.is_whole:
                        raise
                self._end()
            else:
                self._reply(answer, answer.at_hand() if answer.is_whole else await answer.read())
        finally:
            self._source = None
            if self._brake is not None:
                self._brake.follow(None)

    def complete(self) -> None:
        """All of a stream has been said."""
        self._asked.took(usage.of_stream(self.said.tail))
        (self._client.finish if self._reading is None else self._reading.screen.end)()

    async def closed(self) -> None:
        """Waits until all that was said is cleared, and shows the end. To be called once, when an answer that is read has been said.

        Raises:
            Exception: of a reader that failed.
        """
        if self._reading is not None:
            await self._reading.closed(self._client, self._head)

    def close(self) -> None:
        """Ends the work of readers, however the answer ended."""
        if self._reading is not None:
            self._reading.screen.close()

    def goes_on(self) -> going_on.Delivered | None:
        """Returns what the next engine must be told to go on; None where the answer begins anew, because none of it has been shown.

        Raises:
            CannotResume: no engine could go on, and the client has seen the begin.
        """
        if not self.said:
            return None
        try:
            return self.said.delivered()
        except going_on.CannotResume:
            if self.shown:
                raise
        self._furthest = self.progress
        self.said.clear()
        self.close()
        self._read_from_here()
        return None

    def yield_up(self) -> bool:
        """Leaves the engine to a request in a hurry; returns False, and does nothing, where no engine could go on later."""
        try:
            self.said.delivered()
        except going_on.CannotResume:
            return False
        return self.break_off(Cut.MADE_WAY)

    def break_off(self, cut: Cut) -> bool:
        """Ends the present engine's answer here, for a reason; returns False where it has been ended before."""
        if self._cut is not None or self._source is None:
            return False
        self._cut = cut
        self._source.break_off(cut)
        return True

    # the client's flow
    def pause(self) -> None:
        """The client is slower than its engine."""
        self._braked().hold(self)

    def resume(self) -> None:
        """It has caught up."""
        self._braked().release(self)

    # what an engine says
    def _begin(self, answer: Answer) -> None:
        self._head = answer.status, self._asked.headers(answer.headers, streamed=True)
        self._plain, self._cut_events = False, None
        self.said.begins()
        self._seam = self.said.seam() if self.said.pieces else None

    def _reply(self, answer: Answer, body: bytes) -> None:
        if len(body) > MOST_WHOLE_MIB << 20:
            raise AnswerTooLarge(MOST_WHOLE_MIB)
        headers = self._asked.headers(answer.headers, streamed=False)
        if self._reading is None:
            self._client.reply(answer.status, headers, body)
        else:
            self._head = answer.status, headers
            self._reading.read_whole(body, lambda data: self._client.reply(*self._head, data))
        if self._asked.call.endpoint in COUNTED:
            self._asked.took(usage.of_body(body))

    def write(self, data: bytes) -> None:
        """A piece of the answer."""
        if self._plain and data[_BEGIN] == _EVENT and data.partition(b"\n")[2] == b"\n":  # one event, as nearly every piece is
            self.said.pieces.append(data)
            self._client.write(going_on.one_shown(data) if self._hides else data)
            clock = self._clock
            self.times.append(clock())
            return
        if self._cut_events is not None or data[-2:] != b"\n\n":
            self._part(data)
        else:
            self._whole(data)
        self._plain = bool(self._simple and self.times and not (self._cut or self._cut_events or self._seam or self._reading))

    def _part(self, data: bytes) -> None:
        """The network cut the engine's events: what is whole goes on, the rest waits for its end."""
        events = self._cut_events or Events(self.said)
        whole = events.add(data)
        self._cut_events = events if events.held else None
        if whole:
            self._whole(whole)

    def _whole(self, data: bytes) -> None:
        if self._cut is not None:
            return
        if b'"error"' in data and (at := engine_errors.error_at(data)) >= 0:
            self._new_events(data[:at])
            self._ends_in(engine_errors.said_in(data[at:]))
        elif engine_errors.is_last(data) and not engine_errors.has_finish(self.said.tail + data):
            self._ends_in(engine_errors.UNFINISHED)
        else:
            self._new_events(data)

    def _new_events(self, data: bytes) -> None:
        if data and self._seam is not None:
            data = self._new(self._seam, data)
        if data:
            self._prefilled()
            self._prefilled = _nothing
            self.said.pieces.append(data)
            if not (cleared := going_on.shown(data) if self._hides else data):
                return
            if self._reading is None:
                self._show(cleared)
            else:
                self._reading.read(cleared)

    def _new(self, seam: going_on.Seam, data: bytes) -> bytes:
        try:
            return seam.after(data)
        except going_on.CannotResume:
            self.said.forget()  # another try would end here again
            self.break_off(Cut.DIVERGED)
            return b""

    def _ends_in(self, error: engine_errors.Said) -> None:
        if self.break_off(Cut.LOST if error.of_death else Cut.ENGINE_ERROR):  # else the events before it were no continuation
            self.error = error

    def _end(self) -> None:
        """The engine has said all, which need not have ended in a whole event."""
        if self._cut_events is not None:
            self._whole(self._cut_events.rest())
        if self._cut is None and not engine_errors.has_finish(self.said.tail):
            self._ends_in(engine_errors.UNFINISHED)
        if self._cut is not None:
            raise Broken(self._cut)
        self.complete()

    # what the client is shown
    def _show(self, data: bytes) -> None:
        if self.times:
            self._client.write(data)
        else:
            self._first(data)
        self.times.append(self._clock())

    def _first(self, data: bytes) -> None:
        """Only now is the client told a status: until here the request could have been refused, or served elsewhere."""
        self._client.start(*self._head, data, self)
        self._deadline.restart(self._asked.request.due_s - self._clock())

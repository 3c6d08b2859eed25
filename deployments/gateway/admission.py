"""Room at the replicas, and waiting for it: no replica gets more requests than it runs at once.

Decides nothing: the order and the bounds are `policy.line`'s, which replica has room `policy.router`'s. What waits here waits outside the
engines, where another replica can still take it, where it can be refused with a time to come back, and where who hangs up is gone at once.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from configs.schema import Limits
from deployments.gateway.replicas.roster import Roster
from deployments.policy.errors.client_errors import Overloaded, Unavailable
from deployments.policy.queue.waiting_line import Line, Stays
from deployments.policy.request.calls import Priority
from deployments.policy.routing.router import Sending
from deployments.policy.routing.types import Ask, Pick
from monitoring.export import Meter


class Place(AbstractContextManager["Place"]):
    """A request's place at a replica, taken until it is left."""

    __slots__ = ("_left", "gave_way", "give_way", "pick", "sending", "since_s")

    def __init__(self, pick: Pick, sending: Sending, since_s: float, left: "Callable[[Place], None]") -> None:
        self.pick = pick
        self.since_s = since_s
        self.sending = sending
        self.give_way: Callable[[], bool] | None = None
        """Ends the exchange of a request that can go on later, if that is still so."""
        self.gave_way = False
        self._left = left

    def can_yield(self, way_out: Callable[[], bool] | None) -> None:
        """Takes what ends the exchange where the request can go on later; None: it cannot yield, or not any more."""
        self.give_way = way_out

    def yield_up(self) -> bool:
        """Ends the exchange for a request in a hurry; returns False where that cannot be, or has been done already."""
        if self.gave_way or self.give_way is None:
            return False
        self.gave_way = self.give_way()
        return self.gave_way

    def leave(self) -> None:
        """It is the next one's."""
        self.sending.end()
        self._left(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.leave()


Waiter = asyncio.Future[Place]


def _patience_s(ask: Ask, limits: Limits) -> float | None:
    """How long a request waits for a place. A batch request that made way waits as long as its answer may take."""
    if not ask.begun:
        return limits.queue_s
    return None if ask.priority is Priority.BATCH else limits.resume_s


class Admission:
    """Lets requests in to replicas with room."""

    def __init__(self, roster: Roster, meter: Meter, clock: Callable[[], float] = time.monotonic) -> None:
        self._roster = roster
        self._meter = meter
        self._clock = clock
        self._lines: dict[str, Line[tuple[Waiter, Ask]]] = {}
        self._stays: dict[str, Stays] = {}
        self._batch: dict[str, dict[Place, None]] = {}
        """Places of requests that are in no hurry."""
        roster.on_news = self._admit

    async def place(self, model: str, ask: Ask, limits: Limits) -> Place:
        """A place for a request, as soon as there is one. To be used in a `with`.

        Raises:
            Unavailable: no replica takes requests.
            Overloaded: too many wait already, or it waited too long.
        """
        line = self._lines.get(model)
        try:
            chosen = self._roster.choose(model, ask)
        except Unavailable:
            if not ask.begun:
                raise
            chosen = None
        if chosen is not None and not (line and line.ahead(ask.priority)):
            return self._taken(chosen, ask)
        return await self._wait(model, ask, limits)

    def _left(self, place: Place) -> None:
        model, now = place.pick.replica.model, self._clock()
        self._batch.get(model, {}).pop(place, None)
        self._stays[model].left(now - place.since_s)
        if line := self._lines.get(model):
            line.ended(now)
            self._admit(model)

    def _taken(self, chosen: Pick, ask: Ask) -> Place:
        place = Place(chosen, self._roster.sending(chosen, ask.prompt), self._clock(), self._left)
        self._stays.setdefault(chosen.replica.model, Stays()).came()
        if ask.priority is Priority.BATCH:
            self._batch.setdefault(chosen.replica.model, {})[place] = None
        return place

    def _make_way(self, model: str) -> None:
        """A batch request leaves its place: of those that can go on later, the one that began last, which has least to compute again."""
        for place in reversed(self._batch.get(model, {})):
            if place.yield_up():
                return

    async def _wait(self, model: str, ask: Ask, limits: Limits) -> Place:
        line, now = self._line(model), self._clock()
        refusal = line.refusal(ask.priority, now, limits.queue_requests, limits.queue_s)
        if refusal is not None and not ask.begun:
            raise Overloaded(model, refusal.retry_after_s)
        waiter: Waiter = asyncio.get_running_loop().create_future()
        line.join((waiter, ask), ask.priority, now)
        self._meter.waiting(model, len(line))
        self._admit(model)  # whoever is ahead may wait for something else
        if not waiter.done() and ask.priority is Priority.INTERACTIVE:
            self._make_way(model)
        try:
            await asyncio.wait((waiter,), timeout=_patience_s(ask, limits))
            if waiter.done():
                return waiter.result()
            raise Overloaded(model, line.retry_after_s(ask.priority, self._clock()))
        except asyncio.CancelledError:
            if waiter.done() and waiter.exception() is None:
                waiter.result().leave()  # its turn came in the very moment that its client hung up
            raise
        finally:
            self._leave(model, line, waiter, ask)
            self._meter.waited(model, self._clock() - now)

    def _line(self, model: str) -> Line[tuple[Waiter, Ask]]:
        """The line as it is, or one that begins now with the pace of those before: of none where batch requests can make way at once."""
        line = self._lines.get(model)
        if line is None or not len(line):
            stays = Stays() if self._batch.get(model) else self._stays.get(model, Stays())
            line = self._lines[model] = Line(stays.between_ends_s)
        return line

    def _leave(self, model: str, line: Line[tuple[Waiter, Ask]], waiter: Waiter, ask: Ask) -> None:
        line.leave((waiter, ask), ask.priority)
        self._meter.waiting(model, len(line))
        if not len(line) and self._lines.get(model) is line:
            del self._lines[model]

    def _admit(self, model: str) -> None:
        """There may be room now: whose turn it is goes in."""
        line = self._lines.get(model)
        if line is None:
            return
        if not self._roster.ready(model):
            line.interrupted()
        for waiting in tuple(line):
            waiter, ask = waiting
            try:
                chosen = self._roster.choose(model, ask)
            except Unavailable as error:
                if ask.begun and model in self._roster.models:  # a replica will come that it has not failed on; others need not wait for it
                    continue
                waiter.set_exception(error)
            else:
                if chosen is None:
                    return
                waiter.set_result(self._taken(chosen, ask))
            line.leave(waiting, ask.priority)

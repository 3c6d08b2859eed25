"""Decides which request gets a slot at one model's replicas, which waits, which is refused, and in which order slots are granted.

It has no futures and no clock: each event brings its time (seconds, of any one clock) and returns the waits that it has ended. A gateway
puts futures and a clock around it (`deployments.gateway.admission`), and a simulator can run it in virtual time. Order and bounds of the
line are `waiting_line`'s; which replica has room is the router's.
"""

from collections.abc import Callable, Collection
from math import inf
from typing import Protocol

from configs.schema import Limits
from deployments.policy.errors.client_errors import Overloaded, Unavailable
from deployments.policy.queue.demand import REFUSED_S, RecentRefusals
from deployments.policy.queue.waiting_line import DwellTimes, Line
from deployments.policy.request.calls import Priority
from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.routing.flights import Sending
from deployments.policy.routing.types import Ask, Pick

Refused = Overloaded | Unavailable
"""Why a request gets no slot, as the error for its client."""


class Replicas(Protocol):
    """The replicas of all models, as far as admission needs to know them."""

    @property
    def models(self) -> Collection[str]:
        """Every model that there should be replicas of."""

    def ready(self, model: str) -> int:
        """Replicas of a model that take requests."""

    def choose(self, model: str, ask: Ask) -> Pick | None:
        """The replica for a request; None where all are full. Raises `Unavailable` where none takes it."""

    def sending(self, chosen: Pick, prompt: Prompt) -> Sending:
        """Counts a request at a replica until it ends."""


class Slot:
    """One request's place at a replica, from when it is granted until it is freed."""

    __slots__ = ("ended", "gave_way", "give_way", "pick", "sending", "since_s")

    def __init__(self, pick: Pick, sending: Sending, since_s: float) -> None:
        self.pick = pick
        self.sending = sending
        self.since_s = since_s
        self.gave_way = False
        """Its request has left for one in a hurry."""
        self.ended = False
        self.give_way: Callable[[], bool] | None = None
        """The way that `yields_by` was given last."""

    def yields_by(self, give_way: Callable[[], bool] | None) -> None:
        """Takes the way to make its request leave early: a call that ends the exchange and returns True, or returns False where the request
        could not go on later. None: the request does not leave early."""
        self.give_way = give_way

    def asked_to_yield(self) -> bool:
        """Asks the request to leave; whether it does. A request leaves once."""
        if not self.gave_way and self.give_way is not None:
            self.gave_way = self.give_way()
            return self.gave_way
        return False


class Waiting:
    """One request that waits for a slot."""

    __slots__ = ("ask", "outcome", "since_s", "until_s")

    def __init__(self, ask: Ask, since_s: float, patience_s: float) -> None:
        self.ask = ask
        self.since_s = since_s
        self.until_s = since_s + patience_s
        """When it is refused, if it has no slot by then; infinite where it waits as long as its client does."""
        self.outcome: Slot | Refused | None = None
        """How the wait has ended; None while it lasts."""


def _patience_s(ask: Ask, limits: Limits) -> float:
    """How long a request waits for a slot. A batch request that made way waits as long as its answer may take."""
    if not ask.begun:
        return limits.queue_s
    return inf if ask.priority is Priority.BATCH else limits.resume_s


class Queue:
    """Slots at one model's replicas, and the line before them."""

    def __init__(self, model: str, replicas: Replicas) -> None:
        self._model = model
        self._replicas = replicas
        self._line: Line[Waiting] = Line()
        self._dwell = DwellTimes()
        self._refusals = RecentRefusals()
        self._batch: dict[Slot, None] = {}
        """Slots of requests that are in no hurry, in the order in which they were granted."""

    def __len__(self) -> int:
        """Requests that wait."""
        return len(self._line)

    def demand(self, now_s: float) -> int:
        """Requests that wait here, and those that were refused a moment ago because all replicas were full."""
        return len(self._line) + self._refusals.count(now_s)

    @property
    def running(self) -> int:
        """Requests that have a slot."""
        return self._dwell.there

    def offered(self, ask: Ask, limits: Limits, now_s: float) -> Slot | Waiting | Refused:
        """Takes a new request: it gets a slot at once, waits, or is refused.

        Args:
            ask: what is known of the request. One that has had a slot (`begun`) is not refused for the length of the line, and also waits
                for a replica that is not there yet.
            limits: how many may wait, and how long.
            now_s: the time.
        """
        there = True
        try:
            chosen = self._replicas.choose(self._model, ask)
        except Unavailable as error:
            if not ask.begun or self._model not in self._replicas.models:
                return error
            chosen, there = None, False
        if chosen is not None and (self._line.is_empty or not self._wait_for_room(ask.priority)):
            return self._granted(chosen, ask, now_s)
        line = Line[Waiting](self._pace_s) if self._line.is_empty else self._line
        refusal = line.refusal(ask.priority, now_s, limits.queue_requests, limits.queue_s)
        if refusal is not None and not ask.begun:
            self._refusals.add(now_s, refusal.retry_after_s or REFUSED_S)
            return Overloaded(self._model, refusal.retry_after_s)
        self._line = line
        waiting = Waiting(ask, now_s, _patience_s(ask, limits))
        line.join(waiting, ask.priority, now_s)
        if ask.priority is Priority.INTERACTIVE and there:
            self._make_way(ask.tried)
        return waiting

    def freed(self, slot: Slot, now_s: float) -> list[Waiting]:
        """Ends a request's time at its replica. Saying so again does nothing.

        Returns:
            The waits that ended with it, in order; `outcome` says how.
        """
        if slot.ended:
            return []
        slot.ended = True
        slot.sending.end()
        self._batch.pop(slot, None)
        self._dwell.ended(now_s - slot.since_s)
        if self._line.is_empty:
            return []
        self._line.ended(now_s)
        return self._admit(now_s)

    def news(self, now_s: float) -> list[Waiting]:
        """Looks again after the replicas, or what is known of them, have changed; returns the waits that ended with it."""
        return [] if self._line.is_empty else self._admit(now_s)

    def expired(self, now_s: float) -> list[Waiting]:
        """Refuses the requests that have waited long enough; returns the waits that ended with it."""
        over = [waiting for waiting in self._line if waiting.until_s <= now_s]
        for waiting in over:
            after_s = self._line.retry_after_s(waiting.ask.priority, now_s)
            waiting.outcome = Overloaded(self._model, after_s)
            self._refusals.add(now_s, after_s or REFUSED_S)
            self._line.leave(waiting, waiting.ask.priority)
        return over + self.news(now_s) if over else over

    def abandoned(self, waiting: Waiting, now_s: float) -> list[Waiting]:
        """Takes a request out whose client has gone, also one whose slot was granted in this very moment; returns the waits that ended with
        it."""
        if isinstance(waiting.outcome, Slot):
            return self.freed(waiting.outcome, now_s)
        self._line.leave(waiting, waiting.ask.priority)
        return self.news(now_s)

    @property
    def _pace_s(self) -> float | None:
        """How soon one slot after the other is free when a line begins; unknown where batch requests can make way at once."""
        return None if self._batch else self._dwell.between_ends_s

    def _wait_for_room(self, priority: Priority) -> bool:
        """Whether requests are ahead that wait for room. Others are not in the way: all that is there has failed them."""
        return any(not self._waits_for_another(waiting.ask) for waiting in self._line if waiting.ask.priority <= priority)

    def _waits_for_another(self, ask: Ask) -> bool:
        """Whether a replica with room, if there is one, is none that this request may use."""
        try:
            return self._replicas.choose(self._model, ask) is None and not self._all_are_full(ask)
        except Unavailable:
            return True

    def _all_are_full(self, ask: Ask) -> bool:
        """Whether no replica at all has room, also none that has failed this request before."""
        return not ask.tried or self._replicas.choose(self._model, ask._replace(tried=frozenset())) is None

    def _granted(self, chosen: Pick, ask: Ask, now_s: float) -> Slot:
        slot = Slot(chosen, self._replicas.sending(chosen, ask.prompt), now_s)
        self._dwell.began()
        if ask.priority is Priority.BATCH:
            self._batch[slot] = None
        return slot

    def _make_way(self, tried: Collection[str]) -> None:
        """Has a batch request leave: of those that can go on later, the one that began last, which has least to compute again.

        Args:
            tried: ids of replicas at which a free slot would not help.
        """
        for slot in reversed(self._batch):
            if slot.pick.replica.id not in tried and slot.asked_to_yield():
                return

    def _admit(self, now_s: float) -> list[Waiting]:
        """Grants slots in the order of the line, until the first request that all replicas are too full for."""
        if not self._replicas.ready(self._model):
            self._line.interrupted()
        over = []
        for waiting in self._line:
            if (outcome := self._turn(waiting.ask, now_s)) is not None:
                waiting.outcome = outcome
                over.append(waiting)
            elif not self._waits_for_another(waiting.ask):
                break
        for waiting in over:
            self._line.leave(waiting, waiting.ask.priority)
        return over

    def _turn(self, ask: Ask, now_s: float) -> Slot | Unavailable | None:
        """Returns what becomes of a waiting request now; None: it goes on waiting."""
        try:
            chosen = self._replicas.choose(self._model, ask)
        except Unavailable as error:
            # A replica will come that a begun request has not failed on; others need not wait for it.
            return None if ask.begun and self._model in self._replicas.models else error
        return None if chosen is None else self._granted(chosen, ask, now_s)

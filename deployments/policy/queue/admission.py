"""Decides which request gets a slot at one model's replicas, which waits, which is refused, and in which order slots are granted.

It has no futures and no clock: each event brings its time (seconds, of any one clock) and returns the waits that it has ended. A gateway
puts futures and a clock around it (`deployments.gateway.admission`), and a simulator can run it in virtual time. Order and bounds of the
line are `waiting_line`'s; which replica has room is the router's.
"""

from collections.abc import Collection

from configs.schema import Limits
from deployments.policy.errors.client_errors import Overloaded, Starting, Unavailable
from deployments.policy.queue.demand import REFUSED_S, RecentRefusals
from deployments.policy.queue.first_replicas import Start
from deployments.policy.queue.replicas import Replicas
from deployments.policy.queue.slots import Refused, Slot, Waiting, in_time_s, patience_s
from deployments.policy.queue.waiting_line import DwellTimes, Line
from deployments.policy.request.calls import BATCH, Priority
from deployments.policy.routing.types import Ask, Pick


class Queue:
    """Slots at one model's replicas, and the line before them."""

    def __init__(self, model: str, replicas: Replicas) -> None:
        self._model = model
        self._replicas = replicas
        self._line: Line[Waiting] = Line()
        self._dwell = DwellTimes()
        self._refusals = RecentRefusals()
        self._start: Start | None = None
        """The start from zero that is under way."""
        self._measured_s = 0.0
        """Seconds that the last one took."""
        self._displaced: list[Waiting] = []
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

    @property
    def is_starting(self) -> bool:
        """Whether requests wait for replicas that start from zero, or are being spread over those that come up. `expects` must be told
        meanwhile."""
        return self._start is not None and not self._line.is_empty

    @property
    def start_s(self) -> float:
        """Seconds from a first request until a replica takes it, as far as is known; 0 where it is not. The last one may have come in the
        middle of a start."""
        return max(self._measured_s, self._replicas.start_s(self._model))

    @property
    def told_start_s(self) -> float:
        """Returns the seconds that clients are told a start takes: the known ones, or those of the config."""
        return self.start_s or self._replicas.assumed_start_s(self._model)

    def expects(self, replicas: int, now_s: float) -> list[Waiting]:
        """Takes how many replicas there are or will be, as Ray Serve has it; returns the waits that ended with it."""
        if self._start is not None:
            self._start.expects(max(replicas, self._replicas.ready(self._model)))
        return self.news(now_s)

    def offered(self, ask: Ask, limits: Limits, now_s: float) -> Slot | Waiting | Refused:
        """Takes a new request: it gets a slot at once, waits, or is refused.

        Args:
            ask: what is known of the request. One that has had a slot (`begun`) is not refused for the length of the line, and also waits
                for a replica that is not there yet.
            limits: how many may wait, and how long.
            now_s: the time.
        """
        there = True
        self._line.look(now_s)
        try:
            chosen = self._replicas.choose(self._model, ask)
        except Unavailable as error:
            if not self._can_wait(ask):
                return error
            if not ask.begun:
                return self._first(ask, limits, now_s)
            chosen, there = None, False
        if chosen is not None and (self._line.is_empty or not self._wait_for_room(ask.priority, now_s)):
            return self._granted(chosen, ask, now_s)
        return self._joins(ask, limits, now_s, there)

    def _joins(self, ask: Ask, limits: Limits, now_s: float, there: bool) -> Waiting | Refused:
        """Takes a request that has no slot yet: it waits, or is refused. `there` says whether any replica takes it once that has room."""
        line = Line[Waiting](self._pace_s) if self._line.is_empty else self._line
        in_time = in_time_s(ask, self._dwell.begins_s)
        refusal = line.refusal(ask.priority, now_s, limits.queue_requests, limits.queue_s, in_time)
        if refusal is not None and not ask.begun:
            self._refusals.add(now_s, refusal.retry_after_s or REFUSED_S)
            return Overloaded(self._model, refusal.retry_after_s)
        self._line = line
        waiting = self._joined(Waiting(ask, now_s, patience_s(ask, limits), in_time), now_s)
        if not ask.begun:
            self._displace(ask.priority, limits.queue_requests, now_s)
        if ask.priority is Priority.INTERACTIVE and there:
            self._make_way(ask.tried)
        return waiting

    def displaced(self) -> list[Waiting]:
        """Returns the waits that the request offered last has ended, by taking the place of one that is too late for its objective."""
        over, self._displaced = self._displaced, []
        return over

    def _displace(self, priority: Priority, most: int, now_s: float) -> None:
        waiting = self._line.displaced(priority, most)
        if waiting is not None:
            self._refuse(waiting, now_s)
            self._displaced.append(waiting)

    def _can_wait(self, ask: Ask) -> bool:
        """Whether a request that no replica takes waits for another one: it has begun, or its model starts with its first requests."""
        return self._model in self._replicas.models and (ask.begun or (ask.on_demand and not ask.tried))

    def _first(self, ask: Ask, limits: Limits, now_s: float) -> Waiting | Refused:
        """Takes a new request for a model that has no replica: it starts the model, and waits for that if it may."""
        if self._start is None or self._start.is_ready or not self.demand(now_s):  # another one than is known of
            self._start = Start(now_s)
        after_s = self._start.left_s(self.told_start_s, now_s)
        if ask.hurried or self._line.is_full(ask.priority, limits.queue_requests):
            self._refusals.add(now_s, after_s)
            return Starting(self._model, after_s) if ask.hurried else Overloaded(self._model, after_s, starting=True)
        self._line = Line() if self._line.is_empty else self._line
        return self._joined(Waiting(ask, now_s, limits.start_wait_s, for_start=True), now_s)

    def _joined(self, waiting: Waiting, now_s: float) -> Waiting:
        self._line.join(waiting, waiting.ask.priority, now_s, waiting.late_s, waiting.until_s)
        return waiting

    def answered(self, slot: Slot, now_s: float) -> None:
        """Takes a request's first token. Saying so again does nothing."""
        slot.sending.answered()
        if slot.is_awaited:
            slot.is_awaited = False
            self._dwell.answered(now_s - slot.since_s)

    def freed(self, slot: Slot, now_s: float) -> list[Waiting]:
        """Ends a request's time at its replica. Saying so again does nothing.

        Returns:
            The waits that ended with it, in order; `outcome` says how.
        """
        if slot.ended:
            return []
        slot.ended = True
        slot.sending.end()
        if self._batch:
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
            self._refuse(waiting, now_s)
            self._line.leave(waiting, waiting.ask.priority)
        return over + self.news(now_s) if over else over

    def _refuse(self, waiting: Waiting, now_s: float) -> None:
        waiting.outcome = refused = self._too_long(waiting, now_s)
        self._refusals.add(now_s, refused.retry_after_s or REFUSED_S)

    def _too_long(self, waiting: Waiting, now_s: float) -> Refused:
        if waiting.ask.on_demand and not self._replicas.ready(self._model):
            return Starting(self._model, (self._start or Start(now_s)).left_s(self.told_start_s, now_s), now_s - waiting.since_s)
        return Overloaded(self._model, self._line.retry_after_s(waiting.ask.priority, now_s))

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

    def _wait_for_room(self, priority: Priority, now_s: float) -> bool:
        """Whether requests are ahead that wait for room. Others are not in the way: all that is there has failed them."""
        return any(not self._waits_for_another(waiting.ask) for waiting in self._line.before(priority, now_s))

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
        slot = Slot(chosen, self._replicas.sending(chosen, ask.prompt), now_s, is_awaited=ask.priority is not BATCH and not ask.begun)
        self._dwell.began()
        if ask.priority is BATCH:
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
        self._line.look(now_s)
        if not self._replicas.ready(self._model):
            self._line.interrupted()
        elif self._start is not None and not self._spreads(self._start, now_s):
            return []
        over, goes_back = self._in_turn(now_s)
        for waiting in over:
            self._line.serve(waiting, waiting.ask.priority, now_s)
        if self._line.is_empty:
            self._start = None
        if goes_back is not None and goes_back.priority is Priority.INTERACTIVE:
            self._make_way(goes_back.tried)
        return over

    def _in_turn(self, now_s: float) -> tuple[list[Waiting], Ask | None]:
        """Returns the waits that end now, and the request that from now on would go back to a replica, if that were not full."""
        over = []
        for waiting in self._line.turns(now_s):
            goes_back = waiting.look_again(now_s)
            if (outcome := self._turn(waiting.ask, now_s)) is not None:
                waiting.outcome = outcome
                over.append(waiting)
            elif not self._waits_for_another(waiting.ask):
                return over, waiting.ask if goes_back else None
        return over, None

    def _spreads(self, start: Start, now_s: float) -> bool:
        """Prepares a start, of which a replica is ready, for the requests that wait; returns whether they may go to it now."""
        self._measured_s = start.ready(now_s) or self._measured_s
        if start.is_over(self.start_s, now_s):
            self._start = None
            return True
        start.divide(len(self._line))
        return start.grants

    def _turn(self, ask: Ask, now_s: float) -> Slot | Unavailable | None:
        """Returns what becomes of a waiting request now; None: it goes on waiting."""
        start = self._start
        try:
            chosen = self._replicas.choose(self._model, ask if start is None else ask._replace(tried=ask.tried | start.full))
        except Unavailable as error:
            # Those that it may go to have their share; or a replica will come that it has not failed on, for which others need not wait.
            return None if (start is not None and start.full) or self._can_wait(ask) else error
        if chosen is None:
            return None
        if start is not None:
            start.granted(chosen.replica.id)
        return self._granted(chosen, ask, now_s)

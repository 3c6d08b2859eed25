"""Room at the replicas, and waiting for it: futures and a clock around `deployments.policy.queue.admission`, which decides.

No replica gets more requests than it runs at once. What waits here waits outside the engines, where another replica can still take it,
where it can be refused with a time to come back, and where a client that hangs up is gone at once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from math import isinf
from types import TracebackType
from typing import Self

from configs.schema import Limits
from deployments.gateway.replicas.loops import end
from deployments.gateway.replicas.roster import Roster
from deployments.policy.queue.admission import Queue
from deployments.policy.queue.slots import Refused, Slot, Waiting
from deployments.policy.routing.types import Ask
from monitoring.export import Meter

Coming = Callable[[str], Awaitable[int]]
"""How many replicas of a model there are or will be. Raises OSError where that cannot be known."""

#: Between two such questions, while requests of a model that had no replica are spread over those that come up, in seconds.
LOOKS_S = 1.0


class Place:
    """A request's slot at a replica, taken until it is left."""

    __slots__ = ("_answered", "_left", "_slot", "pick", "sending")

    def __init__(self, slot: Slot, answered: Callable[[Slot], None], left: Callable[[Slot], None]) -> None:
        self.pick = slot.pick
        """The replica, and why it was picked."""
        self.sending = slot.sending
        """The request as the router counts it."""
        self._slot = slot
        self._answered = answered
        self._left = left

    @property
    def since_s(self) -> float:
        """When the slot was granted, by the clock of `Admission`."""
        return self._slot.since_s

    @property
    def gave_way(self) -> bool:
        """Whether the request has left for one in a hurry."""
        return self._slot.gave_way

    def answered(self) -> None:
        """Says that the request's first token is here: its prompt has been computed. Not to say so makes the replica look busier."""
        self._answered(self._slot)

    def yields_by(self, give_way: Callable[[], bool] | None) -> None:
        """Takes the way to make the request leave early: a call that ends the exchange and returns True, or returns False where the request
        could not go on later. None: the request does not leave early."""
        self._slot.yields_by(give_way)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._left(self._slot)


class Admission:
    """Lets requests in to replicas with room."""

    def __init__(self, roster: Roster, meter: Meter, clock: Callable[[], float] = time.monotonic, coming: Coming | None = None) -> None:
        """Args:
        roster: the replicas; its news let waiting requests in.
        meter: counts those that wait.
        clock: seconds, of the event loop's own clock.
        coming: tells how many replicas a model that starts will have; None: as many as are ready.
        """
        self._coming = coming
        self._spreading: dict[str, asyncio.Task[None]] = {}
        self._roster = roster
        self._meter = meter
        self._clock = clock
        self._queues: dict[str, Queue] = {}
        self._futures: dict[Waiting, asyncio.Future[None]] = {}
        roster.listen(self._news)

    async def place(self, model: str, ask: Ask, limits: Limits) -> Place:
        """A place for a request, as soon as there is one. To be used in a `with`.

        Raises:
            Unavailable: no replica takes requests.
            Overloaded: too many wait already, or it waited too long.
        """
        outcome = self.offer(model, ask, limits)
        return outcome if isinstance(outcome, Place) else await self.wait(model, outcome)

    def offer(self, model: str, ask: Ask, limits: Limits) -> Place | Waiting:
        """A place for a request, to be used in a `with`; where there is none now, its place in the line, for `wait`.

        Raises:
            Unavailable: no replica takes requests.
            Overloaded: too many wait already.
        """
        queue = self._queues.get(model)
        if queue is None:
            queue = self._queues[model] = Queue(model, self._roster)
        outcome = queue.offered(ask, limits, self._clock())
        if isinstance(outcome, Slot):
            return Place(outcome, self._answered, self._left)
        if isinstance(outcome, Waiting):
            self._wake(queue.displaced())
            return outcome
        raise outcome

    async def wait(self, model: str, waiting: Waiting) -> Place:
        """The place of a request that waits in the line. To be called at once, and to be used in a `with`.

        Raises:
            Unavailable: no replica takes requests any more.
            Overloaded: it waited too long.
        """
        ended = await self._waited(model, self._queues[model], waiting)
        if isinstance(ended, Slot):
            return Place(ended, self._answered, self._left)
        raise ended

    async def stop(self) -> None:
        """Ends every loop, and returns when they have ended."""
        await end(self._spreading.values())

    def start_s(self, model: str) -> float:
        """Returns the seconds from the first request of a model without replicas until one takes it: known ones, or else the config's."""
        return self._queues.get(model, Queue(model, self._roster)).told_start_s

    def demand(self, model: str) -> int:
        """Requests of a model that wait here, or were refused a moment ago because all replicas were full."""
        queue = self._queues.get(model)
        return 0 if queue is None else queue.demand(self._clock())

    def running(self, model: str) -> int:
        """Requests of a model that replicas have from here."""
        queue = self._queues.get(model)
        return 0 if queue is None else queue.running

    async def _waited(self, model: str, queue: Queue, waiting: Waiting) -> Slot | Refused:
        """How a wait ends, when it has."""
        future = self._futures[waiting] = asyncio.get_running_loop().create_future()
        self._meter.waiting(model, len(queue))
        try:
            while (outcome := waiting.outcome) is None:
                await asyncio.wait((future,), timeout=None if isinf(waiting.until_s) else waiting.until_s - waiting.since_s)
                if not future.done():  # the timer, which may be a little early
                    self._wake(queue.expired(max(self._clock(), waiting.until_s)))
            return outcome
        except asyncio.CancelledError:
            self._wake(queue.abandoned(waiting, self._clock()))
            raise
        finally:
            del self._futures[waiting]
            self._meter.waiting(model, len(queue))
            self._meter.waited(model, self._clock() - waiting.since_s)

    def _answered(self, slot: Slot) -> None:
        self._queues[slot.pick.replica.model].answered(slot, self._clock())

    def _left(self, slot: Slot) -> None:
        if over := self._queues[slot.pick.replica.model].freed(slot, self._clock()):
            self._wake(over)

    def _news(self, model: str) -> None:
        queue = self._queues.get(model)
        if queue is not None and len(queue):
            self._wake(queue.news(self._clock()))
            if queue.is_starting and model not in self._spreading and self._roster.ready(model):
                self._spreading[model] = asyncio.get_running_loop().create_task(self._spread(model, queue))

    async def _spread(self, model: str, queue: Queue) -> None:
        """Tells a queue how many replicas come up, until their first requests are spread over them."""
        try:
            while queue.is_starting:
                try:
                    replicas = 0 if self._coming is None else await self._coming(model)
                except OSError:
                    replicas = 0
                self._wake(queue.expects(replicas, self._clock()))
                if queue.is_starting:
                    await asyncio.sleep(LOOKS_S)
        finally:
            del self._spreading[model]

    def _wake(self, over: Iterable[Waiting]) -> None:
        for waiting in over:
            future = self._futures.get(waiting)
            if future is not None and not future.done():
                future.set_result(None)

"""A request's slot at a replica, and its wait for one. Decides how long it waits for room."""

from collections.abc import Callable
from math import inf

from configs.schema import Limits
from deployments.policy.errors.client_errors import Overloaded, Unavailable
from deployments.policy.request.calls import Priority
from deployments.policy.routing.flights import Sending
from deployments.policy.routing.types import Ask, Pick

Refused = Overloaded | Unavailable
"""Why a request gets no slot, as the error for its client."""


#: How long a request that lost the connection to a replica waits for another one before the same replica, if it is ready, will do, in
#: seconds; half of its wait where that is shorter. An engine that has died may call itself ready for a moment yet.
LOST_S = 10.0
#: Requests that have waited for the last part of their objective go on waiting behind the others. That part is what requests have lately
#: taken from their slot to their first token, with parts that it has at least and at most.
LEFT_LEAST, LEFT_MOST = 0.3, 0.8


class Slot:
    """One request's place at a replica, from when it is granted until it is freed."""

    __slots__ = ("ended", "gave_way", "give_way", "is_awaited", "pick", "sending", "since_s")

    def __init__(self, pick: Pick, sending: Sending, since_s: float, is_awaited: bool = True) -> None:
        self.pick = pick
        self.sending = sending
        self.since_s = since_s
        self.gave_way = False
        """Its request has left for one in a hurry."""
        self.ended = False
        self.is_awaited = is_awaited
        """Its first token is still to come, and how soon it comes tells how soon others are answered."""
        self.give_way: Callable[[], bool] | None = None
        """The callback that `yields_by` was told last."""

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

    __slots__ = ("ask", "for_start", "late_s", "outcome", "since_s", "until_s")

    def __init__(self, ask: Ask, since_s: float, patience_s: float, in_time_s: float = inf, for_start: bool = False) -> None:
        self.ask = ask
        self.for_start = for_start
        """There was no replica when it came, and it waits for the first one to start."""
        self.since_s = since_s
        self.until_s = since_s + patience_s
        """When it is refused, if it has no slot by then; infinite where it waits as long as its client does."""
        self.late_s = since_s + in_time_s if in_time_s < patience_s else inf
        """When it is too late for its objective; infinite: not while it waits. Requests that start a model keep their order."""
        self.outcome: Slot | Refused | None = None
        """How the wait has ended; None while it lasts."""

    def look_again(self, now_s: float) -> bool:
        """Takes replicas that were lost as worth another try, where the request has waited long enough for others; returns whether it has
        now."""
        if not self.ask.lost or now_s - self.since_s < min(LOST_S, (self.until_s - self.since_s) / 2):
            return False
        self.ask = self.ask._replace(tried=self.ask.tried - self.ask.lost, lost=frozenset())
        return True


def in_time_s(ask: Ask, begins_s: float) -> float:
    """Returns how long a request may wait and keep its objective. Batch requests have none, and it is too late for no request whose client
    has a part of its answer.

    Args:
        ask: the request.
        begins_s: seconds that requests have lately taken from their slot to their first token.
    """
    if ask.begun or ask.priority is Priority.BATCH or ask.ttft_s == inf:
        return inf
    return ask.ttft_s - min(LEFT_MOST * ask.ttft_s, max(LEFT_LEAST * ask.ttft_s, begins_s))


def patience_s(ask: Ask, limits: Limits) -> float:
    """Returns how long a request waits for a slot. A batch request that made way waits as long as its answer may take."""
    if not ask.begun:
        return limits.queue_s
    return inf if ask.priority is Priority.BATCH else limits.resume_s

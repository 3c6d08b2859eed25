"""One gateway in virtual time: production's admission (`policy.queue`) over production's router (`policy.routing`)."""

from collections.abc import Collection, Sequence

from configs.routing import Routing
from configs.schema import Limits
from deployments.policy.queue.admission import Queue
from deployments.policy.queue.slots import Refused, Slot, Waiting
from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.routing.flights import Sending
from deployments.policy.routing.router import NobodyTakes, Router
from deployments.policy.routing.types import Ask, Pick, ReplicaView, unavailable

MODEL = "simulated"
#: A client that finds no replica is told to come again after so many seconds; nothing in a simulation depends on it.
_RETRY_AFTER_S = 10


class Gateway:
    """The gateway of one model. Its replicas are those of the last `roster`."""

    def __init__(self, routing: Routing, limits: Limits, block_tokens: int) -> None:
        """Args:
        routing: how replicas are chosen.
        limits: how many requests may wait, and how long.
        block_tokens: tokens of one block of the prompts.
        """
        self._router = Router(routing, block_tokens)
        self._limits = limits
        self._queue = Queue(MODEL, self)
        self._ready = 0

    @property
    def models(self) -> Collection[str]:
        """The one model that is served."""
        return (MODEL,)

    def ready(self, model: str) -> int:
        """Returns the number of replicas that take requests."""
        return self._ready

    def start_s(self, model: str) -> float:
        """Returns 0: the seconds that a start takes are not known, as in a gateway that has seen none."""
        return 0.0

    def assumed_start_s(self, model: str) -> float:
        """Returns 0: every model always has replicas here, as far as its gateway knows."""
        return 0.0

    def choose(self, model: str, ask: Ask) -> Pick | None:
        """Returns the replica for a request; None where all are full.

        Raises:
            Unavailable: no replica takes it.
        """
        try:
            return self._router.pick(ask)
        except NobodyTakes:
            raise unavailable(model, False, _RETRY_AFTER_S) from None

    def sending(self, chosen: Pick, prompt: Prompt) -> Sending:
        """Counts a request at a replica until it ends."""
        return self._router.sending(chosen, prompt)

    def offered(self, ask: Ask, now_s: float) -> Slot | Waiting | Refused:
        """Takes a request: it gets a slot at once, waits, or is refused."""
        return self._queue.offered(ask, self._limits, now_s)

    def displaced(self) -> list[Waiting]:
        """Returns the waits that the request offered last has ended."""
        return self._queue.displaced()

    def answered(self, slot: Slot, now_s: float) -> None:
        """Takes a request's first token."""
        self._queue.answered(slot, now_s)

    def freed(self, slot: Slot, now_s: float) -> list[Waiting]:
        """Ends a request's time at its replica; returns the waits that ended with it."""
        return self._queue.freed(slot, now_s)

    def expired(self, now_s: float) -> list[Waiting]:
        """Refuses the requests that have waited long enough; returns the waits that ended with it."""
        return self._queue.expired(now_s)

    def roster(self, replicas: Sequence[ReplicaView], now_s: float) -> list[Waiting]:
        """Takes the list of all replicas that take requests; returns the waits that ended with it."""
        self._ready = len(replicas)
        self._router.update(replicas)
        return self._queue.news(now_s)

    def heard(self, view: ReplicaView) -> None:
        """Takes one replica's report; `news` is next."""
        self._router.heard(view)

    def news(self, now_s: float) -> list[Waiting]:
        """Looks again after reports; returns the waits that ended with it."""
        return self._queue.news(now_s)

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._queue)

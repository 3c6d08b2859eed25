"""A gateway's memory for routing one model: what it sent to whom, and what each replica should remember of it.

Keeps what a replica's load and cache are by now (`Columns`), and leaves the choice to a policy of `deployments.policy.routing.policies`. It
has no clock: time comes in with the replicas' views.

News of one replica costs the same however many there are, and so does a request but for a few operations over arrays. Changes are
written into the arrays when a choice looks at them: with one replica, nobody ever does.

Several gateways share no lock and no state. Three things make them agree well enough:

- where nothing is known of a prompt, its first block that this gateway has never seen names its home, by rendezvous hashing over the
  replicas' ids, which is the same computation everywhere. Blocks that everybody has seen (a common system prompt) do not enter into it, so
  it is the conversation that is hashed; a session's key, where a client sends one, is hashed instead;
- what the others sent comes back with every replica's report: their prompts' blocks, which go into the index like one's own
  (`deployments.policy.routing.prompt_gossip`), and the prompt tokens that it has still to compute;
- where a replica cannot say that, its waiting requests beyond one's own count as prompts of the usual length.
"""

from collections.abc import Sequence

import numpy as np

from configs.routing import Routing
from deployments.policy.request.prompt_blocks import BLOCK_TOKENS, Prompt
from deployments.policy.routing.columns import Columns
from deployments.policy.routing.flights import Flight, Sending
from deployments.policy.routing.hashing import of_text
from deployments.policy.routing.policies import POLICIES, Question, weighed
from deployments.policy.routing.prefix_index import PrefixIndex
from deployments.policy.routing.types import Ask, Pick, Reason, ReplicaState, ReplicaView, Trust, most_requests

#: How fast the usual length of a prompt follows the requests: about the last hundred count.
_FOLLOWING = 0.01
#: The index remembers this much more than a replica's cache holds: to stay where nothing is left costs less than to leave what is there.
#: Tuned on the replay of a trace: 1.1 finds less where caches are small and engines busy (0.92 of one shared cache's hits, not 0.96), and 2
#: waits longer.
_OPTIMISM = 1.4
_NOTHING: frozenset[int] = frozenset()
#: In Python 3.11 a member of an enum takes longer to look up than to compare.
_READY, _ONLY = ReplicaState.READY, Reason.ONLY


class NobodyTakes(Exception):
    """There is no replica that takes requests."""


class Router:
    """Routes the requests of one model."""

    def __init__(self, routing: Routing, block_tokens: int = BLOCK_TOKENS) -> None:
        """Args:
        routing: what the config says.
        block_tokens: tokens that a block of `Ask.prompt` stands for.
        """
        self._index_tokens = routing.index_tokens
        self._policy = POLICIES[routing.policy](routing.weights)
        self._block_tokens = block_tokens
        self._index = PrefixIndex()
        self._columns = Columns(weighed(routing.weights))
        self._flights: dict[str, Flight] = {}
        self._changed: set[Flight] = set()
        """The flights that have changed since the columns were written."""
        self._usual_tokens = 0.0
        self._turn = 0

    def update(self, replicas: Sequence[ReplicaView]) -> None:
        """Takes the list of all replicas of the model, and what each says now. One that has gone took its cache along."""
        there = {view.id for view in replicas}
        for gone in [flight for name, flight in self._flights.items() if name not in there]:
            del self._flights[gone.view.id]
            gone.leave()
            self._changed.discard(gone)
            self._index.forget(gone.place)
            self._columns.leave(gone.place)
        self._columns.reserve(len(replicas))
        for view in replicas:
            flight = self._flights.get(view.id)
            if flight is None:
                flight = self._flights[view.id] = Flight(view, self._columns.join(view.id), self._changed.add)
            self._tell(flight, view)
        self._columns.arrange([self._flights[view.id].place for view in replicas])

    def heard(self, view: ReplicaView) -> None:
        """Takes what one replica says now; one that is not listed is ignored."""
        flight = self._flights.get(view.id)
        if flight is not None:
            self._tell(flight, view)

    def pick(self, ask: Ask) -> Pick | None:
        """The replica for a request; None where all are full. Remembers nothing of it: `sending` does.

        Raises:
            NobodyTakes: no replica takes requests, full or not.
        """
        columns, flights = self._columns, self._flights
        if len(flights) == 1:
            return _of_one(next(iter(flights.values())), ask)
        self._write()
        tried = {flights[name].place for name in ask.tried if name in flights} if ask.tried else _NOTHING
        able = columns.able(tried, ask.priority)
        if able.several < 2:
            return self._without_choice(int(np.count_nonzero(columns.taking(tried))), int(able.mask.argmax()) if able.several else None)
        prompt = ask.prompt
        matches = self._index.matches(prompt.blocks) if prompt.blocks else {}
        return self._policy(
            Question(
                columns,
                able,
                prompt.tokens,
                len(prompt.blocks),
                matches,
                _key(ask, max(matches.values()) if matches else 0),
                self._turn,
                self._usual_tokens,
                self._index.now,
            )
        )

    def _without_choice(self, taking: int, place: int | None) -> Pick | None:
        if not taking:
            raise NobodyTakes
        return None if place is None else Pick(self._columns.views[place], Reason.ONLY if taking == 1 else Reason.ROOM_LEFT)

    def sending(self, pick: Pick, prompt: Prompt) -> Sending:
        """While this lasts, the replica has one more request from here; from now on it should remember the prompt. One that is not listed
        any more is counted for itself."""
        self._turn += 1
        computed = max(0, prompt.tokens - pick.hit_tokens)
        self._usual_tokens += (computed - self._usual_tokens) * max(_FOLLOWING, 1 / self._turn)
        flight = self._flights.get(pick.replica.id)
        if flight is None:
            return Sending(Flight(pick.replica, -1), computed)
        if prompt.blocks:
            self._index.remember(flight.place, prompt.blocks, self._capacity(flight))
        return Sending(flight, computed)

    def learn(self, replica: str, prompt: Prompt) -> None:
        """Another gateway has sent this prompt to the replica with this id, so that it should be remembered there."""
        flight = self._flights.get(replica)
        if flight is not None:
            self._index.remember(flight.place, prompt.blocks, self._capacity(flight))
            flight.change()

    def others(self, replica: str) -> int | None:
        """Requests that other gateways have at a replica by its last report; None where it has been silent since, or is unknown."""
        flight = self._flights.get(replica)
        return flight.others if flight is not None and flight.view.trust is Trust.TRUSTED else None

    def _tell(self, flight: Flight, view: ReplicaView) -> None:
        limit = self._index_tokens
        flight.told(view, int(min((view.kv_tokens or limit) * _OPTIMISM, limit)))
        self._columns.tell(flight.place, view)
        flight.change()

    def _write(self) -> None:
        """Writes into the columns what has changed."""
        for flight in self._changed:
            self._columns.write(flight, *self._index.oldest(flight.place, self._capacity(flight)))
        self._changed.clear()

    def _capacity(self, flight: Flight) -> int:
        """Blocks that a replica is believed to have room for. What still waits there has not pushed anything out yet."""
        return (flight.held_tokens + flight.prefill_tokens) // self._block_tokens


def _of_one(flight: Flight, ask: Ask) -> Pick | None:
    """Returns the only replica that there is; None where it is full.

    Raises:
        NobodyTakes: it takes no requests, or the request has failed on it.
    """
    view = flight.view
    if view.state is not _READY or view.id in ask.tried:
        raise NobodyTakes
    return Pick(view, _ONLY) if flight.requests_now < most_requests(view, ask.priority) else None


def _key(ask: Ask, known: int) -> int | None:
    """Returns what names a request's home: its session, else the first block that no replica has, else nothing.

    Args:
        ask: the request.
        known: how many of its first blocks a replica has, at most.
    """
    if ask.session is not None:
        return of_text(ask.session)
    return ask.prompt.blocks[known] if known < len(ask.prompt.blocks) else None

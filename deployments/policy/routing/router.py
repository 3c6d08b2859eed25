"""A gateway's memory for routing one model: what it sent to whom, and what each replica should remember of it.

Decides what a replica's load and cache are by now (`Candidate`), and leaves the choice to a policy of
`deployments.policy.routing.policies`. It has no clock: time comes in with the replicas' views, and a view is one report, told apart by
identity.

Several gateways share no lock and no state. Three things make them agree well enough:

- where nothing is known of a prompt, its first block that this gateway has never seen names its home, by rendezvous hashing over the
  replicas' ids, which is the same computation everywhere. Blocks that everybody has seen (a common system prompt) do not enter into it, so
  it is the conversation that is hashed; a session's key, where a client sends one, is hashed instead;
- what the others sent comes back with every replica's report: their prompts' blocks, which go into the index like one's own
  (`deployments.policy.routing.prompt_gossip`), and the prompt tokens that it has still to compute;
- where a replica cannot say that, its waiting requests beyond one's own count as prompts of the usual length.
"""

import zlib
from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from configs.routing import Routing
from deployments.policy.request.prompt_blocks import BLOCK_TOKENS, Prompt
from deployments.policy.routing.policies import POLICIES, Question, mixed, weighed
from deployments.policy.routing.prefix_index import PrefixIndex
from deployments.policy.routing.types import Ask, Candidate, Pick, Reason, ReplicaView, Trust, has_room, preferred, takes

#: How fast the usual length of a prompt follows the requests: about the last hundred count.
_FOLLOWING = 0.01
#: The index remembers this much more than a replica's cache holds: to stay where nothing is left costs less than to leave what is there.
#: Tuned on the replay of a trace: 1.1 finds less where caches are small and engines busy (0.92 of one shared cache's hits, not 0.96), and 2
#: waits longer.
_OPTIMISM = 1.4


class _Flight:
    """What one replica has from this gateway."""

    __slots__ = ("ended", "held_tokens", "prefill_tokens", "requests", "seed", "sent", "since", "since_tokens", "unanswered", "view")

    def __init__(self, view: ReplicaView) -> None:
        self.view = view
        self.held_tokens = 0
        """What it is believed to remember, at most."""
        self.seed = mixed(zlib.crc32(view.id.encode("utf-8", "surrogatepass")))
        self.requests = 0
        self.sent = 0
        """Requests that it ever got from here."""
        self.unanswered = 0
        self.prefill_tokens = 0
        self.ended = 0
        """Requests sent before the replica's report, so that they are in it, and ended after it."""
        self.since = 0
        """Requests sent after the replica's report, and not ended."""
        self.since_tokens = 0
        """Prompt tokens of requests sent after the replica's report, and not answered."""

    def reported(self, view: ReplicaView) -> None:
        """What was sent before a new report is in it."""
        if self.view is not view:
            self.view, self.ended, self.since, self.since_tokens = view, 0, 0, 0


class Sending(AbstractContextManager["Sending"]):
    """One request on its way to a replica, from now until it ends."""

    __slots__ = ("_answered", "_ended", "_first", "_flight", "_number", "_view", "prefill_tokens")

    def __init__(self, flight: _Flight, prefill_tokens: int) -> None:
        self.prefill_tokens = prefill_tokens
        """Of its prompt, tokens that must be computed, as far as is known."""
        self._flight = flight
        self._answered = self._ended = False
        self._view = flight.view
        self._first = not flight.requests
        flight.sent += 1
        self._number = flight.sent
        flight.requests += 1
        flight.unanswered += 1
        flight.since += 1
        flight.prefill_tokens += prefill_tokens
        flight.since_tokens += prefill_tokens

    @property
    def alone(self) -> bool:
        """Whether no other request from here has been at the replica since this one went there."""
        return self._first and self._number == self._flight.sent

    def answered(self) -> None:
        """Its first token is here: its prompt has been computed. Not calling it is safe, and makes the replica look busier than it is."""
        if not self._answered:
            self._answered = True
            self._flight.unanswered -= 1
            self._flight.prefill_tokens -= self.prefill_tokens
            if self._flight.view is self._view:
                self._flight.since_tokens -= self.prefill_tokens

    def end(self) -> None:
        """It has ended. Saying so again does nothing."""
        if self._ended:
            return
        self._ended = True
        self.answered()
        self._flight.requests -= 1
        if self._flight.view is self._view:
            self._flight.since -= 1
        else:
            self._flight.ended += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end()


class NobodyTakes(Exception):
    """There is no replica that takes requests."""


class Router:
    """Routes the requests of one model."""

    def __init__(self, routing: Routing, block_tokens: int = BLOCK_TOKENS) -> None:
        """Args:
        routing: what the config says.
        block_tokens: tokens that a block of `Ask.prompt` stands for.
        """
        self._routing = routing
        self._policy = POLICIES[routing.policy]
        self._scores = weighed(routing.weights)
        self._block_tokens = block_tokens
        self._index = PrefixIndex()
        self._flights: dict[str, _Flight] = {}
        self._noticed: Sequence[ReplicaView] = ()
        self._usual_tokens = 0.0
        self._turn = 0

    def pick(self, replicas: Sequence[ReplicaView], ask: Ask) -> Pick | None:
        """The replica for a request; None where all are full. Remembers nothing of it: `sending` does.

        Args:
            replicas: every replica of the model, with what it said last. Pass the same objects until there is a new report.
            ask: the request.

        Raises:
            NobodyTakes: no replica takes requests, full or not.
        """
        self._notice(replicas)
        taking = takes(replicas, ask.tried)
        if not taking:
            raise NobodyTakes
        able = preferred([view for view in taking if has_room(view, self.requests(view), ask.priority)])
        if len(able) < 2:
            return Pick(able[0], Reason.ONLY if len(taking) == 1 else Reason.ROOM_LEFT) if able else None
        question = Question(ask.prompt.tokens, self._turn, self._scores)
        return self._policy(self._candidates(able, ask), question)

    def sending(self, pick: Pick, prompt: Prompt) -> Sending:
        """While this lasts, the replica has one more request from here; from now on it should remember the prompt."""
        replica = pick.replica
        flight = self._flight(replica)
        self._turn += 1
        computed = max(0, prompt.tokens - pick.hit_tokens)
        self._usual_tokens += (computed - self._usual_tokens) * max(_FOLLOWING, 1 / self._turn)
        self._index.remember(replica.id, prompt.blocks, self._capacity(flight))
        return Sending(flight, computed)

    def learn(self, replica: ReplicaView, prompt: Prompt) -> None:
        """Another gateway has sent this prompt there, so that it should be remembered there."""
        self._index.remember(replica.id, prompt.blocks, self._capacity(self._flight(replica)))

    def requests(self, replica: ReplicaView) -> int:
        """Requests that a replica has by now: what it reported, without what ended and with what was sent since; at least all from here."""
        flight = self._flights.get(replica.id)
        return max(replica.ongoing - flight.ended + flight.since, flight.requests) if flight else replica.ongoing

    def others(self, replicas: Sequence[ReplicaView], name: str) -> int | None:
        """Requests that other gateways have at a replica by its last report; None where it has been silent since, or is unknown."""
        self._notice(replicas)
        view = next((view for view in replicas if view.id == name), None)
        if view is None or view.trust is not Trust.TRUSTED:
            return None
        flight = self._flights[name]
        return max(0, view.ongoing - flight.ended + flight.since - flight.requests)

    def _notice(self, replicas: Sequence[ReplicaView]) -> None:
        """New reports: what was sent before them is in them. Who is no longer there took its cache along."""
        if replicas is self._noticed:
            return
        self._noticed = replicas
        for view in replicas:
            flight = self._flight(view)
            flight.reported(view)
            flight.held_tokens = self._held_tokens(view)
        there = {view.id for view in replicas}
        for gone in self._index.replicas - there:
            self._index.forget(gone)
        for gone in self._flights.keys() - there:
            del self._flights[gone]

    def _candidates(self, able: Sequence[ReplicaView], ask: Ask) -> list[Candidate]:
        prompt = ask.prompt
        matches = self._index.matches(prompt.blocks)
        home = self._home(able, ask, max(matches.values(), default=0))
        tokens_of = prompt.tokens / len(prompt.blocks) if prompt.blocks else 0.0
        ages = [self._age(view, len(prompt.blocks) - matches.get(view.id, 0)) for view in able]
        oldest = max((age for age in ages if age is not None), default=0) or 1
        requests = [self.requests(view) for view in able]
        share = 1 + sum(requests) / len(requests)
        return [
            Candidate(
                view,
                count,
                self._wait_tokens(view),
                int(matches.get(view.id, 0) * tokens_of),
                count / share,
                1.0 if age is None else age / oldest,
                1.0 if view.id == home else 0.0,
            )
            for view, count, age in zip(able, requests, ages, strict=True)
        ]

    def _wait_tokens(self, view: ReplicaView) -> int:
        flight = self._flights[view.id]
        if view.prefill_tokens is not None:
            return max(view.prefill_tokens + flight.since_tokens, flight.prefill_tokens)
        others = max(0, view.waiting - flight.unanswered)
        return flight.prefill_tokens + int(others * self._usual_tokens)

    def _age(self, view: ReplicaView, new_blocks: int) -> int | None:
        return self._index.forget_age(view.id, new_blocks, self._capacity(self._flights[view.id]))

    def _home(self, able: Sequence[ReplicaView], ask: Ask, known: int) -> str | None:
        """The replica with the highest number made of its id and of the key (rendezvous hashing, Thaler and Ravishankar 1996)."""
        if ask.session is not None:
            key = zlib.crc32(ask.session.encode("utf-8", "surrogatepass"))
        elif known < len(ask.prompt.blocks):
            key = ask.prompt.blocks[known]
        else:
            return None
        return max(able, key=lambda view: mixed(self._flights[view.id].seed ^ key)).id

    def _capacity(self, flight: _Flight) -> int:
        """Blocks that a replica is believed to have room for. What still waits there has not pushed anything out yet."""
        return (flight.held_tokens + flight.prefill_tokens) // self._block_tokens

    def _held_tokens(self, view: ReplicaView) -> int:
        limit = self._routing.index_tokens
        return int(min((view.kv_tokens or limit) * _OPTIMISM, limit))

    def _flight(self, view: ReplicaView) -> _Flight:
        flight = self._flights.get(view.id)
        if flight is None:
            flight = self._flights[view.id] = _Flight(view)
            flight.held_tokens = self._held_tokens(view)
        return flight

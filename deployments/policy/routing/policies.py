"""How to choose among the replicas that may serve a request: scores, and the policies that the config names.

A score says in [0, 1] how good each replica is; the policy `herd` adds all scores up by their weights. A score that looks at a replica's
report alone is a function in `OF_REPORTS`. A policy is a function in `POLICIES`: another one is another function there, and its name in the
schema.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from configs.routing import RoutingWeights
from deployments.policy.routing import hashing
from deployments.policy.routing.columns import HIT, LAST_USED, LOAD, MEMORY, REQUESTS, Able, Bools, Columns, Floats, Places
from deployments.policy.routing.types import Pick, Reason, ReplicaView, Trust


def warm_up(view: ReplicaView) -> float:
    """Returns 0 at a replica's start, 1 after `WARM_S`: kernels and caches are cold, and everybody would send there at once."""
    return min(1.0, view.ready_s / WARM_S)


def trust(view: ReplicaView) -> float:
    """Returns 1 where a replica's reports are fresh."""
    return 1.0 if view.trust is Trust.TRUSTED else 0.0


#: A replica is cold for so long.
WARM_S = 30.0
#: Up to so much of its share a replica is not crowded, and from so much on it is: bounded loads, as consistent hashing has them (Mirrokni,
#: Thorup and Zadimoghaddam 2018). Tuned on two prompts of 20,000 tokens that most requests share: without it they stay on two replicas.
FAIR, CROWDED = 1.5, 2.1
#: Scores that are made of a replica's report alone, by the names of their weights, and the reasons that they stand for.
OF_REPORTS: Mapping[str, tuple[Callable[[ReplicaView], float], Reason]] = MappingProxyType(
    {
        "warm_up": (warm_up, Reason.WARM),
        "trust": (trust, Reason.TRUST),
    }
)
#: All scores in the order of `Columns.rows`, and `session`, which one replica has. `prefix` is what a replica need not compute. `queue` is
#: what it has not to compute before. `kv` is 1 while its memory is easily enough for all that it has and for this prompt, and 0 where it
#: would be full. `balance` is 1 up to somewhat more than its share of the requests, and 0 far beyond: it bounds the crowd at a prefix that
#: everybody has. `room` is how long ago what its cache would forget for this prompt was last used: 0 just now, 1 longer ago than anywhere
#: else, or where it has room.
SCORES: Mapping[str, Reason] = MappingProxyType(
    {
        "prefix": Reason.PREFIX,
        "queue": Reason.LEAST_LOADED,
        "kv": Reason.KV,
        "balance": Reason.BALANCE,
        "room": Reason.ROOM,
        **{name: reason for name, (_, reason) in OF_REPORTS.items()},
        "session": Reason.SESSION,
    }
)


class Question(NamedTuple):
    """The question to a policy: where one request should go. A tuple, because one is made per request."""

    columns: Columns
    """The replicas, as they are known."""
    able: Able
    """The replicas that may be picked: two at least."""
    tokens: int = 0
    """The prompt's."""
    blocks: int = 0
    """The prompt's."""
    matches: Mapping[int, int] = MappingProxyType({})
    """How many of its first blocks replicas have, by sets of places (`PrefixIndex.matches`)."""
    key: int | None = None
    """The key that names its home; None where there is none."""
    turn: int = 0
    """How many requests the gateway has routed before: what turns, and what stands in for dice."""
    usual_tokens: float = 0.0
    """Of a prompt whose length is not known."""
    now: int = 0
    """The time in the prefix index."""

    def pick(self, place: int, reason: Reason) -> Pick:
        """Returns the pick of the replica at a place."""
        depth = 0
        for places, blocks in self.matches.items():
            if places >> place & 1:
                depth = blocks
        return Pick(self.columns.views[place], reason, int(depth * self.block_tokens))

    @property
    def block_tokens(self) -> float:
        """Tokens of one block of the prompt."""
        return self.tokens / self.blocks if self.blocks else 0.0

    def among_able(self, row: Floats, otherwise: float) -> Floats:
        """Returns a row in which replicas that may not be picked, and free places, have another number."""
        return row if self.able.several == row.size else np.where(self.able.mask, row, otherwise)


Policy = Callable[[Question], Pick]
"""Picks one of at least two replicas."""


class Herd:
    """The policy that adds up all scores by their weights; at equal sums it takes the idler replica, and the last id of these.

    What is the same for all replicas is left out of the sums: it decides nothing.
    """

    def __init__(self, weights: RoutingWeights) -> None:
        """Args:
        weights: of every score; one that has none is no reason either. Those of the columns are the same (`weighed`).
        """
        self._weights = weights
        self._scored = np.empty((LAST_USED + 1, 0))
        self._reasons = tuple(reason if getattr(weights, name) else None for name, reason in SCORES.items())

    def __call__(self, question: Question) -> Pick:
        """Returns the replica with the highest sum, and the score by which it leads most before the second."""
        columns = question.columns
        totals, scored = self._score(question)
        home = -1 if question.key is None else self._home(question, question.key)
        if home >= 0:
            totals[home] += self._weights.session
        totals = question.among_able(totals, -math.inf)
        first = int(totals.argmax())
        most, totals[first] = totals[first], -math.inf
        second = int(totals.argmax())
        if totals[second] == most:
            totals[first] = most
            first = _best_of_equal(totals == most, columns)
            totals[first] = -math.inf
            second = int(totals.argmax())
        leads = [0.0] * (LAST_USED + 1)
        for row, scores in scored.items():
            leads[row] = scores.item(first) - scores.item(second)
        leads += [one - other for one, other in zip(columns.scores[first], columns.scores[second], strict=True)]
        leads.append(self._weights.session * ((first == home) - (second == home)))
        return question.pick(first, self._reason(leads))

    def _reason(self, leads: list[float]) -> Reason:
        best, most = Reason.LEAST_LOADED, -math.inf
        for lead, reason in zip(leads, self._reasons, strict=True):
            if lead > most and reason is not None:
                best, most = reason, lead
        return best

    def _score(self, question: Question) -> tuple[Floats, dict[int, Floats]]:
        """Returns the sums, and those scores by their weights that replicas differ in, by rows of `Columns.rows`. Tokens are divided by the
        horizon, which makes them comparable: the most tokens that any replica would have to compute before the answer begins."""
        columns, weights = question.columns, self._weights
        if self._scored.shape[1] != columns.size:
            self._scored = np.empty((LAST_USED + 1, columns.size))
        into = self._scored
        load, easy = self._waits(question)
        horizon = 1 + question.tokens + _most(question.among_able(load, 0.0))
        so_far = np.multiply(load, -weights.queue / horizon, into[LOAD])
        scored = {LOAD: so_far}
        if question.matches:
            hit = np.floor(np.multiply(columns.spread(question.matches), question.block_tokens, columns.hit), columns.hit)
            scored[HIT] = np.multiply(hit, weights.prefix / horizon, into[HIT])
            so_far = so_far + scored[HIT]
        scored |= self._cut_off(question, easy, into)
        totals: Floats = so_far + scored.get(MEMORY, weights.kv)
        totals += scored.get(REQUESTS, weights.balance)
        forgets, oldest = self._forgets(question)
        if oldest < math.inf:
            scored[LAST_USED] = np.multiply(columns.last_used, -weights.room / oldest, into[LAST_USED])
            if forgets is not None:
                np.copyto(into[LAST_USED], weights.room - weights.room * question.now / oldest, where=~forgets)
            totals += scored[LAST_USED]
        for row in columns.rows[LAST_USED + 1 :]:
            totals += row
        return totals, scored

    @staticmethod
    def _waits(question: Question) -> tuple[Floats, Floats]:
        """Returns `load` and `easy` of the columns, with prompts of unknown length taken for usual ones."""
        columns = question.columns
        if not columns.has_untold:
            return columns.load, columns.easy
        wait = np.floor(columns.untold * question.usual_tokens)
        return columns.load + wait, columns.easy - wait * columns.memory

    def _cut_off(self, question: Question, easy: Floats, into: Floats) -> dict[int, Floats]:
        """Returns the scores of memory and of requests, but where the fullest replica tells that all have the highest."""
        columns, weights = question.columns, self._weights
        scored: dict[int, Floats] = {}
        times = -weights.kv * question.tokens
        if columns.most_memory * times + weights.kv * easy.item(easy.argmin()) < weights.kv:
            memory = np.multiply(columns.memory, times, into[MEMORY])
            memory += weights.kv * easy
            scored[MEMORY] = np.minimum(np.maximum(memory, 0.0, memory), weights.kv, memory)
        share = 1 + question.able.requests / question.able.several
        times, most = -weights.balance / (share * (CROWDED - FAIR)), weights.balance * CROWDED / (CROWDED - FAIR)
        if _most(columns.requests) * times + most < weights.balance:
            requests = np.multiply(columns.requests, times, into[REQUESTS])
            requests += most
            scored[REQUESTS] = np.minimum(np.maximum(requests, 0.0, requests), weights.balance, requests)
        return scored

    @staticmethod
    def _forgets(question: Question) -> tuple[Bools | None, float]:
        """Returns the replicas whose cache forgets something for this prompt, None where it is all or none; and how long ago was used last
        what one of them forgets, at most."""
        columns = question.columns
        if question.blocks <= columns.spare.item(columns.spare.argmin()):
            return None, math.inf
        forgets: Bools = (question.blocks - columns.depth if question.matches else question.blocks) > columns.spare
        several = np.count_nonzero(forgets)
        if not several:
            return None, math.inf
        last_used = columns.last_used
        if several < columns.size:
            last_used = np.where(forgets, last_used, math.inf)
        since = float(np.minimum.reduce(question.among_able(last_used, math.inf)))
        return (None if several == columns.size else forgets), max(1.0, question.now - since)

    @staticmethod
    def _home(question: Question, key: int) -> int:
        """Returns the place of the replica that every gateway takes for the home of the session or prompt."""
        numbers = hashing.weights(question.columns.seeds, key)
        if question.able.several < numbers.size:
            numbers *= question.able.mask
        return int(numbers.argmax())


def weighed(weights: RoutingWeights) -> list[tuple[Callable[[ReplicaView], float], float]]:
    """Returns the scores that are made of reports alone, each with its weight."""
    return [(score, getattr(weights, name)) for name, (score, _) in OF_REPORTS.items()]


def _most(row: Floats) -> float:
    """Returns the highest number of a row; in this way in a third of the time that `max` takes."""
    return row.item(row.argmax())


def _best_of_equal(equal: Bools, columns: Columns) -> int:
    """Returns the place of these that has the fewest requests; of equal ones the one whose id is the last."""
    places = equal.nonzero()[0]
    return int(places[(columns.requests[places] * columns.size - columns.rank[places]).argmin()])


def _idlest(able: Bools, columns: Columns) -> int:
    """Returns the place with the fewest requests; of equal ones the one whose id is the first."""
    return int(np.where(able, columns.requests * columns.size + columns.rank, math.inf).argmin())


def longest_prefix(question: Question) -> Pick:
    """Picks a replica that has the most of the prompt, however busy; the idlest of these."""
    if not question.matches:
        return least_loaded(question)
    depths = question.among_able(question.columns.spread(question.matches), -1.0)
    place = _idlest(depths == depths.max(), question.columns)
    pick = question.pick(place, Reason.PREFIX)
    return pick if pick.hit_tokens else pick._replace(reason=Reason.LEAST_LOADED)


def least_loaded(question: Question) -> Pick:
    """Picks the replica with the fewest requests."""
    return question.pick(_idlest(question.able.mask, question.columns), Reason.LEAST_LOADED)


def power_of_two(question: Question) -> Pick:
    """Picks the better of two at random; its dice are the turn's number, well mixed."""
    dice, places = hashing.mixed(question.turn), _in_order(question)
    one = dice % places.size
    other = (one + 1 + (dice >> 32) % (places.size - 1)) % places.size
    two = np.zeros_like(question.able.mask)
    two[places[[one, other]]] = True
    return question.pick(_idlest(two, question.columns), Reason.TWO_CHOICES)


def round_robin(question: Question) -> Pick:
    """Picks each in turn."""
    places = _in_order(question)
    return question.pick(int(places[question.turn % places.size]), Reason.ROUND_ROBIN)


def _in_order(question: Question) -> Places:
    """Returns the places of the replicas that may be picked, in the order of the roster."""
    order = question.columns.order
    return order[question.able.mask[order]]


def _without_weights(policy: Policy) -> Callable[[RoutingWeights], Policy]:
    return lambda _weights: policy


#: What makes each policy of its weights, by the config's names.
POLICIES: Mapping[str, Callable[[RoutingWeights], Policy]] = MappingProxyType(
    {
        "herd": Herd,
        "prefix": _without_weights(longest_prefix),
        "least_loaded": _without_weights(least_loaded),
        "power_of_two": _without_weights(power_of_two),
        "round_robin": _without_weights(round_robin),
    }
)

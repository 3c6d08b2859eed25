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
from deployments.policy.routing.columns import BALANCE, CROWDED, FAIR, KV, QUEUE, Bools, Columns, Floats, Places
from deployments.policy.routing.types import Pick, Reason, ReplicaView, Trust


def warm_up(view: ReplicaView) -> float:
    """Returns 0 at a replica's start, 1 after `WARM_S`: kernels and caches are cold, and everybody would send there at once."""
    return min(1.0, view.ready_s / WARM_S)


def trust(view: ReplicaView) -> float:
    """Returns 1 where a replica's reports are fresh."""
    return 1.0 if view.trust is Trust.TRUSTED else 0.0


#: A replica is cold for so long.
WARM_S = 30.0
#: Scores that are made of a replica's report alone, by the names of their weights, and the reasons that they stand for.
OF_REPORTS: Mapping[str, tuple[Callable[[ReplicaView], float], Reason]] = MappingProxyType(
    {
        "warm_up": (warm_up, Reason.WARM),
        "trust": (trust, Reason.TRUST),
    }
)
#: Scores that are lines (`Columns`), and the reasons that they stand for. `queue` is what a replica has not to compute before. `kv` is 1
#: while its memory is easily enough for all that it has and for this prompt, and 0 where it would be full. `balance` is 1 up to somewhat
#: more than its share of the requests, and 0 far beyond: it bounds the crowd at a prefix that everybody has.
LINES: Mapping[str, Reason] = MappingProxyType(
    {
        "queue": Reason.LEAST_LOADED,
        "kv": Reason.KV,
        "balance": Reason.BALANCE,
        **{name: reason for name, (_, reason) in OF_REPORTS.items()},
    }
)


class Question(NamedTuple):
    """What a policy is asked: where one request should go. A tuple, because one is made per request."""

    columns: Columns
    """What is known of the replicas."""
    able: Bools
    """The replicas that may be picked."""
    several: int
    """How many these are: two at least."""
    tokens: int = 0
    """The prompt's."""
    blocks: int = 0
    """The prompt's."""
    matches: Mapping[int, int] = MappingProxyType({})
    """How many of its first blocks replicas have, by sets of places (`PrefixIndex.matches`)."""
    key: int | None = None
    """What names its home; None where nothing does."""
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
        return row if self.several == row.size else np.where(self.able, row, otherwise)


Policy = Callable[[Question], Pick]
"""Picks one of at least two replicas."""


class Herd:
    """The policy that adds up all scores by their weights; at equal sums it takes the idler replica, and the last id of these."""

    def __init__(self, weights: RoutingWeights) -> None:
        """Args:
        weights: of every score; one that has none is no reason either.
        """
        self._prefix, self._session, self._room = weights.prefix, weights.session, weights.room
        self._weights: Floats = np.array([[getattr(weights, name)] for name in LINES])
        self._x: Floats = np.zeros_like(self._weights)
        of_prompts = {"prefix": Reason.PREFIX, "room": Reason.ROOM, "session": Reason.SESSION}
        self._reasons = tuple(reason if getattr(weights, name) else None for name, reason in (*LINES.items(), *of_prompts.items()))

    def __call__(self, question: Question) -> Pick:
        """Returns the replica with the highest sum, and the score by which it leads most before the second."""
        columns = question.columns
        lines, horizon = self._lines(question)
        totals: Floats = np.add.reduce(lines)
        depths = columns.spread(question.matches) if question.matches else None
        prefix = None if depths is None else np.floor(depths * question.block_tokens) * (self._prefix / horizon)
        room = self._rooms(question, depths)
        for part in (prefix, room):
            if part is not None:
                totals += part
        home = -1 if question.key is None else self._home(question, question.key)
        if home >= 0:
            totals[home] += self._session
        totals = question.among_able(totals, -math.inf)
        first = _best(totals, columns)
        totals[first] = -math.inf
        second = _best(totals, columns)
        leads = (lines[:, first] - lines[:, second]).tolist()
        leads += [0.0 if part is None else float(part[first] - part[second]) for part in (prefix, room)]
        leads.append(self._session * ((first == home) - (second == home)))
        return question.pick(first, self._reason(leads))

    def _reason(self, leads: list[float]) -> Reason:
        best, most = Reason.LEAST_LOADED, -math.inf
        for lead, reason in zip(leads, self._reasons, strict=True):
            if lead > most and reason is not None:
                best, most = reason, lead
        return best

    def _lines(self, question: Question) -> tuple[Floats, float]:
        """Returns the scores that are lines, by their weights, and the horizon: the most tokens that any replica would have to compute
        before the answer begins. Tokens divided by it are comparable among scores."""
        base, slope = self._now(question)
        horizon = 1 + question.tokens + float(question.among_able(slope[QUEUE], 0.0).max())
        share = 1 + float(question.among_able(slope[BALANCE], 0.0).sum()) / question.several
        x = self._x
        x[QUEUE], x[KV], x[BALANCE] = 1 / horizon, question.tokens, 1 / (share * (CROWDED - FAIR))
        lines: Floats = base - slope * x
        np.maximum(lines, 0.0, lines)
        np.minimum(lines, 1.0, lines)
        lines *= self._weights
        return lines, horizon

    @staticmethod
    def _now(question: Question) -> tuple[Floats, Floats]:
        """Returns bases and slopes, with prompts of unknown length taken for usual ones."""
        columns = question.columns
        if not np.count_nonzero(columns.untold):
            return columns.base, columns.slope
        wait = np.floor(columns.untold * question.usual_tokens)
        base, slope = columns.base.copy(), columns.slope.copy()
        slope[QUEUE] += wait
        base[KV] -= wait * slope[KV]
        return base, slope

    def _rooms(self, question: Question, depths: Floats | None) -> Floats | None:
        """Returns how long ago what a replica's cache would forget for this prompt was last used, by its weight: nothing just now, and all
        of it longer ago than anywhere else, or where there is room. None where all have room."""
        columns = question.columns
        forgets = (question.blocks if depths is None else question.blocks - depths) > columns.spare
        if not (many := np.count_nonzero(forgets)):
            return None
        ages: Floats = question.now - columns.last_used
        if many < ages.size:
            ages *= forgets
        ages *= self._room / (float(question.among_able(ages, 0.0).max()) or 1.0)
        return ages if many == ages.size else np.where(forgets, ages, self._room)

    @staticmethod
    def _home(question: Question, key: int) -> int:
        """Returns the place of the replica that every gateway takes for the home of the session or prompt."""
        numbers = hashing.weights(question.columns.seeds, key)
        if question.several < numbers.size:
            numbers *= question.able
        return int(numbers.argmax())


def _best(totals: Floats, columns: Columns) -> int:
    """Returns the place with the highest total; of equal ones the idlest, and of these the one whose id is the last."""
    best = int(totals.argmax())
    equal = totals == totals[best]
    if np.count_nonzero(equal) == 1:
        return best
    return int(np.where(equal, columns.requests * columns.size - columns.rank, math.inf).argmin())


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
    return question.pick(_idlest(question.able, question.columns), Reason.LEAST_LOADED)


def power_of_two(question: Question) -> Pick:
    """Picks the better of two at random; its dice are the turn's number, well mixed."""
    dice, places = hashing.mixed(question.turn), _in_order(question)
    one = dice % places.size
    other = (one + 1 + (dice >> 32) % (places.size - 1)) % places.size
    two = np.zeros_like(question.able)
    two[places[[one, other]]] = True
    return question.pick(_idlest(two, question.columns), Reason.TWO_CHOICES)


def round_robin(question: Question) -> Pick:
    """Picks each in turn."""
    places = _in_order(question)
    return question.pick(int(places[question.turn % places.size]), Reason.ROUND_ROBIN)


def _in_order(question: Question) -> Places:
    """Returns the places of the replicas that may be picked, in the order of the roster."""
    order = question.columns.order
    return order[question.able[order]]


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

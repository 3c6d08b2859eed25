"""The router as a loop over all replicas, one after the other: what `Router` must choose, without a column, a count or a bit.

It is written to be read and not to be fast, and shares no code with what it is held against but values, weights and hashes.
"""

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from configs.routing import Routing
from deployments.policy.request.calls import Priority
from deployments.policy.request.prompt_blocks import BLOCK_TOKENS, Prompt
from deployments.policy.routing.hashing import mixed
from deployments.policy.routing.router import NobodyTakes
from deployments.policy.routing.types import BATCH_LEAVES, KV_FULL, Ask, Pick, Reason, ReplicaState, ReplicaView, Trust

#: Sums that differ by less are equal: the order of additions rounds them differently.
TIE = 1e-9


class Candidate(NamedTuple):
    """A replica that may be picked, and what one request would find there."""

    view: ReplicaView
    requests: int
    wait_tokens: int
    hit_tokens: int
    crowding: float
    forget_age: float
    home: float

    @property
    def load_tokens(self) -> int:
        return self.wait_tokens + self.requests * 64

    def scores(self, tokens: int, horizon: int) -> dict[str, float]:
        view = self.view
        usage = view.kv_usage + (self.wait_tokens + tokens) / view.kv_tokens if view.kv_tokens else 0.0
        return {
            "prefix": min(self.hit_tokens, horizon) / horizon,
            "queue": 1 - min(self.load_tokens, horizon) / horizon,
            "kv": min(1.0, max(0.0, (1 - usage) / (1 - 0.8))),
            "balance": min(1.0, max(0.0, (2.1 - self.crowding) / (2.1 - 1.5))),
            "session": self.home,
            "room": self.forget_age,
            "warm_up": min(1.0, view.ready_s / 30.0),
            "trust": 1.0 if view.trust is Trust.TRUSTED else 0.0,
        }


REASONS = {
    "prefix": Reason.PREFIX,
    "queue": Reason.LEAST_LOADED,
    "kv": Reason.KV,
    "balance": Reason.BALANCE,
    "session": Reason.SESSION,
    "room": Reason.ROOM,
    "warm_up": Reason.WARM,
    "trust": Reason.TRUST,
}


@dataclass
class Sent:
    """One request at a replica."""

    flight: "Flight"
    prefill_tokens: int
    report: int
    is_answered: bool = False
    is_ended: bool = False

    def answered(self) -> None:
        self.is_answered = True

    def end(self) -> None:
        if not self.is_ended:
            self.is_answered = self.is_ended = True
            self.flight.ended += self.report != self.flight.report


@dataclass
class Flight:
    """What one replica has from this gateway: each request, and the report before which it was sent."""

    view: ReplicaView
    report: int = 0
    sent: list[Sent] = field(default_factory=list)
    ended: int = 0
    blocks: OrderedDict[int, int] = field(default_factory=OrderedDict)

    def hears(self, view: ReplicaView) -> None:
        if view is not self.view and (not view.number or view.number != self.view.number):
            self.report, self.ended = self.report + 1, 0
        self.view = view

    @property
    def open(self) -> list[Sent]:
        return [one for one in self.sent if not one.is_ended]

    @property
    def requests(self) -> int:
        since = sum(one.report == self.report for one in self.open)
        return max(self.view.ongoing - self.ended + since, len(self.open))

    @property
    def prefill_tokens(self) -> int:
        return sum(one.prefill_tokens for one in self.sent if not one.is_answered)

    def wait_tokens(self, usual: float) -> int:
        unanswered = [one for one in self.sent if not one.is_answered]
        if self.view.prefill_tokens is not None:
            since = sum(one.prefill_tokens for one in unanswered if one.report == self.report)
            return max(self.view.prefill_tokens + since, self.prefill_tokens)
        return self.prefill_tokens + int(max(0, self.view.waiting - len(unanswered)) * usual)

    def has(self, blocks: Sequence[int]) -> int:
        return next((number for number, block in enumerate(blocks) if block not in self.blocks), len(blocks))


class FullScan:
    """Routes the requests of one model."""

    def __init__(self, routing: Routing, block_tokens: int = BLOCK_TOKENS) -> None:
        self._routing, self._block_tokens = routing, block_tokens
        self._flights: dict[str, Flight] = {}
        self._listed: list[str] = []
        self._usual, self._turn, self._now = 0.0, 0, 0

    def update(self, replicas: Sequence[ReplicaView]) -> None:
        self._listed = [view.id for view in replicas]
        self._flights = {view.id: self._flights.get(view.id) or Flight(view) for view in replicas}
        for view in replicas:
            self._flights[view.id].hears(view)

    def heard(self, view: ReplicaView) -> None:
        if view.id in self._flights:
            self._flights[view.id].hears(view)

    def picks(self, ask: Ask) -> list[Pick]:
        """Every right pick, none where all are full: more than one only where sums differ by less than `TIE`."""
        ready = [name for name in self._listed if self._flights[name].view.state is ReplicaState.READY and name not in ask.tried]
        taking = [name for name in ready if self._flights[name].view.trust is not Trust.AVOIDED] or ready
        if not taking:
            raise NobodyTakes
        able = [name for name in taking if has_room(self._flights[name], ask.priority)]
        able = [name for name in able if not self._flights[name].view.slow] or able
        if len(able) < 2:
            reason = Reason.ONLY if len(taking) == 1 else Reason.ROOM_LEFT
            return [Pick(self._flights[name].view, reason) for name in able]
        return self._chosen(self._candidates([self._flights[name] for name in able], ask), ask.prompt.tokens)

    def sending(self, pick: Pick, prompt: Prompt) -> Sent:
        flight = self._flights[pick.replica.id]
        self._turn += 1
        computed = max(0, prompt.tokens - pick.hit_tokens)
        self._usual += (computed - self._usual) * max(0.01, 1 / self._turn)
        if prompt.blocks:
            self._remember(flight, prompt)
        sent = Sent(flight, computed, flight.report)
        flight.sent.append(sent)
        return sent

    def learn(self, replica: str, prompt: Prompt) -> None:
        self._remember(self._flights[replica], prompt)

    def _remember(self, flight: Flight, prompt: Prompt) -> None:
        self._now += 1
        for block in reversed(prompt.blocks):
            flight.blocks[block] = self._now
            flight.blocks.move_to_end(block)
        while len(flight.blocks) > self._capacity(flight):
            flight.blocks.popitem(last=False)

    def _capacity(self, flight: Flight) -> int:
        limit = self._routing.index_tokens
        return (int(min((flight.view.kv_tokens or limit) * 1.4, limit)) + flight.prefill_tokens) // self._block_tokens

    def _candidates(self, able: list[Flight], ask: Ask) -> list[Candidate]:
        blocks, tokens = ask.prompt.blocks, ask.prompt.tokens
        has = {flight.view.id: flight.has(blocks) for flight in self._flights.values()}
        home = self._home(able, ask, max(has.values()))
        ages = [self._age(flight, len(blocks) - has[flight.view.id]) for flight in able]
        oldest = max((age for age in ages if age is not None), default=0) or 1
        share = 1 + sum(flight.requests for flight in able) / len(able)
        return [
            Candidate(
                flight.view,
                flight.requests,
                flight.wait_tokens(self._usual),
                int(has[flight.view.id] * (tokens / len(blocks))) if blocks else 0,
                flight.requests / share,
                1.0 if age is None else age / oldest,
                1.0 if flight is home else 0.0,
            )
            for flight, age in zip(able, ages, strict=True)
        ]

    def _age(self, flight: Flight, new_blocks: int) -> int | None:
        if len(flight.blocks) + new_blocks <= self._capacity(flight) or not flight.blocks:
            return None
        return self._now - next(iter(flight.blocks.values()))

    def _home(self, able: list[Flight], ask: Ask, known: int) -> Flight | None:
        if ask.session is not None:
            key = zlib.crc32(ask.session.encode())
        elif known < len(ask.prompt.blocks):
            key = ask.prompt.blocks[known]
        else:
            return None
        return max(able, key=lambda flight: mixed(mixed(zlib.crc32(flight.view.id.encode())) ^ key))

    def _chosen(self, candidates: list[Candidate], tokens: int) -> list[Pick]:
        policy, idlest = self._routing.policy, sorted(candidates, key=lambda one: (one.requests, one.view.id))
        if policy == "herd":
            return self._herd(candidates, tokens)
        best, reason = idlest[0], Reason.LEAST_LOADED
        if policy == "prefix":
            best = max(idlest, key=lambda one: one.hit_tokens)
            reason = Reason.PREFIX if best.hit_tokens else Reason.LEAST_LOADED
        elif policy == "round_robin":
            best, reason = candidates[self._turn % len(candidates)], Reason.ROUND_ROBIN
        elif policy == "power_of_two":
            dice = mixed(self._turn)
            one = dice % len(candidates)
            other = (one + 1 + (dice >> 32) % (len(candidates) - 1)) % len(candidates)
            best, reason = min(candidates[one], candidates[other], key=idlest.index), Reason.TWO_CHOICES
        return [Pick(best.view, reason, best.hit_tokens)]

    def _herd(self, candidates: list[Candidate], tokens: int) -> list[Pick]:
        horizon = 1 + tokens + max(one.load_tokens for one in candidates)
        weights = {name: weight for name, weight in self._routing.weights.model_dump().items() if weight}
        scores = {one: one.scores(tokens, horizon) for one in candidates}
        totals = {one: sum(weight * scores[one][name] for name, weight in weights.items()) for one in candidates}
        right = []
        for first in nearly_best(totals):
            for second in nearly_best({one: total for one, total in totals.items() if one is not first}):
                leads = {REASONS[name]: weight * (scores[first][name] - scores[second][name]) for name, weight in weights.items()}
                reasons = [reason for reason, lead in leads.items() if lead > max(leads.values()) - TIE] or [Reason.LEAST_LOADED]
                right += [Pick(first.view, reason, first.hit_tokens) for reason in reasons]
        return right


def nearly_best(totals: dict[Candidate, float]) -> list[Candidate]:
    """The best, and all that are as good but for rounding; of those that are the same in everything, the idlest and of these the last."""
    best: dict[object, Candidate] = {}
    for one in sorted(totals, key=lambda one: (-one.requests, one.view.id)):
        if totals[one] > max(totals.values()) - TIE:
            view = one.view
            best[one.wait_tokens, one.load_tokens, one.forget_age, one.hit_tokens, view.kv_usage, view.kv_tokens, totals[one]] = one
    return list(best.values())


def has_room(flight: Flight, priority: Priority) -> bool:
    """Whether a replica would begin another request at once."""
    view = flight.view
    if view.kv_usage > KV_FULL and view.waiting:
        return False
    kept_free = max(1, view.slots // BATCH_LEAVES) if priority is Priority.BATCH and view.slots > 1 else 0
    return not view.slots or flight.requests < view.slots - kept_free

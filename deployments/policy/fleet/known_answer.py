"""Known answers: how far two answers to the same prompt are apart, and whether replicas agree on one.

Decides over tokens and their log-probabilities. An engine in bfloat16, FP8 or INT4 is not batch-invariant: who else is in the batch
moves its log-probabilities a little, and a token that was ahead by less than that may change. So tokens alone prove nothing. What is
compared are log-probabilities, for as long as both answers have had the same tokens, and at the first place where they differ: there, how
far each one's token was ahead of the other's. Batches move these by hundredths of a nat, a broken engine by several nats. Behind that place
nothing can be compared.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

#: Likeliest tokens that are asked for at each place.
BEST = 5


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer, as the engine weighed it."""

    id: str
    logprob: float
    """In nats."""
    best: Mapping[str, float]
    """The likeliest tokens at this place, with theirs; this one among them."""


class Vote(StrEnum):
    """The verdict of the other replicas' known answers on this one's."""

    ALONE = "alone"
    AGREED = "agreed"
    DISPUTED = "disputed"
    """As many for it as against it: nobody knows who is right."""
    OUTVOTED = "outvoted"


def tokens_of(logprobs: Mapping[str, Any] | None) -> list[Token]:
    """Reads the log-probabilities of one event of a completion's stream. A number that is none arrives as null."""
    if logprobs is None:
        return []
    places = zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"], strict=True)
    return [Token(id_, _number(own), {other: _number(value) for other, value in (best or {}).items()}) for id_, own, best in places]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def as_plain(tokens: Sequence[Token]) -> list[Any]:
    """Tokens as what another release can read."""
    return [[one.id, one.logprob, dict(one.best)] for one in tokens]


def of_plain(plain: Sequence[Any]) -> tuple[Token, ...]:
    """The same back."""
    return tuple(Token(id_, logprob, best) for id_, logprob, best in plain)


def disagreement(one: Sequence[Token], other: Sequence[Token]) -> float:
    """How far two answers to the same prompt are apart, in nats; infinite where one has a number that is none, or no token at all."""
    apart = 0.0 if len(one) == len(other) and one else float("inf")
    for mine, theirs in zip(one, other, strict=False):
        if mine.id != theirs.id:
            return _worse(apart, _worse(_ahead(mine, theirs.id), _ahead(theirs, mine.id)))
        apart = _worse(apart, abs(mine.logprob - theirs.logprob))
    return apart


def _worse(one: float, other: float) -> float:
    """The larger; what is no number is larger than all."""
    return float("inf") if math.isnan(one) or math.isnan(other) else max(one, other)


def _ahead(token: Token, rival: str) -> float:
    """How far ahead a token was of a rival; of one that is not among the best, at least as far as of the last of them."""
    return token.logprob - token.best.get(rival, min(token.best.values(), default=float("-inf")))


def vote(known: Sequence[Token], others: Sequence[Sequence[Token]], tolerance: float, newcomer: bool = False) -> Vote:
    """Compares with the other replicas' known answers; a newcomer's own voice does not count against theirs."""
    if not others:
        return Vote.ALONE
    against = sum(disagreement(known, other) > tolerance for other in others)
    agreeing = len(others) - against + (not newcomer)
    if agreeing > against:
        return Vote.AGREED
    return Vote.OUTVOTED if against > agreeing else Vote.DISPUTED

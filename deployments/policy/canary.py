"""Canaries: what a short generation with a known answer says of the replica that it went through.

Decides over answers, times and what was found before. An engine in bfloat16, FP8 or INT4 is not batch-invariant: who else is in the batch
moves its log-probabilities a little, and a token that was ahead by less than that may change. So tokens alone prove nothing. What is
compared are log-probabilities, for as long as both answers have had the same tokens, and at the first place where they differ: there, how
far each one's token was ahead of the other's. Batches move these by hundredths of a nat, a broken engine by several nats. Behind that place
nothing can be compared.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from configs.schema import Canary

#: How much a new time counts in what is usual.
NEW_SHARE = 0.2
#: Likeliest tokens that are asked for at each place.
BEST = 5


class Verdict(StrEnum):
    """What one canary says; also a metric's label."""

    RIGHT = "right"
    WRONG = "wrong"
    """Another answer than the known one."""
    SLOW = "slow"
    """Its tokens took far longer than they usually do, and than the engine's others do now."""
    STUCK = "stuck"
    """It had no token in time, and the engine had nothing for anybody else."""
    FAILED = "failed"
    """It was answered with an error, or not at all."""
    OUTVOTED = "outvoted"
    """Right by its own first answer, which most other replicas of the same make contradict."""
    BUSY = "busy"
    """The engine was too full to begin it in time, and at work: nothing is known."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer, as the engine weighed it."""

    id: str
    logprob: float
    """In nats."""
    best: Mapping[str, float]
    """The likeliest tokens at this place, with theirs; this one among them."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What came back from one canary."""

    text: str = ""
    tokens: tuple[Token, ...] = ()
    seconds: float = 0.0
    """From its first token to its last: how long it waited for its turn is not in it."""
    unfinished: bool = False
    """It had its first token, and not its last in time."""
    error: str = ""
    """Why there is no answer; empty where there is one."""
    waiting: bool = False
    """It had no token in time."""
    moved: bool = True
    """The engine has done something meanwhile, for anybody."""


@dataclass(frozen=True, slots=True)
class History:
    """What a replica's canaries have said so far."""

    known: tuple[Token, ...] = ()
    """The answer that it has to give."""
    usual_s: float = 0.0
    """What its tokens usually take."""
    in_a_row: int = 0
    """Bad ones, one after the other."""
    last: Verdict = Verdict.RIGHT
    sick: bool = False
    why: str = ""
    """A sentence about the last bad one."""


class Vote(StrEnum):
    """What the known answers of the other replicas say of this one's."""

    ALONE = "alone"
    AGREED = "agreed"
    DISPUTED = "disputed"
    """As many for it as against it: nobody knows who is right."""
    OUTVOTED = "outvoted"


def request(model: str, settings: Canary) -> dict[str, Any]:
    """The body of a canary: greedy, by token ids, each with its log-probability, and to the last token whatever the model says."""
    return {
        "model": model,
        "prompt": settings.prompt,
        "max_tokens": settings.tokens,
        "temperature": 0,
        "ignore_eos": True,
        "logprobs": BEST,
        "return_tokens_as_token_ids": True,
        "stream": True,
    }


def heard(stream: str, seconds: float) -> Heard:
    """What a streamed answer to it says.

    Args:
        stream: its server-sent events.
        seconds: from its first to its last.
    """
    text, tokens = "", []
    try:
        for line in stream.splitlines():
            if line.startswith("data: {"):
                event = json.loads(line[6:])
                if "error" in event:
                    return Heard(error=str(event["error"]["message"])[:200])
                for choice in event["choices"]:
                    text += choice["text"]
                    tokens += _tokens(choice.get("logprobs"))
    except (ValueError, LookupError, TypeError) as error:
        return Heard(error=f"its answer cannot be read ({type(error).__name__})")
    return Heard(text, tuple(tokens), seconds)


def _tokens(logprobs: Mapping[str, Any] | None) -> list[Token]:
    """A number that is none arrives as null."""
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
    """What the other replicas' known answers say; a newcomer's own voice does not count against theirs."""
    if not others:
        return Vote.ALONE
    against = sum(disagreement(known, other) > tolerance for other in others)
    agreeing = len(others) - against + (not newcomer)
    if agreeing > against:
        return Vote.AGREED
    return Vote.OUTVOTED if against > agreeing else Vote.DISPUTED


def unfit(settings: Canary, heard: Heard) -> str | None:
    """Why a replica may not begin to serve with this first answer; None where it may."""
    if heard.error:
        return f"the canary had no answer: {heard.error}"
    if heard.unfinished:
        return "the canary's tokens came too slowly"
    if heard.waiting:
        return f"the canary had no token within {settings.stuck_s:g} s"
    if not heard.tokens or disagreement(heard.tokens, heard.tokens) > settings.tolerance:
        return "the canary's log-probabilities are no numbers"
    if settings.answer is not None and not _begins(heard.text, settings.answer):
        return f"the canary answered {heard.text!r}, and canary.answer says {settings.answer!r}"
    return None


def _begins(text: str, answer: str) -> bool:
    """White space at the front is the tokenizer's. Where fewer tokens were asked for than the answer has, as much as there is counts."""
    text, answer = text.lstrip(), answer.strip()
    return bool(text.strip()) and (text.startswith(answer) or answer.startswith(text.rstrip()))


def judged(settings: Canary, history: History, heard: Heard, step_s: float) -> History:
    """The history with one more canary.

    Args:
        settings: the model's.
        history: what there was before.
        heard: what came back.
        step_s: seconds of one scheduling step of the engine lately, as its other requests saw it; 0 where there were none.
    """
    verdict, why = _verdict(settings, history, heard, step_s)
    if verdict is Verdict.BUSY:
        return replace(history, last=verdict)
    if verdict is Verdict.RIGHT:
        return replace(history, last=verdict, in_a_row=0, usual_s=_usual(history.usual_s, heard.seconds))
    row = history.in_a_row + 1
    return replace(history, last=verdict, in_a_row=row, sick=history.sick or row >= settings.failures, why=why)


def outvoted(history: History) -> History:
    """The other replicas contradict its known answer: whatever it says from now on proves nothing."""
    return replace(history, sick=True, last=Verdict.OUTVOTED, why="most other replicas of the same make answer something else")


def _verdict(settings: Canary, history: History, heard: Heard, step_s: float) -> tuple[Verdict, str]:
    if heard.error:
        return Verdict.FAILED, heard.error
    if heard.waiting:
        stuck = f"no token within {settings.stuck_s:g} s, neither for it nor for anybody else"
        return (Verdict.BUSY, "") if heard.moved else (Verdict.STUCK, stuck)
    bound = slow_after(settings, history.usual_s, step_s)
    if heard.unfinished or heard.seconds > bound:
        return Verdict.SLOW, f"its tokens took more than {bound:.1f} s"
    apart = disagreement(history.known, heard.tokens)
    if apart > settings.tolerance:
        return Verdict.WRONG, f"its answer {heard.text!r} is {apart:.2f} nats from the known one (tolerance: {settings.tolerance:g})"
    return Verdict.RIGHT, ""


def slow_after(settings: Canary, usual_s: float, step_s: float) -> float:
    """Seconds after which a canary is slow. An engine that is full takes longer for a step: then for everybody, and that is no fault."""
    return max(settings.slow_s, settings.slow_times * max(usual_s, step_s * settings.tokens))


def _usual(before: float, now: float) -> float:
    return now if before == 0 else before + NEW_SHARE * (now - before)

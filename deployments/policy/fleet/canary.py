"""Canaries: what a short generation with a known answer says of the replica that it went through.

Decides over answers, times and what was found before. `policy.fleet.known_answer` measures how far two answers are apart, and
`policy.fleet.slowness` judges late ones.
"""

import json
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from configs.schema import Canary
from deployments.policy.fleet.known_answer import BEST, Token, disagreement, tokens_of
from deployments.policy.fleet.slowness import APART, NOT_SLOW, Circumstances, Pace, Slowness, compared

#: How much a new time counts in what is usual.
NEW_SHARE = 0.2
#: HTTP statuses by which vLLM refuses a request because it has too many: the canary waits in the same line as clients' requests.
REFUSED = (429, 503)
#: A token costs at most this part of its time alone when it is computed together with as many others as fit into a step. A CPU gains least
#: by computing tokens together, about so much; a GPU gains a hundred times.
GAIN = 4


class Verdict(StrEnum):
    """The verdict of one canary; also a metric's label."""

    RIGHT = "right"
    WRONG = "wrong"
    """Another answer than the known one."""
    SLOW = "slow"
    """Its tokens took far longer than they usually do, and than most other replicas take for the same work."""
    HELD_UP = "held_up"
    """Its tokens took far longer than usual, and its requests or its machine explain it, or there is no replica to compare."""
    STUCK = "stuck"
    """It had no token in time, and the engine had nothing for anybody else."""
    FAILED = "failed"
    """It was answered with an error, or not at all."""
    OUTVOTED = "outvoted"
    """Right by its own first answer, which most other replicas of the same make contradict."""
    BUSY = "busy"
    """The engine was too full to begin it in time, and at work: nothing is known."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The answer to one canary."""

    text: str = ""
    tokens: tuple[Token, ...] = ()
    seconds: float = 0.0
    """From its first token to its last, or as long as it was waited for: how long it waited for its turn is not in it."""
    unfinished: bool = False
    """It had its first token, and not its last in time."""
    error: str = ""
    """Why there is no answer; empty where there is one."""
    refused: bool = False
    """The error says that the engine has too many requests."""
    waiting: bool = False
    """It had no token in time."""
    moved: bool = True
    """The engine has done something lately, for anybody."""
    work: float = 1.0
    """Tokens that the engine computed in each of its steps meanwhile, for all requests."""
    idle: bool = True
    """The engine had no other request meanwhile."""


@dataclass(frozen=True, slots=True)
class History:
    """The verdicts of a replica's canaries so far."""

    known: tuple[Token, ...] = ()
    """The answer that it has to give."""
    usual_s: float = 0.0
    """The usual time of its tokens."""
    in_a_row: int = 0
    """Bad ones, one after the other; slow ones do not count."""
    slowness: Slowness = NOT_SLOW
    last: Verdict = Verdict.RIGHT
    sick: bool = False
    why: str = ""
    """A sentence about the last bad one."""


@dataclass(frozen=True, slots=True)
class Told:
    """The words of another replica of the same make about its canaries."""

    known: tuple[Token, ...]
    """The answer that it has to give."""
    pace: Pace


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


def heard(stream: str) -> Heard:
    """Reads a canary's streamed answer (server-sent events)."""
    text, tokens = "", []
    try:
        for line in stream.splitlines():
            if line.startswith("data: {"):
                event = json.loads(line[6:])
                if "error" in event:
                    return Heard(error=str(event["error"]["message"])[:200])
                for choice in event["choices"]:
                    text += choice["text"]
                    tokens += tokens_of(choice.get("logprobs"))
    except (ValueError, LookupError, TypeError) as error:
        return Heard(error=f"its answer cannot be read ({type(error).__name__})")
    return Heard(text, tuple(tokens))


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


def judged(settings: Canary, history: History, heard: Heard, seen: Circumstances) -> History:
    """Adds one more canary to the history.

    Args:
        settings: the model's.
        history: what there was before.
        heard: what came back.
        seen: the replica and its surroundings; the other replicas need not be known unless the canary is `late`.
    """
    if heard.error or heard.waiting or not heard.moved:
        return _unanswered(settings, history, heard)
    if not heard.unfinished and (apart := disagreement(history.known, heard.tokens)) > settings.tolerance:
        why = f"its answer {heard.text!r} is {apart:.2f} nats from the known one (tolerance: {settings.tolerance:g})"
        return _bad(settings, history, Verdict.WRONG, why)
    if not heard.unfinished:
        history = replace(history, in_a_row=0)
    if late(settings, history, heard, seen.crowd):
        return _late(settings, history, heard, seen)
    usual_s = _usual(history.usual_s, heard.seconds) if heard.idle else history.usual_s
    return replace(history, last=Verdict.RIGHT, usual_s=usual_s, slowness=NOT_SLOW)


def outvoted(history: History) -> History:
    """The other replicas contradict its known answer: whatever it says from now on proves nothing."""
    return replace(history, sick=True, last=Verdict.OUTVOTED, why="most other replicas of the same make answer something else")


def _unanswered(settings: Canary, history: History, heard: Heard) -> History:
    """An engine that refuses a canary because it is full is at work as long as it moves: clients' requests can fill it."""
    if (heard.refused or heard.waiting) and heard.moved:
        return replace(history, last=Verdict.BUSY)
    if heard.error:
        return _bad(settings, history, Verdict.FAILED, heard.error)
    return _bad(settings, history, Verdict.STUCK, f"no token for {settings.stuck_s:g} s or longer, neither for it nor for anybody else")


def _bad(settings: Canary, history: History, verdict: Verdict, why: str) -> History:
    row = history.in_a_row + 1
    return replace(history, last=verdict, in_a_row=row, sick=history.sick or row >= settings.failures, why=why)


def _late(settings: Canary, history: History, heard: Heard, seen: Circumstances) -> History:
    found = compared(history.slowness, seen)
    if found is None:
        return replace(history, last=Verdict.HELD_UP, slowness=NOT_SLOW)
    why = f"its tokens took {heard.seconds:.1f} s, and most other replicas are faster"
    return replace(history, last=Verdict.SLOW, slowness=found, sick=history.sick or found.due, why=why)


def is_slow(settings: Canary, history: History) -> bool:
    """Whether the other replicas are preferred to it."""
    return history.slowness.row >= settings.failures


def late(settings: Canary, history: History, heard: Heard, crowd: float) -> bool:
    """Whether a canary took so long that it must be compared with those of other replicas."""
    return heard.unfinished or heard.seconds > slow_after(settings, history.usual_s, crowd)


def slow_after(settings: Canary, usual_s: float, crowd: float) -> float:
    """Computes the seconds after which a canary is late.

    Args:
        settings: the model's.
        usual_s: what it takes an engine that has nothing else.
        crowd: runnable threads per CPU of the machine. Where there are more than CPUs, each gets its share only.
    """
    return max(settings.slow_s, settings.slow_times * usual_s) * max(1.0, crowd)


def whole_after(settings: Canary, usual_s: float, crowd: float, step_s: float) -> float:
    """Computes how long a canary is waited for from its first token on: where the steps are long at the moment, longer, so that there is an
    answer to look at.

    Args:
        settings: the model's.
        usual_s: as of `slow_after`.
        crowd: as of `slow_after`.
        step_s: seconds of one step of the engine lately, whatever it computed; 0 where there was none.
    """
    return max(slow_after(settings, usual_s, crowd), APART * settings.tokens * step_s)


def stuck_after(settings: Canary, usual_s: float, batch_tokens: int, crowd: float) -> float:
    """Computes how long an engine may show nothing, in seconds, before it is stuck.

    Its figures change at the end of a step only, so this must be longer than the longest step that a client can cause: one that computes as
    many tokens as fit.

    Args:
        settings: the model's.
        usual_s: as of `slow_after`.
        batch_tokens: most tokens of one step (vLLM's `max_num_batched_tokens`).
        crowd: as of `slow_after`.
    """
    return max(settings.stuck_s, batch_tokens * usual_s / settings.tokens / GAIN) * max(1.0, crowd)


def _usual(before: float, now: float) -> float:
    return now if before == 0 else before + NEW_SHARE * (now - before)

"""How to choose among the replicas that may serve a request: scorers, and the policies that the config names.

A scorer says in [0, 1] how good a candidate is; `herd` adds them up by their weights. A policy is a function in `POLICIES`: another one is
another function there, and its name in the schema.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from configs.routing import RoutingWeights
from deployments.policy.routing.types import Candidate, Pick, Reason, Trust


@dataclass(frozen=True, slots=True)
class Question:
    """What a policy is asked: where one request should go."""

    prompt_tokens: int
    turn: int
    """How many requests the gateway has routed before: what turns, and what stands in for dice."""
    scores: "Scores"
    """What `herd` adds up."""


Policy = Callable[[Sequence[Candidate], Question], Pick]
"""Picks one of at least two candidates."""

Scores = Sequence[tuple["Scorer", float, Reason]]
"""Scorers, their weights, and the reasons that they stand for."""

Scorer = Callable[[Candidate, int, int], float]
"""Says in [0, 1] how good a candidate is. Gets the prompt's tokens and the horizon: the most tokens any candidate would have to compute
before the answer begins. Tokens divided by the horizon are comparable among scorers."""


def prefix(candidate: Candidate, prompt_tokens: int, horizon: int) -> float:
    """What it need not compute."""
    return min(candidate.hit_tokens, horizon) / horizon


def queue(candidate: Candidate, prompt_tokens: int, horizon: int) -> float:
    """What it has not to compute before."""
    return 1 - min(load_tokens(candidate), horizon) / horizon


def kv(candidate: Candidate, prompt_tokens: int, horizon: int) -> float:
    """1 while its memory is easily enough for all that it has and for this prompt, 0 where it would be full."""
    view = candidate.view
    if not view.kv_tokens:
        return 1.0
    usage = view.kv_usage + (candidate.wait_tokens + prompt_tokens) / view.kv_tokens
    return min(1.0, max(0.0, (1 - usage) / (1 - KV_EASY)))


def balance(candidate: Candidate, prompt_tokens: int, horizon: int) -> float:
    """1 up to somewhat more than its share of the requests, 0 far beyond: what bounds the crowd at a prefix that everybody has."""
    return min(1.0, max(0.0, (CROWDED - candidate.crowding) / (CROWDED - FAIR)))


def session(candidate: Candidate, prompt_tokens: int, horizon: int) -> float:
    """1 at home."""
    return candidate.home


def room(candidate: Candidate, prompt_tokens: int, horizon: int) -> float:
    """Forgetting there costs least."""
    return candidate.forget_age


def warm_up(candidate: Candidate, prompt_tokens: int, horizon: int) -> float:
    """0 at its start, 1 after `WARM_S`: kernels and caches are cold, and everybody would send there at once."""
    return min(1.0, candidate.view.ready_s / WARM_S)


def trust(candidate: Candidate, prompt_tokens: int, horizon: int) -> float:
    """1 where its reports are fresh."""
    return 1.0 if candidate.view.trust is Trust.TRUSTED else 0.0


def load_tokens(candidate: Candidate) -> int:
    """What a replica has to do, in prompt tokens."""
    return candidate.wait_tokens + candidate.requests * REQUEST_TOKENS


#: Up to here, a KV cache has easily enough room. Above it vLLM soon has to let requests wait, or to begin them again.
KV_EASY = 0.8
#: Up to so much of its share a replica is not crowded, and from so much on it is: bounded loads, as consistent hashing has them (Mirrokni,
#: Thorup and Zadimoghaddam 2018). Tuned on two prompts of 20,000 tokens that most requests share: without it they stay on two replicas.
FAIR, CROWDED = 1.5, 2.1
#: A replica is cold for so long.
WARM_S = 30.0
#: What a running request delays a new one, in prompt tokens: its decoding takes a share of every step. Tuned on the replay of a trace.
REQUEST_TOKENS = 64

#: Weights' names, scorers and reasons.
SCORERS: Mapping[str, tuple[Scorer, Reason]] = MappingProxyType(
    {
        "prefix": (prefix, Reason.PREFIX),
        "queue": (queue, Reason.LEAST_LOADED),
        "kv": (kv, Reason.KV),
        "balance": (balance, Reason.BALANCE),
        "session": (session, Reason.SESSION),
        "room": (room, Reason.ROOM),
        "warm_up": (warm_up, Reason.WARM),
        "trust": (trust, Reason.TRUST),
    }
)


def weighed(weights: RoutingWeights) -> Scores:
    """All scorers that have a weight."""
    table = [(scorer, getattr(weights, name), reason) for name, (scorer, reason) in SCORERS.items()]
    return tuple(one for one in table if one[1])


def herd(candidates: Sequence[Candidate], question: Question) -> Pick:
    """The sum of all scores by their weights; at equal sums the idler one."""
    tokens, scores = question.prompt_tokens, question.scores
    horizon = 1 + tokens + max([load_tokens(candidate) for candidate in candidates])
    totals = []
    for candidate in candidates:
        total = 0.0
        for scorer, weight, _ in scores:
            total += weight * scorer(candidate, tokens, horizon)
        totals.append((total, -candidate.requests, candidate.view.id, candidate))
    totals.sort(reverse=True)
    first, second = totals[0][3], totals[1][3]
    leads = [weight * (scorer(first, tokens, horizon) - scorer(second, tokens, horizon)) for scorer, weight, _ in scores]
    reason = scores[leads.index(max(leads))][2] if leads else Reason.LEAST_LOADED
    return Pick(first.view, reason, first.hit_tokens)


def longest_prefix(candidates: Sequence[Candidate], question: Question) -> Pick:
    """Whoever has the most of the prompt, however busy; the idlest of these."""
    best = min(candidates, key=lambda one: (-one.hit_tokens, one.requests, one.view.id))
    return Pick(best.view, Reason.PREFIX if best.hit_tokens else Reason.LEAST_LOADED, best.hit_tokens)


def least_loaded(candidates: Sequence[Candidate], question: Question) -> Pick:
    """The fewest requests."""
    best = min(candidates, key=lambda one: (one.requests, one.view.id))
    return Pick(best.view, Reason.LEAST_LOADED, best.hit_tokens)


def power_of_two(candidates: Sequence[Candidate], question: Question) -> Pick:
    """The better of two at random; its dice are the turn's number, well mixed."""
    dice = mixed(question.turn)
    one = dice % len(candidates)
    other = (one + 1 + (dice >> 32) % (len(candidates) - 1)) % len(candidates)
    best = least_loaded((candidates[one], candidates[other]), question)
    return best._replace(reason=Reason.TWO_CHOICES)


def round_robin(candidates: Sequence[Candidate], question: Question) -> Pick:
    """Each in turn."""
    best = candidates[question.turn % len(candidates)]
    return Pick(best.view, Reason.ROUND_ROBIN, best.hit_tokens)


#: By the config's names.
POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        "herd": herd,
        "prefix": longest_prefix,
        "least_loaded": least_loaded,
        "power_of_two": power_of_two,
        "round_robin": round_robin,
    }
)


def mixed(number: int) -> int:
    """A 64-bit number that looks like chance and is not: the finalizer of SplitMix64 (Steele, Lea, Flood 2014)."""
    number = (number + 0x9E3779B97F4A7C15) & _64_BITS
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _64_BITS
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _64_BITS
    return number ^ number >> 31


_64_BITS = (1 << 64) - 1

"""Traces of requests in Mooncake's format, and a generator of the same shape for those who have none.

One JSON object a line: `timestamp` in milliseconds, `input_length` and `output_length` in tokens, `hash_ids` of the prompt's blocks of 512
tokens, where equal ids mean equal beginnings (Qin et al., Mooncake, FAST 2025; published with it under Apache-2.0).
"""

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol

import msgspec

BLOCK_TOKENS = 512
#: Of the conversation trace: an hour of requests.
GENERATED_REQUESTS = 12_000
GENERATED_S = 3_540.0


class Client(Protocol):
    """A client that asks again when it has been answered."""

    def after(self, at_s: float) -> "Traced | None":
        """Returns its next request, at that time or later; None where it asks no more."""


class Traced(NamedTuple):
    """One request of a trace. A tuple, because one is made per request."""

    at_s: float
    prompt_tokens: int
    output_tokens: int
    blocks: tuple[int, ...]
    client: Client | None = None
    """The client that asks again when this request has ended; None where none does."""


class _Line(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int] = []


def mooncake(data: bytes) -> list[Traced]:
    """Returns the requests of a file in this format.

    Raises:
        msgspec.DecodeError: it is not in this format.
    """
    lines = (msgspec.json.decode(line, type=_Line) for line in data.splitlines() if line)
    return [Traced(line.timestamp / 1e3, line.input_length, line.output_length, tuple(line.hash_ids)) for line in lines]


def spread(trace: Sequence[Traced]) -> list[Traced]:
    """Requests that the trace has at one instant (Mooncake's rounds to 3 s), evenly until the next one. Their order stays."""
    instants = [list(group) for _, group in itertools.groupby(trace, key=lambda one: one.at_s)]
    until = [*(later[0].at_s for later in instants[1:]), instants[-1][0].at_s]
    return [
        one._replace(at_s=one.at_s + (end - one.at_s) * place / len(group))
        for group, end in zip(instants, until, strict=True)
        for place, one in enumerate(group)
    ]


def faster(trace: Sequence[Traced], times: float) -> list[Traced]:
    """The same requests in less time."""
    return [one._replace(at_s=one.at_s / times) for one in trace]


def generated(requests: int = GENERATED_REQUESTS, over_s: float = GENERATED_S, seed: int = 1) -> list[Traced]:
    """Conversations like those of the trace: one system prompt for all, long first prompts, turns that grow, minutes between turns.

    Its figures are near the trace's, which stand in brackets: 11,400 prompt tokens (12,035) and 328 answered (343) on average; one LRU
    cache of 3.2 and 10.4 million tokens finds 16 and 32 % of the blocks (14 and 29), an endless one 38 % (37). Requests come one by one,
    where the trace's times are in steps of three seconds.
    """
    dice = random.Random(seed)
    numbers = iter(range(1, 1 << 62))
    found: list[Traced] = []
    while len(found) < requests:
        found.extend(_conversation(dice, numbers, dice.uniform(0, over_s), over_s))
    found.sort(key=lambda one: one.at_s)
    return found[:requests]


def _conversation(dice: random.Random, numbers: Iterator[int], at_s: float, until_s: float) -> Iterable[Traced]:
    prompt_tokens = min(120_000, 500 + int(dice.lognormvariate(8.4, 1.25)))
    blocks: tuple[int, ...] = (0,)
    while at_s < until_s:
        output_tokens = min(2_000, 1 + int(dice.lognormvariate(5.4, 0.9)))
        whole = -(-prompt_tokens // BLOCK_TOKENS)
        blocks = blocks + tuple(next(numbers) for _ in range(whole - len(blocks)))
        yield Traced(at_s, prompt_tokens, output_tokens, blocks)
        if dice.random() > 0.41:
            return
        blocks = blocks[: prompt_tokens // BLOCK_TOKENS]
        prompt_tokens = min(126_000, prompt_tokens + output_tokens + int(dice.lognormvariate(6.5, 1.6)))
        at_s += 30 + dice.lognormvariate(4.7, 1.3)


def shared(requests: int, per_s: float, seed: int = 1) -> list[Traced]:
    """Four of five requests begin with one of two prompts of 20,480 tokens (instructions, a handbook), and ask 2,048 more."""
    dice = random.Random(seed)
    numbers = iter(range(1_000, 1 << 62))
    found: list[Traced] = []
    at_s = 0.0
    for _ in range(requests):
        at_s += dice.expovariate(per_s)
        common = tuple(range(first := dice.choice((0, 100)), first + 40)) if dice.random() < 0.8 else ()
        blocks = common + tuple(next(numbers) for _ in range(4 if common else 8))
        found.append(Traced(at_s, len(blocks) * BLOCK_TOKENS, 1 + int(dice.expovariate(1 / 150)), blocks))
    return found

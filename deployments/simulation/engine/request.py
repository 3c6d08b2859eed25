"""One request inside a simulated engine, what the engine has room for, and what one of its steps brings."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Size:
    """What an engine has room for."""

    kv_tokens: int
    block_tokens: int = 512
    step_tokens: int = 1024
    """Longest step (`max_num_batched_tokens`): 0.13 s. vLLM's default on an H100, 8192, would make all others wait 0.9 s for a token."""
    sequences: int = 256


class Request:
    """One request inside an engine."""

    __slots__ = (
        "begun",
        "blocks",
        "computed",
        "found",
        "generated",
        "loose",
        "named",
        "number",
        "output_tokens",
        "priority",
        "prompt_tokens",
        "since",
    )

    def __init__(self, number: int, blocks: Sequence[int], prompt_tokens: int, output_tokens: int, priority: int = 0) -> None:
        self.number = number
        self.priority = priority
        self.blocks = blocks
        self.prompt_tokens = max(1, prompt_tokens)
        self.output_tokens = max(1, output_tokens)
        self.found = 0
        """Blocks that it had not to compute when it first began."""
        self.begun = False
        self.computed = self.generated = self.named = self.loose = 0
        self.since = 0

    @property
    def target(self) -> int:
        """Tokens to compute before it can go on."""
        return self.prompt_tokens + self.generated


class Step(NamedTuple):
    """What one step, or several of decoding, brought. A tuple, because one is made per step."""

    took_s: float
    first: Sequence[Request]
    """Requests whose first token it made."""
    finished: Sequence[Request]
    decoded: Sequence[Request] = ()
    """Requests that got a token more; only of a single step."""

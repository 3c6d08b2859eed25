"""How long steps of a simulated engine take: `cluster.planner.speed`'s roofline, folded once per engine.

What does not change between steps is counted once (`cluster.planner.speed.StepCosts`), and the times of many decode steps are added up in
closed form: each step's contexts are longer than those of the step before by one token per request.
"""

from cluster.catalogue.checkpoints import MLP_INT4
from cluster.catalogue.hardware import GPUS
from cluster.catalogue.sizes import SCOUT
from cluster.planner.memory.engine import Engine, Settings
from cluster.planner.speed import step_costs
from configs.schema import Parallelism


class StepTimes:
    """Seconds of the steps of one engine."""

    def __init__(self, engine: Engine, decode: float = 1.0) -> None:
        """Args:
        engine: the replica, as the planner knows it.
        decode: factor on the time that is no arithmetic (weights, KV cache, layers, requests), where an engine has been measured.
        """
        costs = step_costs(engine, decode)
        self._costs, self._chunk = costs, costs.chunk_tokens
        self._read_s, self._chunk_read_s = costs.read_s, costs.chunk_read_s
        self._pair_s, self._chunk_pair_s = costs.pair_s, costs.chunk_pair_s
        self._context_s, self._chunk_context_s = self._read_s + self._pair_s, self._chunk_read_s + self._chunk_pair_s
        self._by_tokens: dict[int, float] = {}
        self._by_requests: dict[int, float] = {}
        self._decode_by_requests: dict[int, float] = {}

    def step(self, prefill_tokens: int, prefill_pairs: int, decodes: int, context_tokens: int) -> float:
        """Returns the seconds of one step.

        Args:
            prefill_tokens: prompt tokens that it computes.
            prefill_pairs: of these tokens, the sum over all of how many tokens stand before each.
            decodes: requests that get one token each.
            context_tokens: tokens in the contexts of these requests, together.
        """
        tokens = decodes + prefill_tokens
        attended = context_tokens + prefill_pairs
        took_s = self._without_context_s(tokens, decodes) + self._read_s * context_tokens + self._pair_s * attended
        if self._chunk:
            inside = context_tokens <= self._chunk * decodes
            took_s += self._chunk_read_s * (context_tokens if inside else decodes * self._chunk / 2)
            took_s += self._chunk_pair_s * min(attended, tokens * self._chunk / 2)
        return took_s

    def decode_steps(self, decodes: int, context_tokens: int, steps: int) -> float:
        """Returns the seconds of so many steps, one after the other, in which the same requests get a token each.

        Args:
            decodes: requests, at least one.
            context_tokens: tokens in their contexts before the first of these steps, together.
            steps: how many.
        """
        contexts = steps * context_tokens + decodes * (steps * (steps - 1) // 2)
        took_s = steps * (self._decode_by_requests.get(decodes) or self._decode_s(decodes)) + self._context_s * contexts
        half = decodes * self._chunk / 2
        if context_tokens + decodes * steps <= half:
            return took_s + self._chunk_context_s * contexts
        if self._chunk:
            inside = min(steps, max(0, (self._chunk * decodes - context_tokens) // decodes + 1))
            took_s += self._chunk_read_s * (_contexts(context_tokens, decodes, inside) + (steps - inside) * half)
            below = min(steps, max(0, int((half - context_tokens) // decodes) + 1))
            took_s += self._chunk_pair_s * (_contexts(context_tokens, decodes, below) + (steps - below) * half)
        return took_s

    def steps_before(self, seconds: float, decodes: int, context_tokens: int, most: int) -> tuple[int, float]:
        """Returns how many decode steps, one after the other, end in less than so many seconds, and the seconds that these take.

        The number is looked for where it would be if contexts grew evenly and none were longer than a chunk, which is nearly always right.

        Args:
            seconds: the time.
            decodes: requests, at least one.
            context_tokens: tokens in their contexts before the first of these steps, together.
            most: no more steps than these are looked at.
        """
        fewest, took_s, many = 0, 0.0, most + 1
        token_s = self._context_s + self._chunk_context_s
        first_s = (self._decode_by_requests.get(decodes) or self._decode_s(decodes)) + token_s * context_tokens
        guess = int(seconds / (first_s + token_s * decodes * (seconds / first_s) / 2))
        while many - fewest > 1:
            guess = min(max(guess, fewest + 1), many - 1)
            guess_s = self.decode_steps(decodes, context_tokens, guess)
            if guess_s < seconds:
                fewest, took_s = guess, guess_s
            else:
                many = guess
            guess = int(guess * seconds / guess_s)
        return fewest, took_s

    def _decode_s(self, decodes: int) -> float:
        """Works out, once, the seconds of a decode step that do not depend on how long its contexts are."""
        seconds = self._decode_by_requests[decodes] = self._without_context_s(decodes, decodes)
        return seconds

    def _without_context_s(self, tokens: int, decodes: int) -> float:
        """Returns the seconds of a step that do not depend on how long its contexts are."""
        by_tokens = self._by_tokens.get(tokens)
        if by_tokens is None:
            by_tokens = self._by_tokens[tokens] = self._costs.by_tokens_s(tokens)
        by_requests = self._by_requests.get(decodes)
        if by_requests is None:
            by_requests = self._by_requests[decodes] = self._costs.by_requests_s(decodes)
        return by_tokens + by_requests


def _contexts(context_tokens: int, decodes: int, steps: int) -> int:
    """Returns the sum of the contexts over steps that each make them longer by `decodes` tokens."""
    return steps * context_tokens + decodes * (steps * (steps - 1) // 2)


#: Llama 4 Scout in INT4 on one H100.
SCOUT_ON_H100 = Engine(SCOUT, MLP_INT4, GPUS["H100"], Parallelism(), Settings(131_072))

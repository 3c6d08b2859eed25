"""How long one step of an engine takes: a roofline of Llama 4 Scout in INT4 on one H100.

Numbers of the model are its card's: 48 layers, 12 of them with global attention, the others over chunks of 8192 tokens; 40 heads and 8 KV
heads of 128; 17.2B parameters active per token of 109B, 96.6B of them in 16 routed experts of which a token takes one. Of the GPU: 989
dense bf16 TFLOP/s and 3.35 TB/s (data sheet), of which a good kernel gets 45 and 80 percent. The result, about 11,500 prompt tokens/s
and 4 ms for a step that decodes one request, is a plausible engine, not a measured one; policies are compared on the same one.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Work:
    """What one step computes."""

    prefill_tokens: int
    prefill_pairs: int
    """Of these tokens, the sum over all of how many tokens stand before each."""
    decodes: int
    """Requests that get one token each."""
    context_tokens: int
    """Tokens in the contexts of these requests, together."""


StepTime = Callable[[Work], float]
"""Seconds that a step takes."""

_FLOPS = 989e12 * 0.45
_BYTES_PER_S = 3.35e12 * 0.80
_FLOP_PER_TOKEN = 2 * 17.2e9
_FLOP_PER_PAIR = 4 * 40 * 128 * 12
_LOCAL_PAIRS_FLOP = 4 * 40 * 128 * 36 * 4096
"""Of a token, in the layers with chunks, half of a chunk being before it on average."""
_DENSE_BYTES = 11e9
_EXPERT_BYTES = 96.6e9 * 0.55
_EXPERTS = 16
_GLOBAL_KV_BYTES = 2 * 8 * 128 * 2 * 12
_LOCAL_KV_BYTES = 2 * 8 * 128 * 2 * 36
_LOCAL_TOKENS = 4096
_OVERHEAD_S = 0.003


def scout_on_h100(work: Work) -> float:
    """Seconds of one step: the longer of computing and of reading weights and KV cache, and a fixed overhead."""
    tokens = work.prefill_tokens + work.decodes
    flop = tokens * (_FLOP_PER_TOKEN + _LOCAL_PAIRS_FLOP) + (work.prefill_pairs + work.context_tokens) * _FLOP_PER_PAIR
    touched = 1 - (1 - 1 / _EXPERTS) ** min(tokens, 512)
    local = min(work.context_tokens, _LOCAL_TOKENS * work.decodes)
    read = _DENSE_BYTES + _EXPERT_BYTES * touched + _GLOBAL_KV_BYTES * work.context_tokens + _LOCAL_KV_BYTES * local
    return _OVERHEAD_S + max(flop / _FLOPS, read / _BYTES_PER_S)

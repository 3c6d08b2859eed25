"""How long one step of a simulated engine takes: `cluster.planner.speed`'s roofline of Llama 4 Scout in INT4 on one H100."""

from collections.abc import Callable
from dataclasses import dataclass

from cluster.catalogue.checkpoints import MLP_INT4
from cluster.catalogue.hardware import GPUS
from cluster.catalogue.sizes import SCOUT
from cluster.planner.memory.engine import Engine, Settings
from cluster.planner.speed import Step, step_time_s
from configs.schema import Parallelism


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

_SCOUT_ON_H100 = Engine(SCOUT, MLP_INT4, GPUS["H100"], Parallelism(), Settings(131_072))


def scout_on_h100(work: Work) -> float:
    """Seconds of one step. Of what a prompt's tokens attend to the roofline wants what earlier steps have read, on average."""
    prefill, decodes = work.prefill_tokens, work.decodes
    return step_time_s(
        _SCOUT_ON_H100,
        Step(
            decode_requests=decodes,
            decode_context_tokens=work.context_tokens / decodes if decodes else 0,
            prefill_tokens=prefill,
            prefill_context_tokens=work.prefill_pairs / prefill - prefill / 2 if prefill else 0,
        ),
    )

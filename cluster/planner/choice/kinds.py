"""Alternatives to the plan that is recommended: one for each way in which a plan can be better, and one for each other precision.

Decides which plans are worth a row beside the best. Near twins are left out: a plan that is the best in several ways has one row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from cluster.planner.choice.recommend import Choice, recommended
from cluster.planner.search import FIDELITY, Plan, Wish

BEST: Final = "best"
FEWEST, LONGEST, FASTEST, CHEAPEST = "fewest GPUs", "longest context", "fastest", "cheapest"


@dataclass(frozen=True, slots=True)
class Row:
    """One plan of the short table, and the ways in which it is the first."""

    kinds: tuple[str, ...]
    plan: Plan


def rows(found: Sequence[Plan], choice: Choice, wish: Wish, *, by_cost: bool = False) -> tuple[Row, ...]:
    """Returns the best plan and its alternatives, each once.

    Args:
        found: plans that were looked at.
        choice: the plan that is recommended.
        wish: what was asked.
        by_cost: alternatives are ordered by the cost of a token; else by kind.
    """
    fitting = [plan for plan in found if plan.speed is not None]
    kinds: dict[int, list[str]] = {id(choice.plan): [BEST]}
    plans = {id(choice.plan): choice.plan}
    for name, plan in _kinds(fitting, choice.plan, wish):
        kinds.setdefault(id(plan), []).append(name)
        plans[id(plan)] = plan
    made = [Row(tuple(names), plans[key]) for key, names in kinds.items()]
    return (made[0], *sorted(made[1:], key=lambda row: cost(row.plan))) if by_cost else tuple(made)


def cost(plan: Plan) -> float:
    """Returns what orders plans by the cost of a token; the cheapest is the least, what does not fit the last."""
    return -plan.speed.gpu_hour_tokens if plan.speed else 0.0


def _kinds(fitting: Sequence[Plan], best: Plan, wish: Wish) -> Iterator[tuple[str, Plan]]:
    fewest = min(plan.gpus for plan in fitting)
    yield from _of(FEWEST, [plan for plan in fitting if plan.gpus == fewest], wish)
    longest = max(plan.capacity.max_context_tokens for plan in fitting)
    if longest > best.capacity.max_context_tokens:
        yield LONGEST, next(plan for plan in fitting if plan.capacity.max_context_tokens == longest)
    yield FASTEST, max(fitting, key=lambda plan: plan.speed.replica_tokens_s if plan.speed else 0.0)
    yield CHEAPEST, min(fitting, key=cost)
    own, own_cache = best.checkpoint.layout.quantization, best.engine.settings.kv_dtype
    for word in FIDELITY:
        if word != own:
            of_word = [plan for plan in fitting if plan.checkpoint.layout.quantization == word]
            yield from _of(f"{word.upper()} weights", of_word, wish)
    cached = [plan for plan in fitting if plan.checkpoint.layout.quantization == own and plan.engine.settings.kv_dtype != own_cache]
    for dtype in sorted({plan.engine.settings.kv_dtype for plan in cached}):
        yield from _of(f"{dtype.upper()} KV cache", [plan for plan in cached if plan.engine.settings.kv_dtype == dtype], wish)


def _of(name: str, some: Sequence[Plan], wish: Wish) -> Iterator[tuple[str, Plan]]:
    """Yields the plan that would be recommended if there were only some of them."""
    if choice := recommended(some, wish):
        yield name, choice.plan

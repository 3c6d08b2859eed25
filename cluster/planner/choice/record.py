"""Plans as rows: the form of `herd plan --json`, and what its table shows.

Decides the names of the values, which are documented in `cluster/README.md` and stay as they are. Values are exact, or None where a plan
has none; the table rounds them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cluster.catalogue.hardware import GIB
from cluster.planner.capacity import Capacity
from cluster.planner.choice.kinds import Row
from cluster.planner.choice.limits import limiting, limits
from cluster.planner.choice.recommend import Choice
from cluster.planner.memory.engine import Engine
from cluster.planner.search import Plan, shape
from cluster.planner.speed import SPREAD, Load, Speed
from configs.parallelism import Parallelism

Record = dict[str, Any]
#: The values of every row; in a row of a model that no plan can be made of they are None.
KEYS = (
    "fits",
    "checkpoint",
    "gpu",
    "gpus",
    "shape",
    "parallel",
    "quantization",
    "kv_dtype",
    "context_tokens",
    "max_num_seqs",
    "max_num_batched_tokens",
    "max_positions",
    "hybrid_kv",
    "gpu_memory_utilization",
    "vllm",
    "weights_gib_per_gpu",
    "rope_gib_per_gpu",
    "parts_gib_per_gpu",
    "kv_gib_per_gpu",
    "memory_gib_per_gpu",
    "kv_pool_tokens",
    "max_context_tokens",
    "concurrent",
    "load",
    "running",
    "tokens_s",
    "user_tokens_s",
    "ttft_s",
    "gpu_hour_tokens",
    "speed_spread",
    "gpu_hour_price",
    "cost_per_million_tokens",
    "limited_by",
    "limits",
    "problems",
)
#: Beside them, in rows of one model's plans, and in rows of a herd's models.
KEYS_OF_PLANS = ("recommended", "reason", "kinds", *KEYS)
KEYS_OF_HERDS = ("model", "replicas", "verdict", *KEYS)


@dataclass(frozen=True, slots=True)
class Asked:
    """The facts that all rows of an answer have in common."""

    load: Load
    gpu_hour_price: float | None = None


def records(found: Iterable[Plan], choice: Choice | None, rows: Sequence[Row], asked: Asked) -> list[Record]:
    """Returns a row for each plan, the recommended one first, the others as they come."""
    kinds = {id(row.plan): row.kinds for row in rows}
    best = choice.plan if choice else None
    ordered = [*([best] if best else []), *(plan for plan in found if plan is not best)]
    return [_record(plan, kinds.get(id(plan), ()), choice, asked) for plan in ordered]


def _record(plan: Plan, kinds: tuple[str, ...], choice: Choice | None, asked: Asked) -> Record:
    chosen = choice is not None and plan is choice.plan
    said = {"recommended": chosen, "reason": choice.reason if choice and chosen else None, "kinds": list(kinds)}
    return said | of_plan(plan, asked)


def of_plan(plan: Plan, asked: Asked) -> Record:
    """Returns everything that is known of one plan."""
    ends = limits(plan, asked.load)
    return {
        "fits": plan.fits,
        "checkpoint": plan.checkpoint.repository or None,
        **_of_engine(plan.engine),
        **_of_capacity(plan.engine, plan.capacity),
        **_of_speed(plan.speed, asked),
        "limited_by": limiting(ends, plan, asked.load).part,
        "limits": [{"of": one.what, "part": one.part, "change": one.change} for one in ends],
        "problems": list(plan.problems),
    }


def sizes(parallel: Parallelism) -> Record:
    """Returns a shape by the names of a config's `parallel`, without what only chooses or allows it."""
    return parallel.model_dump(exclude={"auto", "across_nodes"}, exclude_none=True)


def _of_engine(engine: Engine) -> Record:
    """Returns how an engine is set up."""
    settings = engine.settings
    return {
        "gpu": engine.gpu.name,
        "gpus": engine.parallel.gpus,
        "shape": shape(engine.parallel),
        "parallel": sizes(engine.parallel),
        "quantization": engine.layout.quantization,
        "kv_dtype": settings.kv_dtype,
        "context_tokens": settings.context_tokens,
        "max_num_seqs": engine.max_num_seqs,
        "max_num_batched_tokens": engine.max_num_batched_tokens,
        "max_positions": engine.max_positions,
        "hybrid_kv": settings.hybrid_kv,
        "gpu_memory_utilization": settings.gpu_memory_utilization,
        "vllm": ".".join(map(str, settings.vllm)),
    }


def _of_capacity(engine: Engine, found: Capacity) -> Record:
    """Returns what an engine's GPUs hold; sizes in GiB of one GPU."""
    return {
        "weights_gib_per_gpu": round(found.weights_bytes / GIB, 3),
        "rope_gib_per_gpu": round(found.rope_bytes / GIB, 3),
        "parts_gib_per_gpu": {part.rule.name: round(part.size_bytes / GIB, 3) for part in found.parts},
        "kv_gib_per_gpu": round(found.kv_bytes / GIB, 3),
        "memory_gib_per_gpu": round(engine.gpu.memory_gib, 3),
        "kv_pool_tokens": found.pool_tokens,
        "max_context_tokens": found.max_context_tokens,
        "concurrent": dict(found.concurrent),
    }


def _of_speed(found: Speed | None, asked: Asked) -> Record:
    """Returns how fast an engine is under a load; estimates, each right to within `speed_spread`."""
    price = asked.gpu_hour_price
    return {
        "load": {
            "concurrency": asked.load.concurrency,
            "prompt_tokens": asked.load.prompt_tokens,
            "answer_tokens": asked.load.answer_tokens,
        },
        "running": found.running if found else None,
        "tokens_s": round(found.replica_tokens_s, 1) if found else None,
        "user_tokens_s": round(found.user_tokens_s, 2) if found else None,
        "ttft_s": round(found.ttft_s, 4) if found else None,
        "gpu_hour_tokens": round(found.gpu_hour_tokens) if found else None,
        "speed_spread": SPREAD,
        "gpu_hour_price": price,
        "cost_per_million_tokens": None if found is None or price is None else round(found.cost_per_million_tokens(price), 4),
    }

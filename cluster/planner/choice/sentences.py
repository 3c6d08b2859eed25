"""The question, and the best answer, each in a sentence for people."""

from collections.abc import Iterator

from cluster.catalogue.hardware import Cluster
from cluster.planner.choice.numbers import rough, tokens
from cluster.planner.choice.recommend import Choice
from cluster.planner.memory.engine import GPU_MEMORY_UTILIZATION
from cluster.planner.search import Subject, Wish, shape
from cluster.planner.speed import SPREAD, Load, Speed


def load_in_words(load: Load) -> str:
    """Returns a load: 64 requests at once, 1,000 tokens in and 1,000 out."""
    many = "1 request" if load.concurrency == 1 else f"{load.concurrency:,} requests"
    return f"{many} at once, {load.prompt_tokens:,} tokens in and {load.answer_tokens:,} out"


def asked_for(subject: Subject, cluster: Cluster, wish: Wish, gpu_hour_price: float | None = None) -> str:
    """Returns what a plan was asked for: the model, the GPUs, the load, and what is pinned."""
    pinned = "".join(f"; {one}" for one in _pinned(wish, gpu_hour_price))
    version = ".".join(map(str, wish.vllm))
    return f"{subject.title} on {cluster}, vLLM {version}, for {load_in_words(wish.load)}{pinned}."


def _pinned(wish: Wish, gpu_hour_price: float | None) -> Iterator[str]:
    said = {
        "context": wish.context_tokens and tokens(wish.context_tokens),
        "weights": wish.quantization and wish.quantization.upper(),
        "KV cache": wish.kv_dtype and wish.kv_dtype.upper(),
        "TP": wish.tensor,
        "PP": wish.pipeline,
        "DP": wish.data,
        "whole experts": None if wish.expert is None else "yes" if wish.expert else "no",
        "hybrid KV": None if wish.hybrid_kv else "no",
        "utilisation": None if wish.gpu_memory_utilization == GPU_MEMORY_UTILIZATION else f"{wish.gpu_memory_utilization:g}",
        "sequences": wish.max_num_seqs,
        "a GPU-hour": None if gpu_hour_price is None else f"{gpu_hour_price:g}",
    }
    yield from (f"{name} {value}" for name, value in said.items() if value is not None)
    yield from (f"{name}={value}" for name, value in wish.engine.items())
    if wish.cheapest:
        yield "cheapest tokens first"


def best_plan(choice: Choice, load: Load, gpu_hour_price: float | None = None) -> str:
    """Returns the plan that is recommended, what it does, and why it is."""
    plan = choice.plan
    engine = plan.engine
    cache = "" if engine.settings.kv_dtype == "bf16" else f" with {engine.settings.kv_dtype.upper()} KV cache"
    parts = [
        f"{plan.gpus}×{engine.gpu.name}",
        shape(engine.parallel),
        f"{engine.layout.quantization.upper()}{cache}",
        f"holds {tokens(plan.capacity.pool_tokens)} tokens",
        *(_speed(plan.speed, load, gpu_hour_price) if plan.speed else ()),
    ]
    return f"Best: {', '.join(parts)}; because {choice.reason}."


def _speed(found: Speed, load: Load, gpu_hour_price: float | None) -> Iterator[str]:
    users = f"{found.running:,} of {load.concurrency:,} users, the others wait" if found.running < load.concurrency else _users(load)
    yield f"about {rough(found.replica_tokens_s)} tok/s (±{SPREAD * 100:.0f} %) at {users}"
    if gpu_hour_price is not None:
        yield f"{rough(found.cost_per_million_tokens(gpu_hour_price))} for a million tokens"


def _users(load: Load) -> str:
    return "1 user" if load.concurrency == 1 else f"{load.concurrency:,} users"

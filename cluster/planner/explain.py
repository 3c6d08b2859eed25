"""A plan's arithmetic, line by line, each with the source of its rule.

Decides which numbers a person needs to check a plan by hand; computes none that `cluster.planner.capacity` and `cluster.planner.speed`
have not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.catalogue.hardware import GIB
from cluster.planner.choice.limits import limits
from cluster.planner.choice.numbers import rough
from cluster.planner.memory.engine import KV_BYTES
from cluster.planner.memory.weights import stage_weight_bytes
from cluster.planner.search import Plan
from cluster.planner.speed import REQUEST_LAYER_S, SPREAD, Load, efficiency


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity: what it is, what it comes to, how, and where the rule is from."""

    what: str
    value: str
    how: str
    source: str


def explain(plan: Plan, load: Load) -> Iterator[Line]:
    """The arithmetic of a plan, in the order in which it is done."""
    yield from _weights(plan)
    yield from _budget(plan)
    yield from _kv_cache(plan)
    yield from _speed(plan, load)
    yield from _limits(plan, load)


def _weights(plan: Plan) -> Iterator[Line]:
    engine, architecture = plan.engine, plan.engine.architecture
    parts = ", ".join(f"{name} {count / 1e9:.2f}B" for name, count in architecture.parameters().items() if count > 5e6)
    yield Line("parameters", f"{architecture.total_parameters / 1e9:.2f}B", parts, "config.json of the model")
    stored = engine.layout.weight_bytes(architecture)
    yield Line("weights", _gib(stored), f"{engine.layout.name}; what is not named in bf16", engine.layout.source)
    stages = ", ".join(_gib(stage) for stage in stage_weight_bytes(engine))
    yield Line(
        "weights per GPU",
        _gib(plan.capacity.weights_bytes),
        f"stages of {stages}; KV heads are split at most {architecture.kv_heads} ways, routed experts over TP x DP",
        "vLLM config/parallel.py, models/llama4.py",
    )


def _budget(plan: Plan) -> Iterator[Line]:
    engine, found = plan.engine, plan.capacity
    share, memory = engine.settings.gpu_memory_utilization, engine.gpu.memory_gib
    yield Line("usable", _gib(found.usable_bytes), f"{share:.2f} x {memory:.2f} GiB that torch sees", "gpu_memory_utilization")
    row = engine.architecture.rotary_dim
    positions = f"{engine.max_positions:,} positions x {row} x {engine.settings.element_bytes:g} bytes, whatever the context"
    yield Line("rope cache", _gib(found.rope_bytes), positions, "vLLM rotary_embedding/base.py")
    for part in found.parts:
        yield Line(part.rule.name, _gib(part.size_bytes), part.rule.how, f"{part.rule.source} (vLLM {part.rule.versions})")
    yield Line("left for KV", _gib(found.kv_bytes), "usable, less what stands above, per GPU", "vLLM gpu_worker.py")
    yield Line(
        "block tables",
        _gib(found.side_tables_bytes),
        f"outside the budget: {engine.max_num_seqs} sequences of {engine.settings.context_tokens:,} tokens; "
        f"{_gib(found.host_tables_bytes)} pinned on the host",
        "vLLM v1/worker/gpu/block_table.py, states.py",
    )


def _kv_cache(plan: Plan) -> Iterator[Line]:
    engine, cache, found = plan.engine, plan.engine.kv_cache, plan.capacity
    heads = max(1, engine.architecture.kv_heads // engine.parallel.tensor)
    page = f"2 x {heads} KV heads x {engine.architecture.head_dim} x {KV_BYTES[engine.settings.kv_dtype]:g} bytes"
    chunked = sum(group.chunked for group in cache.groups)
    groups = f"{len(cache.groups)} groups of {cache.widest[0]} layers a stage, {chunked} of them keep a chunk only"
    yield Line("KV per token", f"{found.kv_bytes_per_token / 1024:.1f} KiB", f"{page}; {groups}", "vLLM v1/core/kv_cache_utils.py")
    context = engine.settings.context_tokens
    yield Line("one request", _gib(cache.request_bytes(context)), f"of {context:,} tokens, per GPU, as admitted", "max_memory_usage_bytes")
    yield Line(
        "pool",
        f"{found.pool_tokens:,} tokens",
        f"{found.pool_blocks:,} blocks / {cache.blocks(context):,} a request x {context:,}, x {engine.parallel.data} ranks",
        'vLLM\'s "GPU KV cache size"',
    )
    yield Line("longest context", f"{found.max_context_tokens:,}", "the longest request that fits, or the model's own limit", "the same")
    at_once = ", ".join(f"{count} x {length}" for length, count in found.concurrent.items())
    yield Line("requests at once", at_once, "while they decode; max_num_seqs apart", "the same")


def _speed(plan: Plan, load: Load) -> Iterator[Line]:
    told = plan.speed
    if told is None:
        return
    got = efficiency(plan.engine.architecture)
    waiting = f", of which {told.running} run" if told.running < load.concurrency else ""
    yield Line(
        "replica",
        f"{rough(told.replica_tokens_s)} tok/s ±{SPREAD * 100:.0f} %",
        f"{load.concurrency} at once{waiting}, {load.prompt_tokens} in, {load.answer_tokens} out: bytes at {got.bandwidth:.0%} of the "
        f"bandwidth, FLOP at {got.arithmetic:.0%}, {got.layer_s * 1e6:.0f} us a layer and {REQUEST_LAYER_S * 1e6:g} more for each request",
        f"fitted on {got.source}",
    )
    yield Line("each user", f"{rough(told.user_tokens_s)} tok/s", "the replica's, shared by those that run", "the same")
    yield Line("first token", f"{rough(told.ttft_s)} s", f"{load.prompt_tokens} tokens at an idle replica", "the same")
    yield Line("GPU-hour", f"{rough(told.gpu_hour_tokens / 1e6)} million tokens", f"over {plan.gpus} GPUs", "the same")


def _limits(plan: Plan, load: Load) -> Iterator[Line]:
    for one in limits(plan, load):
        yield Line(f"limit of {one.what}", one.part, one.change, "by the lines above")


def _gib(size_bytes: float) -> str:
    """Finer than in a sentence: the lines are there to be added up."""
    return f"{size_bytes / GIB:.2f} GiB"

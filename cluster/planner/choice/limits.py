"""The limits of a plan: the part of memory, or of time, that ends its start, its context, its requests at once and its speed.

Decides which part is named, and by how much it would have to shrink or grow. Computes by `cluster.planner.capacity` and
`cluster.planner.speed` only: a share of a step is what the step loses when a GPU's bandwidth or arithmetic is endless.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf

from cluster.catalogue.hardware import Gpu
from cluster.planner.capacity import Capacity
from cluster.planner.choice.numbers import gib, tokens
from cluster.planner.memory.engine import Engine
from cluster.planner.memory.parts import loading_bytes, outside_bytes
from cluster.planner.search import Plan, with_room
from cluster.planner.speed import Load, Speed, speed

#: More tokens per second that the sentence about speed asks for.
MORE = 0.10
WOULD = "would have to"


@dataclass(frozen=True, slots=True)
class Limit:
    """One thing that has an end, the part that ends it, and by how much that would have to change."""

    what: str
    part: str
    change: str


def limits(plan: Plan, load: Load) -> tuple[Limit, ...]:
    """Returns what limits a plan: its start where it does not fit, else its context, its requests at once, and its speed."""
    if plan.speed is None:
        return (_start(plan),)
    return _context(plan), _at_once(plan, plan.speed, load), _speed(plan, plan.speed, load)


def limiting(ends: Sequence[Limit], plan: Plan, load: Load) -> Limit:
    """Returns the one of a plan's limits that most ends what a load gets: its start, else its requests where some wait, else its speed."""
    if plan.speed is None:
        return ends[0]
    return ends[1] if plan.speed.running < load.concurrency else ends[2]


def _start(plan: Plan) -> Limit:
    engine, found = plan.engine, plan.capacity
    context, what = engine.settings.context_tokens, "start"
    if not plan.legal:
        return Limit(what, "shape", plan.problems[0])
    if found.weights_bytes > found.usable_bytes:
        too_much = gib(found.weights_bytes - found.usable_bytes)
        return Limit(what, "weights", f"{WOULD} shrink by {too_much} on each GPU, and more for the KV pool")
    if context > engine.longest_tokens:
        return Limit(what, "model", f"the context {WOULD} shrink from {tokens(context)} to {tokens(engine.longest_tokens)}")
    missing = engine.kv_cache.request_bytes(context) - found.kv_bytes
    if missing <= 0 or loading_bytes(engine) > engine.gpu.memory_bytes:
        return _outside(engine, found)
    if found.kv_bytes <= 0:
        return Limit(what, _heaviest(found), f"{WOULD} shrink by {gib(missing)} on each GPU")
    instead = f", or the context shrink to {tokens(found.max_context_tokens)}" if found.max_context_tokens else ""
    return Limit(what, "KV pool", f"{WOULD} grow by {gib(missing)} on each GPU, from {gib(found.kv_bytes)}{instead}")


def _heaviest(found: Capacity) -> str:
    """Returns the largest part beside the weights if the KV pool would be positive without it; else the weights."""
    sizes = {"rope cache": found.rope_bytes} | {part.rule.name: part.size_bytes for part in found.parts}
    name = max(sizes, key=lambda part: sizes[part])
    return name if sizes[name] > -found.kv_bytes else "weights"


def _outside(engine: Engine, found: Capacity) -> Limit:
    """Returns what is too large beside vLLM's share of the memory."""
    memory = engine.gpu.memory_bytes
    slack = memory - found.usable_bytes
    sizes = {
        "weights while they load": loading_bytes(engine) - memory,
        "CUDA's own memory": outside_bytes(engine) - slack,
        "block tables": found.side_tables_bytes - slack,
    }
    if engine.settings.kv_cache_memory_bytes is not None:
        sizes = {"KV pool": found.weights_bytes + found.rope_bytes + found.overhead_bytes + found.kv_bytes - memory}
    name = max(sizes, key=lambda part: sizes[part])
    return Limit("start", name, f"{WOULD} shrink by {gib(max(0.0, sizes[name]))} on each GPU")


def _context(plan: Plan) -> Limit:
    engine, found = plan.engine, plan.capacity
    longest = engine.longest_tokens
    if found.max_context_tokens >= longest:
        return Limit("context", "model", f"takes at most {tokens(longest)}; the KV pool has room for that")
    missing = engine.kv_cache.request_bytes(longest) - found.kv_bytes
    return Limit("context", "KV pool", f"{WOULD} grow by {gib(max(0.0, missing))} on each GPU for the model's {tokens(longest)}")


def _at_once(plan: Plan, found: Speed, load: Load) -> Limit:
    engine, capacity = plan.engine, plan.capacity
    by_pool = with_room(engine, capacity, load)
    by_sequences = engine.max_num_seqs * engine.parallel.data
    part = "sequences" if by_sequences < by_pool else "KV pool"
    most = max(1, min(by_pool, by_sequences))
    if found.running >= load.concurrency:
        return Limit("requests", part, f"has room for {most:,}: it could shrink by {_percent(1 - load.concurrency / most)}")
    if part == "sequences":
        needed = -(-load.concurrency // engine.parallel.data)
        return Limit("requests", part, f"{WOULD} grow from {engine.max_num_seqs:,} to {needed:,} (max_num_seqs)")
    missing = gib(capacity.kv_bytes * (load.concurrency / most - 1))
    return Limit("requests", part, f"{WOULD} grow by {missing} on each GPU for {load.concurrency:,}")


def _speed(plan: Plan, found: Speed, load: Load) -> Limit:
    shares = dict(_shares(plan.engine, found, load))
    name = max(shares, key=lambda part: shares[part])
    split = ", ".join(f"{part} {_percent(share)}" for part, share in shares.items())
    less = MORE / (1 + MORE) / shares[name]
    return Limit("speed", name, f"its time {WOULD} shrink by {_percent(less)} for {_percent(MORE)} more tok/s (of the time: {split})")


def _shares(engine: Engine, found: Speed, load: Load) -> Iterator[tuple[str, float]]:
    """Yields the shares of an answer token's time: those that end where a GPU's bandwidth or arithmetic is endless, and the rest."""
    whole = 1 / found.replica_tokens_s
    rest = 1.0
    for name, gpu in (("bandwidth", replace(engine.gpu, bandwidth_bytes_s=inf)), ("compute", _endless(engine.gpu))):
        without = 1 / speed(replace(engine, gpu=gpu), load, found.running).replica_tokens_s
        share = 1 - without / whole
        rest -= share
        yield name, share
    yield "layers' fixed time", rest


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _endless(gpu: Gpu) -> Gpu:
    return replace(gpu, bf16_flops=inf, fp8_flops=gpu.fp8_flops and inf, fp4_flops=gpu.fp4_flops and inf)

"""Counts an engine's memory on its GPUs: weights, rope cache, the other parts and the KV cache, and how long and how many requests fit.

Decides by arithmetic what vLLM finds out by loading. Leaves each part to `cluster.planner.memory`, which shapes are legal to
`cluster.planner.legality`, how the KV cache is paged to `cluster.planner.kv_cache`, and which shape to take to `cluster.planner.search`.

    KV budget of a GPU = utilisation · memory - weights - rope cache - parts
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil, floor

from cluster.catalogue.hardware import GIB
from cluster.planner.memory.engine import Engine
from cluster.planner.memory.parts import Part, loading_bytes, outside_bytes, parts
from cluster.planner.memory.weights import rope_bytes, stage_weight_bytes

#: The lengths for which concurrency is told.
LENGTHS: Mapping[str, int] = {"4K": 4096, "32K": 32_768, "128K": 131_072, "1M": 1_048_576}


@dataclass(frozen=True, slots=True)
class Capacity:
    """The contents of one engine's GPUs; sizes per GPU, of the stage that has least left."""

    usable_bytes: float
    """Memory times utilisation."""
    weights_bytes: float
    rope_bytes: float
    parts: tuple[Part, ...]
    """The memory that vLLM takes beside them."""
    kv_bytes: float
    """Left for the KV cache; negative: so much is missing."""
    side_tables_bytes: float
    host_tables_bytes: float
    """Pinned memory of the host, per worker."""
    kv_bytes_per_token: float
    """Of a long request, on one GPU, once its chunks are full."""
    pool_blocks: int
    """Of one data-parallel rank."""
    pool_tokens: int
    """Of the replica, all data-parallel ranks together."""
    max_context_tokens: int
    concurrent: Mapping[str, int]
    """Requests that can decode at once, by their length."""
    problems: tuple[str, ...] = ()

    @property
    def overhead_bytes(self) -> float:
        """The parts together."""
        return sum(part.size_bytes for part in self.parts)

    @property
    def fits(self) -> bool:
        """Whether the engine starts with the context that it was given."""
        return not self.problems


def side_tables_bytes(engine: Engine) -> tuple[float, float]:
    """Block tables on the GPU, and token ids pinned on the host: both grow with sequences times context, outside vLLM's budget.

    Sources: `v1/worker/gpu/block_table.py` (two int32 tables per group), `v1/worker/gpu/states.py`.
    """
    sequences, context = engine.max_num_seqs, engine.settings.context_tokens
    blocks = ceil(context / engine.settings.block_tokens)
    return 2 * len(engine.kv_cache.groups) * sequences * blocks * 4, sequences * context * 4


def capacity(engine: Engine) -> Capacity:
    """Returns the contents of an engine's GPUs."""
    cache, settings = engine.kv_cache, engine.settings
    usable = settings.gpu_memory_utilization * engine.gpu.memory_bytes
    rope, weights = rope_bytes(engine), stage_weight_bytes(engine)
    stage_parts = tuple(parts(engine, stage) for stage in range(len(weights)))
    left = tuple(_left(engine, usable - own - rope, own_parts) for own, own_parts in zip(weights, stage_parts, strict=True))
    tightest = min(range(len(left)), key=lambda stage: left[stage])
    blocks = settings.num_gpu_blocks_override or cache.pool_blocks(left)
    tables, host = side_tables_bytes(engine)
    found = Capacity(
        usable_bytes=usable,
        weights_bytes=weights[tightest],
        rope_bytes=rope,
        parts=stage_parts[tightest],
        kv_bytes=left[tightest],
        side_tables_bytes=tables,
        host_tables_bytes=host,
        kv_bytes_per_token=cache.bytes_per_token,
        pool_blocks=blocks,
        pool_tokens=cache.pool_tokens(blocks, settings.context_tokens) * engine.parallel.data,
        max_context_tokens=cache.longest_request(blocks, engine.longest_tokens),
        concurrent={name: concurrent_requests(engine, blocks, tokens) for name, tokens in LENGTHS.items()},
    )
    return replace(found, problems=tuple(_problems(engine, found)))


def _left(engine: Engine, left: float, own_parts: tuple[Part, ...]) -> float:
    """Bytes of a GPU for the KV cache: what the engine is told, or what is left of its share of the memory."""
    told = engine.settings.kv_cache_memory_bytes
    return left - sum(part.size_bytes for part in own_parts) if told is None else told


def concurrent_requests(engine: Engine, pool_blocks: int, tokens: int) -> int:
    """Requests of a length that a replica can decode at once, whatever `max_num_seqs` is."""
    if tokens > engine.longest_tokens:
        return 0
    return engine.kv_cache.concurrent_requests(pool_blocks, tokens) * engine.parallel.data


def _problems(engine: Engine, found: Capacity) -> Iterator[str]:
    usable, fixed = found.usable_bytes, found.weights_bytes + found.rope_bytes + found.overhead_bytes
    slack = engine.gpu.memory_bytes - usable
    if engine.settings.kv_cache_memory_bytes is not None and fixed + found.kv_bytes > engine.gpu.memory_bytes:
        yield (
            f"a KV cache of {gib(found.kv_bytes)} (kv_cache_memory_bytes) and the {gib(fixed)} beside it are more than the "
            f"{gib(engine.gpu.memory_bytes)} of a GPU"
        )
    elif found.weights_bytes > usable:
        yield f"the weights take {gib(found.weights_bytes)} on each GPU, {gib(usable)} are usable"
    elif loading_bytes(engine) > engine.gpu.memory_bytes:
        yield (
            f"the weights are loaded as they are stored before they are quantised: {gib(loading_bytes(engine))} on each GPU, "
            f"{gib(engine.gpu.memory_bytes)} are there; take a checkpoint that is quantised already"
        )
    elif found.kv_bytes <= 0:
        yield (
            f"weights ({gib(found.weights_bytes)}), rope cache ({gib(found.rope_bytes)}) and what vLLM takes beside them "
            f"({gib(found.overhead_bytes)}) are {gib(fixed)} on each GPU, {gib(usable)} are usable"
        )
    else:
        yield from _context_problems(engine, found)
    yield from _outside_problems(engine, found, slack)


def _context_problems(engine: Engine, found: Capacity) -> Iterator[str]:
    context = engine.settings.context_tokens
    if context > engine.longest_tokens:
        yield f"a context of {context:,} tokens is longer than the model takes ({engine.longest_tokens:,})"
    elif found.max_context_tokens < context:
        yield (
            f"one request of {context:,} tokens needs {gib(engine.kv_cache.request_bytes(context))} of KV cache on each GPU, "
            f"{gib(found.kv_bytes)} are left; the longest that fits has {found.max_context_tokens:,}"
        )


def _outside_problems(engine: Engine, found: Capacity, slack: float) -> Iterator[str]:
    if engine.settings.kv_cache_memory_bytes is None and outside_bytes(engine) > slack:
        yield (
            f"CUDA's own {gib(outside_bytes(engine))} lie beside vLLM's budget, which leaves {gib(slack)}; "
            f"lower gpu_memory_utilization to {floor(100 - 100 * outside_bytes(engine) / engine.gpu.memory_bytes) / 100:.2f}"
        )
    elif found.side_tables_bytes > slack:
        yield (
            f"block tables for {engine.max_num_seqs} sequences of {engine.settings.context_tokens:,} tokens take "
            f"{gib(found.side_tables_bytes)} beside vLLM's budget, which leaves {gib(slack)}; lower max_num_seqs"
        )


def gib(size_bytes: float) -> str:
    """Bytes for people."""
    return f"{size_bytes / GIB:.1f} GiB"

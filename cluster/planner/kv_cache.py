"""How vLLM pages the KV cache of one engine: bytes per token, blocks per request, and what a number of bytes holds.

Decides what `vllm/v1/core/kv_cache_utils.py` of vLLM 0.29 decides, for the two kinds of layers that Llama models have: those that
keep every token, and those that keep a chunk. Leaves how many bytes there are to `cluster.planner.capacity`.

With the hybrid KV manager the layers are split into groups of equal size, which draw blocks from one pool: a block is `block_tokens` tokens
of all layers of one group. Llama 4 has one group of global layers and three of chunked ones. Without it, one group keeps everything.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

from cluster.catalogue.architecture import Architecture
from configs.parallelism import Parallelism

#: vLLM's default on GPUs (`CacheConfig.DEFAULT_BLOCK_SIZE`), and on CPUs (`platforms/cpu.py`).
GPU_BLOCK_TOKENS = 16
CPU_BLOCK_TOKENS = 128


@lru_cache(maxsize=1024)
def stages(layers: int, pipeline: int) -> tuple[range, ...]:
    """The layers of each pipeline stage. Source: `vllm/distributed/utils.py::get_pp_indices`; what is left over goes before the last."""
    sizes = [layers // pipeline] * pipeline
    for left in range(2, layers % pipeline + 2):
        sizes[-left] += 1
    starts = [sum(sizes[:stage]) for stage in range(pipeline)]
    return tuple(range(start, start + size) for start, size in zip(starts, sizes, strict=True))


@dataclass(frozen=True, slots=True)
class Group:
    """Layers that share a block table."""

    layers: tuple[int, ...]
    chunked: bool

    def count(self, stage: range) -> int:
        """How many of them a pipeline stage has."""
        return sum(layer in stage for layer in self.layers)


@dataclass(frozen=True, slots=True)
class KvCache:
    """The paging of one rank of data-parallel attention; all sizes are per GPU."""

    groups: tuple[Group, ...]
    widest: tuple[int, ...]
    """Layers of the largest group, for each pipeline stage."""
    page_bytes: int
    """One block of one layer."""
    block_tokens: int
    chunk_tokens: int
    in_flight_tokens: int
    """Tokens scheduled but not settled; their blocks cannot be freed yet (`VllmConfig.max_in_flight_tokens`)."""

    def block_bytes(self, stage: int) -> int:
        """One block of the pool of a stage's GPUs: its largest group."""
        return self.page_bytes * self.widest[stage]

    @property
    def bytes_per_token(self) -> float:
        """Returns the bytes that one more token of a long request takes on a GPU, once its chunks are full."""
        growing = sum(not group.chunked for group in self.groups)
        return self.block_bytes(0) * growing / self.block_tokens

    def blocks(self, tokens: int, in_flight_tokens: int | None = None) -> int:
        """Blocks that one request of so many tokens holds.

        With the tokens in flight of a whole step, as vLLM reserves when it admits a request; with 0, as the request holds while it decodes.
        """
        flying = self.in_flight_tokens if in_flight_tokens is None else in_flight_tokens
        chunked = sum(group.chunked for group in self.groups)
        kept = min(self.chunk_tokens + flying, tokens)
        return chunked * ceil(kept / self.block_tokens) + (len(self.groups) - chunked) * ceil(tokens / self.block_tokens)

    def request_bytes(self, tokens: int, stage: int = 0) -> int:
        """Bytes that vLLM wants to have for one request: the "KV cache is needed" of its refusal."""
        return self.block_bytes(stage) * self.blocks(tokens)

    def pool_blocks(self, bytes_per_stage: tuple[float, ...]) -> int:
        """Blocks that the bytes of each stage make; the stage with the fewest decides for all. A stage without layers holds none."""
        sizes = ((left, self.block_bytes(stage)) for stage, left in enumerate(bytes_per_stage))
        return max(0, min(int(left // size) for left, size in sizes if size))

    def pool_tokens(self, pool_blocks: int, context_tokens: int) -> int:
        """Returns vLLM's "GPU KV cache size": how many requests of the whole context fit, in tokens (`get_kv_cache_capacity`)."""
        return int(pool_blocks / self.blocks(context_tokens) * context_tokens)

    def longest_request(self, pool_blocks: int, most_tokens: int) -> int:
        """The longest request that fits; one block of the pool is vLLM's own (the null block)."""
        shortest, longest = 0, most_tokens
        while shortest < longest:
            middle = (shortest + longest + 1) // 2
            if self.blocks(middle) <= pool_blocks - 1:
                shortest = middle
            else:
                longest = middle - 1
        return shortest

    def concurrent_requests(self, pool_blocks: int, tokens: int) -> int:
        """Requests of a length that can decode at once, while one step's tokens in flight hold their chunks too."""
        flying = sum(ceil(self.in_flight_tokens / self.block_tokens) for group in self.groups if group.chunked)
        if not self.chunk_tokens or tokens <= self.chunk_tokens:
            flying = 0
        by_steady = (pool_blocks - 1 - flying) // self.blocks(tokens, in_flight_tokens=0)
        by_admission = (pool_blocks - 1) // self.blocks(tokens)
        return max(0, by_steady, by_admission)


@lru_cache(maxsize=1024)
def kv_cache(  # noqa: PLR0913 (what paging depends on)
    architecture: Architecture,
    parallel: Parallelism,
    bytes_per_element: float,
    *,
    hybrid: bool,
    in_flight_tokens: int,
    block_tokens: int = GPU_BLOCK_TOKENS,
    draft_layers: int = 0,
) -> KvCache:
    """The paging of an engine.

    Args:
        architecture: the model.
        parallel: tensor parallel splits the KV heads, down to one per GPU; pipeline parallel splits the layers.
        bytes_per_element: 2 for bf16, 1 for fp8, 4 for float32.
        hybrid: whether chunked layers free what they no longer see.
        in_flight_tokens: see `KvCache`.
        block_tokens: tokens in a block.
        draft_layers: further layers, of a draft model, on the last stage.
    """
    heads = max(1, architecture.kv_heads // parallel.tensor)
    groups = _groups(architecture, hybrid)
    *before, last = (max(group.count(stage) for group in groups) for stage in stages(architecture.layers, parallel.pipeline))
    return KvCache(
        groups=groups,
        widest=(*before, last + draft_layers),
        page_bytes=int(2 * heads * architecture.head_dim * bytes_per_element * block_tokens),
        block_tokens=block_tokens,
        chunk_tokens=architecture.chunk_tokens or 0,
        in_flight_tokens=in_flight_tokens,
    )


def _groups(architecture: Architecture, hybrid: bool) -> tuple[Group, ...]:
    """Source: `_get_kv_cache_groups_uniform_page_size`: groups as large as the smaller kind of layers, each taking every n-th layer."""
    chunked = architecture.chunked_layers
    full = tuple(layer for layer in range(architecture.layers) if layer not in chunked)
    if not hybrid or not chunked:
        return (Group(tuple(range(architecture.layers)), chunked=False),)
    kinds = [(kind, is_chunked) for kind, is_chunked in ((full, False), (chunked, True)) if kind]
    fewest, most = min(len(kind) for kind, _ in kinds), max(len(kind) for kind, _ in kinds)
    size = most if most < 1.5 * fewest else fewest
    groups = []
    for kind, is_chunked in kinds:
        count = ceil(len(kind) / size)
        groups += [Group(kind[number::count], is_chunked) for number in range(count)]
    return tuple(groups)

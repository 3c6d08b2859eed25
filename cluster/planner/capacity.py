"""What fits: weights, rope cache, overhead and KV cache of one engine on its GPUs, and how long and how many requests that leaves room for.

Decides by arithmetic what vLLM finds out by loading. Leaves which shapes are legal to `cluster.planner.legality`, how the KV cache is
paged to `cluster.planner.kv_cache`, and which shape to take to `cluster.planner.search`.

    KV budget of a GPU = utilisation · memory - weights - rope cache - overhead

One constant is calibrated: `OVERHEAD_GIB`. Everything else is counted.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

from cluster.catalogue.architecture import Architecture, Component
from cluster.catalogue.checkpoints import BF16_BYTES, Layout, decoder_bytes
from cluster.catalogue.hardware import GIB, Gpu
from cluster.planner.kv_cache import GPU_BLOCK_TOKENS, KvCache, kv_cache, stages
from cluster.planner.legality import data_parallel_replicates_shared_experts
from configs.schema import Parallelism

KvDtype = Literal["bf16", "fp8", "float32"]
KV_BYTES: Mapping[KvDtype, float] = {"bf16": 2.0, "fp8": 1.0, "float32": 4.0}

#: What vLLM 0.8.3 had taken beside weights and rope cache when it said "available KV cache memory (9.97 GiB)" for Maverick-FP8 on 8×H100
#: (vllm#16118): 0.90 · 79.10 - 48.53 - 0.25 - 9.97. Activations of the profiling run, sampler, NCCL, CUDA context. The one number that is
#: calibrated.
OVERHEAD_GIB = 12.44
#: The settings of that row, and the rule by which the number is carried to others (assumed, not measured): the sampler's part goes with
#: sequences and vocabulary, at about 24 bytes each (logits twice, sort, probabilities), the rest with the tokens of a step.
OVERHEAD_SEQS, OVERHEAD_VOCABULARY, OVERHEAD_BATCHED_TOKENS = 1024, 202_048, 8192
SAMPLER_BYTES = 24

#: vLLM 0.29's default (`config/cache.py`); it was 0.90 in 0.8.
GPU_MEMORY_UTILIZATION = 0.92
#: Decoder layers of an EAGLE draft model, all of them with full attention.
DRAFT_LAYERS = 1
#: The lengths for which concurrency is told.
LENGTHS: Mapping[str, int] = {"4K": 4096, "32K": 32_768, "128K": 131_072, "1M": 1_048_576}


@dataclass(frozen=True, slots=True)
class Settings:
    """What an engine is told beside its shape. What is None is vLLM's default for the GPU, or the model's own."""

    context_tokens: int
    kv_dtype: KvDtype = "bf16"
    hybrid_kv: bool = True
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_positions: int | None = None
    """Lowers `max_position_embeddings`, and so the rope cache."""
    block_tokens: int = GPU_BLOCK_TOKENS
    drafts: bool = False
    """An EAGLE draft model runs beside it; vLLM then does without the hybrid KV manager where layers are chunked (`config/vllm.py`)."""
    hands_over: bool = False
    """Its KV cache goes to other engines, or comes from them."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One replica to be planned: a model, how it is stored, on which GPUs, in which shape, with which settings."""

    architecture: Architecture
    layout: Layout
    gpu: Gpu
    parallel: Parallelism
    settings: Settings

    @property
    def max_num_batched_tokens(self) -> int:
        """Tokens of one step. Defaults: `arg_utils.py::get_batch_defaults`, by the GPU's memory."""
        return self.settings.max_num_batched_tokens or _batch_defaults(self.gpu)[0]

    @property
    def max_num_seqs(self) -> int:
        """Requests of one step."""
        return self.settings.max_num_seqs or _batch_defaults(self.gpu)[1]

    @property
    def max_positions(self) -> int:
        """Positions of the rope cache."""
        return self.settings.max_positions or self.architecture.max_positions

    @property
    def kv_cache(self) -> KvCache:
        """Its paging. On GPUs vLLM schedules one step ahead of the pipeline (`VllmConfig.max_concurrent_batches`)."""
        return kv_cache(
            self.architecture,
            self.parallel,
            KV_BYTES[self.settings.kv_dtype],
            hybrid=self.settings.hybrid_kv and not self.settings.drafts,
            in_flight_tokens=self.max_num_batched_tokens * (self.parallel.pipeline + 1),
            block_tokens=self.settings.block_tokens,
            draft_layers=DRAFT_LAYERS if self.settings.drafts else 0,
        )


def _batch_defaults(gpu: Gpu) -> tuple[int, int]:
    if gpu.memory_gib >= 160:
        return 16_384, 1024
    if gpu.memory_gib >= 70 and "A100" not in gpu.name:
        return 8192, 1024
    return 2048, 256


@dataclass(frozen=True, slots=True)
class Capacity:
    """What one engine's GPUs hold; sizes per GPU, of the stage that has least left."""

    usable_bytes: float
    """Memory times utilisation."""
    weights_bytes: float
    rope_bytes: float
    overhead_bytes: float
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
    def fits(self) -> bool:
        """Whether the engine starts with the context that it was given."""
        return not self.problems


def stage_weight_bytes(engine: Engine) -> tuple[float, ...]:
    """Weights on one GPU of each pipeline stage, in bytes.

    Tensor parallel splits attention (KV heads down to one), MLPs, vocabulary and vision. Routed experts are split over tensor and data
    parallel ranks whether or not whole ones are placed (`config/parallel.py`); everything else is on every data parallel rank.
    """
    architecture, parallel = engine.architecture, engine.parallel
    split = stages(architecture.layers, parallel.pipeline)
    shares = _shares(architecture, parallel)
    result = []
    for number, stage in enumerate(split):
        stored = decoder_bytes(architecture, engine.layout, stage)
        outer = _outer_bytes(architecture, parallel, first=number == 0, last=number == len(split) - 1)
        result.append(outer + sum(count / shares.get(component, 1) for component, count in stored.items()))
    if engine.settings.drafts:
        result[-1] += draft_parameters(architecture) * BF16_BYTES / parallel.tensor
    return tuple(result)


def draft_parameters(architecture: Architecture) -> int:
    """Parameters of an EAGLE3 draft model in the form of `llama_eagle3.py`, at most: one decoder layer that reads twice the hidden size,
    the three hidden states put together, and a head over the whole vocabulary (some drafts have a smaller one)."""
    hidden, head = architecture.hidden, architecture.head_dim
    attention = 2 * hidden * head * (architecture.heads + 2 * architecture.kv_heads) + architecture.heads * head * hidden
    return attention + 3 * hidden * architecture.intermediate + 3 * hidden * hidden + architecture.vocab * hidden


def _own_experts(architecture: Architecture, parallel: Parallelism) -> float:
    """Of the experts that a GPU holds, the share that is no copy of another."""
    return architecture.experts / (architecture.experts + (parallel.redundant_experts or 0)) if architecture.experts else 1.0


def _shares(architecture: Architecture, parallel: Parallelism) -> dict[Component, float]:
    tensor = parallel.tensor
    return {
        "attention_qo": tensor,
        "attention_kv": min(tensor, architecture.kv_heads),
        "dense_mlp": tensor,
        "shared_experts": 1 if data_parallel_replicates_shared_experts(parallel) else tensor,
        "routed_experts": tensor * parallel.data * _own_experts(architecture, parallel),
    }


def _outer_bytes(architecture: Architecture, parallel: Parallelism, *, first: bool, last: bool) -> float:
    outer = architecture.outer_parameters()
    here = 0.0
    if first:
        here += outer["embedding"] + outer["vision"]
    if last:
        # A tied head is the embedding; on another stage it is a copy of it.
        here += outer["embedding"] if architecture.tied_embeddings and not first else outer["head"]
    return BF16_BYTES * (here / parallel.tensor + (outer["norms"] if last else 0))


def rope_bytes(engine: Engine) -> float:
    """The rope cache, on every GPU: positions by head size in bf16, whatever the context (`rotary_embedding/base.py`)."""
    return engine.max_positions * engine.architecture.head_dim * BF16_BYTES


def overhead_bytes(engine: Engine) -> float:
    """What is neither weights nor KV cache: `OVERHEAD_GIB`, carried to the engine's sequences, vocabulary and tokens per step."""
    sampler = OVERHEAD_SEQS * OVERHEAD_VOCABULARY * SAMPLER_BYTES
    rest = OVERHEAD_GIB * GIB - sampler
    sequences = engine.max_num_seqs / OVERHEAD_SEQS * engine.architecture.vocab / OVERHEAD_VOCABULARY
    return sampler * sequences + rest * engine.max_num_batched_tokens / OVERHEAD_BATCHED_TOKENS


def side_tables_bytes(engine: Engine) -> tuple[float, float]:
    """Block tables on the GPU, and token ids pinned on the host: both grow with sequences times context, outside vLLM's budget.

    Sources: `v1/worker/gpu/block_table.py` (two int32 tables per group), `v1/worker/gpu/states.py`.
    """
    sequences, context = engine.max_num_seqs, engine.settings.context_tokens
    blocks = ceil(context / engine.settings.block_tokens)
    return 2 * len(engine.kv_cache.groups) * sequences * blocks * 4, sequences * context * 4


def capacity(engine: Engine) -> Capacity:
    """What an engine's GPUs hold."""
    cache = engine.kv_cache
    usable = engine.settings.gpu_memory_utilization * engine.gpu.memory_bytes
    rope, overhead = rope_bytes(engine), overhead_bytes(engine)
    weights = stage_weight_bytes(engine)
    left = tuple(usable - stage - rope - overhead for stage in weights)
    tightest = min(range(len(left)), key=lambda stage: left[stage])
    blocks = cache.pool_blocks(left)
    most = min(engine.architecture.max_positions, engine.max_positions)
    tables, host = side_tables_bytes(engine)
    found = Capacity(
        usable_bytes=usable,
        weights_bytes=weights[tightest],
        rope_bytes=rope,
        overhead_bytes=overhead,
        kv_bytes=left[tightest],
        side_tables_bytes=tables,
        host_tables_bytes=host,
        kv_bytes_per_token=cache.bytes_per_token,
        pool_blocks=blocks,
        pool_tokens=cache.pool_tokens(blocks, engine.settings.context_tokens) * engine.parallel.data,
        max_context_tokens=cache.longest_request(blocks, most),
        concurrent={name: concurrent_requests(engine, blocks, tokens) for name, tokens in LENGTHS.items()},
    )
    return replace(found, problems=tuple(_problems(engine, found)))


def concurrent_requests(engine: Engine, pool_blocks: int, tokens: int) -> int:
    """Requests of a length that a replica can decode at once, whatever `max_num_seqs` is."""
    if tokens > min(engine.architecture.max_positions, engine.max_positions):
        return 0
    return engine.kv_cache.concurrent_requests(pool_blocks, tokens) * engine.parallel.data


def _problems(engine: Engine, found: Capacity) -> Iterator[str]:
    context, cache = engine.settings.context_tokens, engine.kv_cache
    usable, fixed = found.usable_bytes, found.weights_bytes + found.rope_bytes + found.overhead_bytes
    slack = engine.gpu.memory_bytes - usable
    if found.weights_bytes > usable:
        yield f"the weights take {gib(found.weights_bytes)} on each GPU, {gib(usable)} are usable"
    elif found.kv_bytes <= 0:
        yield (
            f"weights ({gib(found.weights_bytes)}), rope cache ({gib(found.rope_bytes)}) and overhead ({gib(found.overhead_bytes)}) take "
            f"{gib(fixed)} on each GPU, {gib(usable)} are usable"
        )
    elif found.max_context_tokens < context:
        yield (
            f"one request of {context:,} tokens needs {gib(cache.request_bytes(context))} of KV cache on each GPU, "
            f"{gib(found.kv_bytes)} are left; the longest that fits has {found.max_context_tokens:,}"
        )
    if found.side_tables_bytes > slack:
        yield (
            f"block tables for {engine.max_num_seqs} sequences of {context:,} tokens take {gib(found.side_tables_bytes)} beside vLLM's "
            f"budget, which leaves {gib(slack)}; lower max_num_seqs"
        )


def gib(size_bytes: float) -> str:
    """Bytes for people."""
    return f"{size_bytes / GIB:.1f} GiB"

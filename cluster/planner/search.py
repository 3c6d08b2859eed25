"""Which shape to take: every legal one on given hardware, those that meet a wish first, the best of them on top.

Decides the order, and the settings of each shape: vLLM's defaults where they meet the wish, else fewer sequences and a shorter rope cache,
which leave more for the KV cache. Leaves what could be instead to `cluster.planner.refusal`, what fits to
`cluster.planner.capacity` and how fast it is to `cluster.planner.speed`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import Checkpoint, usual_layout
from cluster.catalogue.hardware import Cluster
from cluster.planner.capacity import Capacity, capacity, concurrent_requests
from cluster.planner.legality import refusals, stored_refusals, tensor_sizes
from cluster.planner.memory.engine import FIRST_UPLOADS_BEFORE, GPU_MEMORY_UTILIZATION, VLLM, Engine, KvDtype, Settings, Version
from cluster.planner.memory.said import settings_from, told
from cluster.planner.speed import Load, Speed, speed
from configs.names import Quantization
from configs.parallelism import Parallelism

#: A wish that names no length means at least a conversation; an engine is then given up to the usual 128K.
LEAST_CONTEXT_TOKENS = 8192
USUAL_CONTEXT_TOKENS = 131_072
#: Sequences per step that are tried when vLLM's default leaves too little for the wish, and positions when the rope cache does.
FEWER_SEQS = (256, 64, 16)
FEWER_POSITIONS = 131_072
#: Experts per GPU from which whole ones are placed instead of slices of each: Maverick on 8 GPUs, not Scout (vLLM's recipes).
WHOLE_EXPERTS = 16
#: The schema's (`Parallelism.data`).
MOST_DATA_PARALLEL = 64
#: Most truthful first, where all else is equal.
FIDELITY: tuple[Quantization, ...] = ("bf16", "fp8", "int8", "nvfp4", "int4")


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to plan for: what it is called, its shape, and the checkpoint to take for each quantisation."""

    title: str
    architecture: Architecture
    checkpoints: tuple[Checkpoint, ...]
    context_tokens: int
    only_these: bool = False
    """The checkpoint is named: no other is to be planned for."""


@dataclass(frozen=True, slots=True)
class Wish:
    """The wish, and its pinned fields; None leaves it to the planner."""

    context_tokens: int | None = None
    concurrency: int | None = None
    """Requests that come at once. Plans that hold all of them come first; in the others some wait."""
    cheapest: bool = False
    """By the cost of a token; else the fewest GPUs."""
    load: Load = field(default_factory=lambda: Load(64, 1000, 1000))
    quantization: Quantization | None = None
    kv_dtype: KvDtype | None = None
    tensor: int | None = None
    pipeline: int | None = None
    data: int | None = None
    expert: bool | None = None
    hybrid_kv: bool = True
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION
    max_num_seqs: int | None = None
    vllm: Version = VLLM
    told: Settings | None = None
    """Further arguments of an engine; the fields of the wish and of its kind stand above it."""
    engine: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of vLLM's engine, by vLLM's own names."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One configuration of one replica, and what it does."""

    checkpoint: Checkpoint
    engine: Engine
    capacity: Capacity
    concurrency: int
    """Requests of the wish's length that can decode at once."""
    speed: Speed | None
    """Of an engine that fits."""
    problems: tuple[str, ...]
    legal: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of vLLM's engine that it was planned with."""

    @property
    def fits(self) -> bool:
        """Whether the wish is met."""
        return not self.problems

    @property
    def gpus(self) -> int:
        """GPUs of the replica."""
        return self.engine.parallel.gpus


@dataclass(frozen=True, slots=True)
class _Tried:
    """One engine that was looked at."""

    engine: Engine
    found: Capacity
    concurrency: int


def plans(subject: Subject, cluster: Cluster, wish: Wish) -> tuple[Plan, ...]:
    """Every configuration that may be asked about, best first; what does not meet the wish comes last, with its problems."""
    shapes = tuple(_shapes(subject.architecture, cluster, wish))
    found = [
        _plan(subject, checkpoint, parallel, kv_dtype, cluster, wish)
        for checkpoint in _checkpoints(subject, wish)
        for kv_dtype in _kv_dtypes(cluster, wish)
        for parallel in shapes
        if wish.quantization or _computes(checkpoint, cluster)
    ]
    return tuple(sorted(found, key=lambda plan: _rank(plan, wish)))


def _checkpoints(subject: Subject, wish: Wish) -> tuple[Checkpoint, ...]:
    """Those of the wished quantisation; where none is known, one as the tools make it."""
    word = wish.quantization
    known = tuple(one for one in subject.checkpoints if word in (None, one.layout.quantization))
    if known or word is None or subject.only_these:
        return known
    return (Checkpoint("", usual_layout(word, subject.architecture), assumed=True),)


def _computes(checkpoint: Checkpoint, cluster: Cluster) -> bool:
    """Whether a GPU multiplies what is stored; NVFP4 that is only unpacked is not offered where nobody asks for it."""
    if checkpoint.layout.quantization == "nvfp4" and not cluster.node.gpu.fp4_flops:
        return False
    return not any(stored_refusals(checkpoint.layout, False, cluster.node.gpu))


def _kv_dtypes(cluster: Cluster, wish: Wish) -> tuple[KvDtype, ...]:
    if wish.kv_dtype:
        return (wish.kv_dtype,)
    if "kv_cache_dtype" in wish.engine or "dtype" in wish.engine:
        return (settings_from(wish.engine, LEAST_CONTEXT_TOKENS).kv_dtype,)
    return ("bf16", "fp8") if cluster.node.gpu.fp8_flops else ("bf16",)


def _shapes(architecture: Architecture, cluster: Cluster, wish: Wish) -> Iterator[Parallelism]:
    """Shapes on the cluster's GPUs: what is pinned as it is, legal or not; the rest legal, and tensor parallel within a node."""
    nodes = cluster.nodes or 1
    most = nodes * cluster.node.gpus
    tensors = (wish.tensor,) if wish.tensor else tuple(size for size in tensor_sizes(architecture) if size <= cluster.node.gpus)
    pipelines = (wish.pipeline,) if wish.pipeline else tuple(size for size in (1, 2, 4, 8) if size <= nodes)
    datas = (wish.data,) if wish.data else _data_sizes(architecture, most)
    pinned = (wish.tensor or 1) * (wish.pipeline or 1) * (wish.data or 1)
    for tensor in tensors:
        for pipeline in pipelines:
            for data in datas:
                expert = _whole_experts(architecture, tensor, data) if wish.expert is None else wish.expert
                parallel = Parallelism(tensor=tensor, pipeline=pipeline, data=data, expert=expert)
                if parallel.gpus <= max(most, pinned):
                    yield parallel


def _data_sizes(architecture: Architecture, most: int) -> tuple[int, ...]:
    """Powers of two: ranks share the experts evenly."""
    if not architecture.experts:
        return (1,)
    return tuple(1 << power for power in range(min(most, MOST_DATA_PARALLEL).bit_length()))


def _whole_experts(architecture: Architecture, tensor: int, data: int) -> bool:
    ranks = tensor * data
    if ranks == 1 or not architecture.experts or architecture.experts % ranks:
        return False
    return data > 1 or architecture.experts // ranks >= WHOLE_EXPERTS


def _plan(subject: Subject, checkpoint: Checkpoint, parallel: Parallelism, kv_dtype: KvDtype, cluster: Cluster, wish: Wish) -> Plan:
    illegal = tuple(_illegal(subject, checkpoint, parallel, kv_dtype, cluster))
    architecture, gpu = checkpoint.shaped(subject.architecture, first_upload=wish.vllm < FIRST_UPLOADS_BEFORE), cluster.node.gpu
    tried: list[_Tried] = []
    for settings in _worth_trying(tuple(_settings(subject, checkpoint, kv_dtype, parallel, wish)), bool(illegal), subject.architecture):
        engine, held = _fitted(told(Engine(architecture, checkpoint.layout, gpu, parallel, settings), wish.engine), wish)
        tried.append(_Tried(engine, held, _decoding(engine, held, wish)))
        if not tried[-1].found.problems and tried[-1].concurrency >= (wish.concurrency or 0):
            break
    fitting = [one for one in tried if not one.found.problems]
    best = max(fitting, key=lambda one: one.concurrency) if fitting else tried[-1]
    found, concurrency = best.found, best.concurrency
    if illegal:
        found, concurrency = replace(found, pool_tokens=0, max_context_tokens=0), 0
    problems = illegal or found.problems
    running = with_room(best.engine, found, wish.load)
    return Plan(
        checkpoint=checkpoint,
        engine=best.engine,
        capacity=found,
        concurrency=concurrency,
        speed=None if problems else speed(best.engine, wish.load, running),
        problems=problems,
        legal=not illegal,
        arguments=wish.engine,
    )


def _worth_trying(rungs: tuple[Settings, ...], illegal: bool, architecture: Architecture) -> tuple[Settings, ...]:
    """Leaves one where none helps: the usual ones of a shape that is refused, those that leave most for a context that is too long."""
    if illegal:
        return rungs[:1]
    return rungs[-1:] if rungs[0].context_tokens > architecture.max_positions else rungs


def _decoding(engine: Engine, held: Capacity, wish: Wish) -> int:
    """Returns how many requests of the wish's length an engine can decode at once."""
    length = wish.context_tokens or min(LEAST_CONTEXT_TOKENS, engine.settings.context_tokens)
    return min(concurrent_requests(engine, held.pool_blocks, length), engine.max_num_seqs * engine.parallel.data)


def with_room(engine: Engine, found: Capacity, load: Load) -> int:
    """Returns how many requests of a load the KV pool has room for at once, each half answered on average."""
    return concurrent_requests(engine, found.pool_blocks, min(mean_length(load), engine.longest_tokens))


def mean_length(load: Load) -> int:
    """Tokens of a request of a load, on average over its answer."""
    return load.prompt_tokens + load.answer_tokens // 2


def _illegal(subject: Subject, checkpoint: Checkpoint, parallel: Parallelism, kv_dtype: KvDtype, cluster: Cluster) -> Iterator[str]:
    for name, reason in refusals(subject.architecture, parallel):
        yield f"{name} parallel: {reason}"
    for _, reason in stored_refusals(checkpoint.layout, kv_dtype == "fp8", cluster.node.gpu):
        yield reason
    most = (cluster.nodes or 1) * cluster.node.gpus
    if parallel.gpus > most:
        yield f"the shape takes {parallel.gpus} GPUs, there are {most}"


def _settings(subject: Subject, checkpoint: Checkpoint, kv_dtype: KvDtype, parallel: Parallelism, wish: Wish) -> Iterator[Settings]:
    """From vLLM's defaults to what leaves most for the KV cache; where the wish says the sequences, it describes an engine as it is."""
    most = checkpoint.context_tokens or subject.context_tokens
    context = wish.context_tokens or min(USUAL_CONTEXT_TOKENS, most)
    least = -(-(wish.concurrency or 1) // parallel.data)
    anyway = wish.told or settings_from(wish.engine, context, vllm=wish.vllm)
    fewest = wish.max_num_seqs or anyway.max_num_seqs
    usual = replace(
        anyway,
        context_tokens=context,
        kv_dtype=kv_dtype,
        hybrid_kv=wish.hybrid_kv and anyway.hybrid_kv,
        gpu_memory_utilization=anyway.gpu_memory_utilization if "gpu_memory_utilization" in wish.engine else wish.gpu_memory_utilization,
        max_num_seqs=fewest or (least if least > FEWER_SEQS[0] else None),
    )
    yield usual
    if usual.max_num_seqs and not fewest:
        yield replace(usual, max_num_seqs=None)
    fewer = () if fewest else FEWER_SEQS
    for count in fewer:
        yield replace(usual, max_num_seqs=count)
    positions = max(FEWER_POSITIONS, context)
    if positions < subject.architecture.max_positions and not wish.max_num_seqs:
        yield replace(usual, max_num_seqs=fewer[-1] if fewer else usual.max_num_seqs, max_positions=positions)


def _fitted(engine: Engine, wish: Wish) -> tuple[Engine, Capacity]:
    """Returns the engine, with a context that fits where the wish names none, and what it holds."""
    held = capacity(engine)
    if wish.context_tokens or not LEAST_CONTEXT_TOKENS <= held.max_context_tokens < engine.settings.context_tokens:
        return engine, held
    shorter = replace(engine, settings=replace(engine.settings, context_tokens=held.max_context_tokens // 1024 * 1024))
    return shorter, capacity(shorter)


def _rank(plan: Plan, wish: Wish) -> tuple[float, ...]:
    """Smaller is better. What fits by cost or GPUs, then by fidelity and simplicity; the rest by how near it comes."""
    fidelity = (FIDELITY.index(plan.checkpoint.layout.quantization), plan.engine.settings.kv_dtype != "bf16")
    if plan.speed is None:
        return (1, not plan.legal, -plan.capacity.max_context_tokens, -plan.concurrency, -plan.capacity.kv_bytes, *fidelity)
    cost = -plan.speed.gpu_hour_tokens if wish.cheapest else plan.gpus
    parallel, some_wait = plan.engine.parallel, plan.concurrency < (wish.concurrency or 0)
    return (0, some_wait, cost, *fidelity, parallel.data, parallel.pipeline, -plan.speed.replica_tokens_s)


def shape(parallel: Parallelism, *, brief: bool = False) -> str:
    """A shape for people: TP 8, PP 2 × TP 8, DP 2 × TP 8 with whole experts."""
    sizes = {"DP": parallel.data, "PP": parallel.pipeline, "TP": parallel.tensor}
    said = [f"{name} {size}" for name, size in sizes.items() if size > 1 or name == "TP"]
    if brief and parallel.pipeline > 1 and parallel.data == 1:
        said = [f"PP {parallel.pipeline}"]
    return " × ".join(said) + (" with whole experts" if parallel.expert and not brief else "")

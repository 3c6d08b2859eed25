"""Memory that vLLM takes beside weights and KV cache, as parts: each with its rule, the rule's source, and the versions that it holds for.

Decides what vLLM finds out in its profiling run (`GPUWorker.determine_available_memory`): it runs one step of the most tokens, samples for
the most sequences, and leaves the highest peak free. A part is counted from what that run allocates. Few numbers are calibrated, on logs
of vLLM 0.19 (`tests/unit/cluster/planner/points`): those of `NON_TORCH`, `COMMUNICATION`, `HIDDEN_STATES` and the CUDA graphs.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from cluster.catalogue.hardware import GIB
from cluster.planner.kv_cache import stages
from cluster.planner.memory.engine import Engine, Version
from cluster.planner.memory.weights import lora_bytes, rope_bytes, stage_weight_bytes


@dataclass(frozen=True, slots=True)
class Rule:
    """How a part is counted, where that is from, and from which version of vLLM on, before which it holds."""

    name: str
    how: str
    source: str
    since: Version = (0, 0)
    before: Version = (99, 0)

    def holds(self, version: Version) -> bool:
        """Whether a version of vLLM does so."""
        return self.since <= version < self.before

    @property
    def versions(self) -> str:
        """The versions for people."""
        start = f"{self.since[0]}.{self.since[1]} on" if self.since > (0, 0) else "all"
        return start if self.before > (9, 0) else f"{start}, before {self.before[0]}.{self.before[1]}"


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the memory of a GPU."""

    rule: Rule
    size_bytes: float


@dataclass(frozen=True, slots=True)
class Sampler:
    """The sampler's part of the profiling run: bytes for each sequence and entry of the vocabulary."""

    rule: Rule
    transient_bytes: float
    """On top of the logits, which are in the model's own width."""
    kept_bytes: float = 0.0
    """Allocated before the run, and kept."""
    filter_rows: bool = False
    """The kernel of top-k and top-p keeps a float32 row of the vocabulary for each multiprocessor (`topk_topp_triton.py`)."""


_LOGS = "startup logs of vLLM 0.19 on H100"
#: Samplers, the newest first.
SAMPLERS = (
    Sampler(
        Rule(
            "sampler",
            "logits; V2 counts output tokens and marks prompt tokens of every sequence",
            "v1/worker/gpu/sample",
            (0, 29),
        ),
        0.0,
        4 + 1 / 8,
    ),
    Sampler(
        Rule("sampler", "logits, and in float32: logits, probabilities and noise", "v1/sample/ops; " + _LOGS, (0, 17), (0, 29)),
        12.0,
        filter_rows=True,
    ),
    Sampler(
        Rule("sampler", "logits, and what sorting them takes", "the jump between 0.16 and 0.17; logs of 0.11", (0, 8), (0, 17)),
        36.0,
    ),
    Sampler(Rule("sampler", "logits of the prompts' last tokens", "V0's log of 0.7", before=(0, 8)), 5.2),
)
#: What the day-0 log of Llama 4 has more: 0.8.3, Maverick on 8xH100, 12.44 GiB in all.
DAY_0 = Rule("experts of 0.8", "2.9 GiB more with experts", "calibrated on the log in vllm#16118", (0, 8), (0, 9))
DAY_0_BYTES = 2.886 * GIB

ACTIVATIONS = Rule("activations", "the widest moment of a step of the most tokens, or of sampling after it", "profile_run; " + _LOGS)
#: Tensors of the hidden size that are alive in the widest moment of a step, beside the MLP's; from logs of models with little vocabulary.
HIDDEN_STATES = 4.25
#: What the run keeps beside all that.
SMALL_TENSORS = 0.03 * GIB
#: Of an H100.
MULTIPROCESSORS = 132

VISION = Rule("images", "embeddings of the images that one step may bring", "profile_run; encoder_budget.py")
#: Tiles of the largest image of Llama 4, its overview included (`mllama4.py`, `max_patches` 16).
TILES = 17
#: Tensors of the tower's hidden size beside its MLP's, rotary embedding in complex numbers included (`llama4_vision_rope.py`).
VISION_STATES = 12
WORKSPACE = Rule("experts", "two workspaces of the fused experts, kept", "fused_moe/modular_kernel.py; " + _LOGS, (0, 17))
PIPELINE = Rule("pipeline", "hidden states and residuals between the stages", "IntermediateTensors; " + _LOGS)
ROPE_COPY = Rule(
    "rope copy", "the rope cache in float32, with int8 activations", "one log of 0.20: Llama Guard 4 w8a8 on an A10G asks for 5.00 GiB"
)

#: CUDA's modules and workspaces, and what one GPU more to talk to takes: NCCL, custom all-reduce, symmetric memory.
NON_TORCH = Rule("non-torch", "0.25 GiB; with a pipeline 0.07", _LOGS, (0, 17))
NON_TORCH_BEFORE = Rule(
    "non-torch", "0.13 GiB, and 0.26 for each GPU that a tensor parallel one talks with", "logs of 0.9 and 0.11", (0, 0), (0, 17)
)
COMMUNICATION = Rule("communication", "1.97 GiB, and 0.055 for each tensor parallel GPU; over PCIe 0.55 (assumed)", _LOGS, (0, 17))
#: Links from here on are NVLink or the like.
FAST_LINK_BYTES_S = 300e9

GRAPHS = Rule("CUDA graphs", "0.2 GiB and 0.02 a layer for 51 sizes", "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS; " + _LOGS, (0, 21))
#: ROCm's graphs are estimated too in the version that was read; in 0.21 they were not.
GRAPHS_ON_ROCM_FROM: Version = (0, 29)
LORA = Rule("adapters", "A and B of every linear layer, for each slot", "lora/layers/base_linear.py")
#: Until 0.5 vLLM asked the driver how much was left after the run, and so counted what torch had cached.
CACHED = Rule("cached by torch", "2.5 % of the weights", "a log of 0.5", before=(0, 6))
CACHED_SHARE = 0.025


def parts(engine: Engine, stage: int = 0) -> tuple[Part, ...]:
    """Returns the memory that a GPU of a pipeline stage keeps beside weights, rope cache and KV cache."""
    return tuple(part for part in _parts(engine, stage) if part.size_bytes and part.rule.holds(engine.settings.vllm))


def _parts(engine: Engine, stage: int) -> Iterator[Part]:
    first, last = stage == 0, stage == engine.parallel.pipeline - 1
    sampler = sampler_of(engine)
    entries = engine.max_num_seqs * engine.architecture.vocab
    yield Part(sampler.rule, sampler.kept_bytes * entries if last else 0.0)
    yield Part(ACTIVATIONS, _activations(engine, sampler, first=first, last=last))
    yield Part(VISION, _image_embeddings(engine) if first else 0.0)
    yield Part(ROPE_COPY, 4 * engine.max_positions * engine.architecture.rotary_dim if engine.layout.int8_activations else 0.0)
    yield Part(WORKSPACE, _workspace(engine))
    yield Part(PIPELINE, 2 * _hidden(engine, engine.max_num_batched_tokens) if engine.parallel.pipeline > 1 else 0.0)
    yield from _non_torch(engine)
    yield Part(GRAPHS, graph_bytes(engine, stage) if _estimates_graphs(engine) else 0.0)
    yield Part(LORA, lora_bytes(engine))
    if CACHED.holds(engine.settings.vllm):
        yield Part(CACHED, CACHED_SHARE * stage_weight_bytes(engine)[stage])
    yield Part(DAY_0, DAY_0_BYTES if engine.architecture.experts else 0.0)


def sampler_of(engine: Engine) -> Sampler:
    """The sampler of the engine's version."""
    return next(one for one in SAMPLERS if one.rule.holds(engine.settings.vllm))


def _hidden(engine: Engine, tokens: int) -> float:
    return tokens * engine.architecture.hidden * engine.settings.element_bytes


def _activations(engine: Engine, sampler: Sampler, *, first: bool, last: bool) -> float:
    tokens, wide = engine.max_num_batched_tokens, engine.settings.element_bytes
    step = tokens * _widest(engine) * wide + HIDDEN_STATES * _hidden(engine, tokens)
    if not WORKSPACE.holds(engine.settings.vllm):
        step += _workspace(engine)  # allocated for the step only
    sampling = _sampling(engine, sampler) if last else 0.0
    return max(step, sampling, _tower(engine) if first else 0.0) + SMALL_TENSORS


def _sampling(engine: Engine, sampler: Sampler) -> float:
    sequences, vocabulary = engine.max_num_seqs, engine.architecture.vocab
    logits = sequences * vocabulary * (engine.settings.element_bytes + sampler.transient_bytes)
    rows = 4.0 * min(MULTIPROCESSORS, sequences) * vocabulary if sampler.filter_rows else 0.0
    return logits + rows + _hidden(engine, engine.max_num_batched_tokens + 2 * sequences)


def _widest(engine: Engine) -> float:
    """Elements of one token in the MLP of a layer: gate and up, and their product; of the experts only the shared one."""
    architecture, tensor = engine.architecture, engine.parallel.tensor
    dense = architecture.intermediate if len(architecture.moe_layers) < architecture.layers else 0
    shared = architecture.shared_width if architecture.moe_layers else 0
    return architecture.mlp_matrices * max(dense, shared) / tensor


def _workspace(engine: Engine) -> float:
    """Workspaces of the fused experts: for each token and chosen expert the widest of hidden size and twice the expert's, and of both."""
    architecture, parallel = engine.architecture, engine.parallel
    if not architecture.experts:
        return 0.0
    width = architecture.expert_intermediate / (1 if parallel.expert else parallel.tensor)
    each = max(2 * width, architecture.hidden) + max(width, architecture.hidden)
    return engine.max_num_batched_tokens * architecture.experts_per_token * each * engine.settings.element_bytes


def _images(engine: Engine) -> tuple[int, int]:
    """Images of the largest size that one step may bring, and the tokens of their embeddings."""
    vision = engine.architecture.vision
    if vision is None:
        return 0, 0
    each = max(1, TILES * vision.tokens_per_tile)
    budget = max(engine.max_num_batched_tokens, each)
    return budget // each, budget


def _image_embeddings(engine: Engine) -> float:
    return _hidden(engine, _images(engine)[1])


def _tower(engine: Engine) -> float:
    vision = engine.architecture.vision
    if vision is None:
        return 0.0
    patches = _images(engine)[0] * TILES * (vision.patches + 1)
    return patches * (vision.intermediate / engine.parallel.tensor + VISION_STATES * vision.hidden) * engine.settings.element_bytes


def _non_torch(engine: Engine) -> Iterator[Part]:
    tensor, pipeline = engine.parallel.tensor, engine.parallel.pipeline
    alone = tensor == 1
    yield Part(NON_TORCH_BEFORE, (0.13 if alone else 0.03 + 0.26 * tensor) * GIB)
    yield Part(NON_TORCH, (0.07 if pipeline > 1 and alone else 0.25 if alone else 0.0) * GIB)
    fast = engine.gpu.link_bytes_s >= FAST_LINK_BYTES_S
    yield Part(COMMUNICATION, 0.0 if alone else (1.97 + 0.055 * tensor if fast else 0.55) * GIB)


def _estimates_graphs(engine: Engine) -> bool:
    return not engine.settings.eager and (not engine.gpu.amd or engine.settings.vllm >= GRAPHS_ON_ROCM_FROM)


def graph_bytes(engine: Engine, stage: int = 0) -> float:
    """CUDA graphs of a stage's GPUs, by layers and by how many sizes are captured; since 0.21 they are taken out of the pool."""
    layers = len(stages(engine.architecture.layers, engine.parallel.pipeline)[stage])
    return (0.2 + 0.02 * layers) * GIB * _sizes(engine) / 51


#: Batch sizes that graphs may be captured for: 1, 2, 4, by 8 to 256, from there by 16.
GRAPH_SIZES = (1, 2, 4, *range(8, 256, 8), *range(256, 1025, 16))


def _sizes(engine: Engine) -> int:
    """Counts the batch sizes that graphs are captured for: those up to twice the sequences, at most 512, on Blackwell 1024."""
    return bisect_right(GRAPH_SIZES, min(2 * engine.max_num_seqs, 1024 if engine.gpu.fp4_flops else 512))


#: CUDA's context, and with it what NCCL and torch take before vLLM looks at the memory for the first time (`init_cuda_memory` of the logs).
CONTEXT_BYTES, CONTEXT_BYTES_OF_MANY, CONTEXT_BYTES_OVER_PCIE = 0.51 * GIB, 1.55 * GIB, 0.8 * GIB


def outside_bytes(engine: Engine) -> float:
    """Memory that is taken outside vLLM's budget: CUDA's context, and before 0.21 the CUDA graphs."""
    fast = engine.gpu.link_bytes_s >= FAST_LINK_BYTES_S
    modern = engine.settings.vllm >= NON_TORCH.since
    several = modern and engine.parallel.tensor * engine.parallel.pipeline > 1
    context = (CONTEXT_BYTES_OF_MANY if fast else CONTEXT_BYTES_OVER_PCIE) if several else CONTEXT_BYTES
    if engine.settings.eager or engine.settings.vllm >= GRAPHS.since:
        return context
    return context + (graph_bytes(engine) if modern else 0.4 * GIB)


def loading_bytes(engine: Engine) -> float:
    """Most that the weights of a GPU take while they are loaded: more than afterwards where they are quantised on the way."""
    first = engine.settings.loads_first_bytes
    return 0.0 if first is None else first * sum(engine.architecture.parameters().values()) / engine.parallel.gpus + rope_bytes(engine)

"""How fast: the time of one engine step, and from it tokens per second, time to first token, and cost.

Decides speed for an engine that fits. A step reads the weights that its tokens touch and the KV cache of its requests, multiplies, and has
a time for each layer that no batch gets below, and one for each request and layer. The four are added: they overlap little where batches
are small, and published rows are met better so.

Eight numbers are fitted on published rows of vLLM 0.8 to 0.10, dense models and those with experts apart; the errors of all rows are made
by `python -m tests.bench.planner`. Later versions, and other engines, may be faster: a speed is told to within `SPREAD`.
"""

from dataclasses import dataclass
from math import ceil

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import BF16_BYTES, decoder_bytes
from cluster.planner.memory.engine import KV_BYTES, Engine


@dataclass(frozen=True, slots=True)
class Efficiency:
    """An engine's part of a GPU: shares of its bandwidth and its dense arithmetic, and the time of a layer that no batch gets below."""

    bandwidth: float
    arithmetic: float
    layer_s: float
    source: str


#: Bandwidth and layers from batches of 1 of Llama 70B and 405B FP8 on 8×MI300X (ROCm/vllm, vLLM 0.10), which differ in both; arithmetic
#: from the first token of 8,000-token prompts of 8B on H100 and A100 (llm-d).
DENSE = Efficiency(0.68, 0.53, 75e-6, "ROCm/vllm's table of vLLM 0.10 on MI300X, and llm-d's long prompts")
#: Layers from Maverick FP8 on 8×MI300X at one request: 7.66 ms between tokens (vllm#46553); bandwidth from what an H200 gains over an H100
#: in the figure of vLLM's post on Llama 4 (0.8.3); arithmetic from its rows with 10,000 in.
WITH_EXPERTS = Efficiency(0.88, 0.30, 145e-6, "vllm#46553; the figure in vLLM's post on Llama 4 (0.8.3)")
#: What a decoding request adds to each layer: its attention kernels, its part of the all-reduces. From batches of 32 and 128 on 8×MI300X.
REQUEST_LAYER_S = 1.05e-6
#: Each further one adds half of that: 70B and 405B FP8 at the largest load of AMD's table.
MANY_REQUESTS = 256
#: Steps of a prompt that are looked at one by one.
MOST_STEPS = 2048
#: How far a row that is no outlier lies from the plan.
SPREAD = 0.20


def efficiency(architecture: Architecture) -> Efficiency:
    """Returns the part of a GPU that engines of a model get."""
    return WITH_EXPERTS if architecture.experts else DENSE


@dataclass(frozen=True, slots=True)
class Step:
    """The work of one engine step, over all data-parallel ranks."""

    decode_requests: float = 0
    decode_context_tokens: float = 0
    """Tokens that each of them has so far, on average."""
    prefill_tokens: float = 0
    prefill_context_tokens: float = 0
    """Tokens of those prompts that earlier steps have read, on average over the prompt tokens of this one."""


def step_time_s(engine: Engine, step: Step) -> float:
    """Seconds that one step takes, from the first pipeline stage to the last."""
    got, layers = efficiency(engine.architecture), engine.architecture.layers
    requests = step.decode_requests / engine.parallel.data
    per_layer = got.layer_s + REQUEST_LAYER_S * (requests - max(0.0, requests - MANY_REQUESTS) / 2)
    read_s = _bytes_read(engine, step) / (engine.gpu.bandwidth_bytes_s * got.bandwidth)
    return layers * per_layer + read_s + _operations(engine, step) / arithmetic(engine)


def arithmetic(engine: Engine) -> float:
    """FLOP/s of one GPU in the widest format that the stored weights are multiplied in; INT4, and what a GPU lacks, is unpacked to bf16."""
    by_format = {"fp8": engine.gpu.fp8_flops, "int8": engine.gpu.fp8_flops, "nvfp4": engine.gpu.fp4_flops}
    return (by_format.get(engine.layout.quantization) or engine.gpu.bf16_flops) * efficiency(engine.architecture).arithmetic


def _bytes_read(engine: Engine, step: Step) -> float:
    """Bytes that one GPU of each stage reads, summed over the stages, which work one after the other."""
    architecture, parallel = engine.architecture, engine.parallel
    tokens = step.decode_requests + step.prefill_tokens
    touched = architecture.experts_touched(tokens) / architecture.experts if architecture.experts else 0.0
    stored = decoder_bytes(architecture, engine.layout, range(architecture.layers))
    weights = sum(count * (touched / parallel.data if component == "routed_experts" else 1) for component, count in stored.items())
    head = BF16_BYTES * architecture.vocab * architecture.hidden
    return (weights + head) / parallel.tensor + _kv_read(engine, step)


def _kv_read(engine: Engine, step: Step) -> float:
    """KV cache that the decoding requests of one rank read: everything in global layers, the current chunk in the others."""
    architecture, parallel = engine.architecture, engine.parallel
    context = step.decode_context_tokens
    chunk = _within_chunk(architecture, context)
    chunked = len(architecture.chunked_layers)
    layer_tokens = (architecture.layers - chunked) * context + chunked * chunk
    heads = max(1, architecture.kv_heads // parallel.tensor)
    per_token = 2 * heads * architecture.head_dim * KV_BYTES[engine.settings.kv_dtype]
    return step.decode_requests / parallel.data * per_token * layer_tokens


def _within_chunk(architecture: Architecture, context: float) -> float:
    """Tokens of the current chunk, on average over where in it a request may be."""
    chunk = architecture.chunk_tokens
    return context if chunk is None or context <= chunk else chunk / 2


def _operations(engine: Engine, step: Step) -> float:
    """FLOP of one GPU: two for each active parameter and token, and four for each element of a head and token attended to."""
    architecture, parallel = engine.architecture, engine.parallel
    tokens = step.decode_requests + step.prefill_tokens
    attended = step.decode_requests * step.decode_context_tokens + step.prefill_tokens * (
        step.prefill_context_tokens + step.prefill_tokens / 2
    )
    chunk, chunked = architecture.chunk_tokens, len(architecture.chunked_layers)
    near = min(attended, tokens * chunk / 2) if chunk else attended
    attention = 4 * architecture.heads * architecture.head_dim * ((architecture.layers - chunked) * attended + chunked * near)
    return (2 * architecture.active_parameters * tokens + attention) / (parallel.tensor * parallel.data)


def time_to_first_token_s(engine: Engine, prompt_tokens: int) -> float:
    """Seconds from a prompt's arrival at an idle engine to its first token: its steps of prefill, one after the other."""
    most = engine.max_num_batched_tokens
    steps = ceil(prompt_tokens / most)
    if steps > MOST_STEPS:  # each reads a little more than the one before: the middle one stands for all
        return steps * step_time_s(engine, Step(prefill_tokens=most, prefill_context_tokens=prompt_tokens / 2))
    return sum(
        step_time_s(engine, Step(prefill_tokens=min(most, prompt_tokens - done), prefill_context_tokens=done))
        for done in range(0, steps * most, most)
    )


@dataclass(frozen=True, slots=True)
class Load:
    """Requests that come as others leave: so many at once, so long."""

    concurrency: int
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed of one replica under a load."""

    user_tokens_s: float
    """Of a request that runs."""
    replica_tokens_s: float
    ttft_s: float
    """Of one prompt at an idle replica."""
    gpu_hour_tokens: float
    running: int
    """Requests of the load that run at once; the others wait for KV cache."""

    def cost_per_million_tokens(self, gpu_hour_price: float) -> float:
        """Price of a million answer tokens, in the price's own currency."""
        return gpu_hour_price * 1e6 / self.gpu_hour_tokens


def speed(engine: Engine, load: Load, most_running: int) -> Speed:
    """Steady state under a load: the decode steps of all requests, and the prefill of each as it comes.

    The stages of a pipeline work on as many batches at once, each with its share of the requests; each answer token pays its share of a
    prompt's prefill. Of the load's requests at most `most_running` run at once, the others wait for KV cache.
    """
    running = max(1, min(load.concurrency, most_running, engine.max_num_seqs * engine.parallel.data))
    requests = running / engine.parallel.pipeline
    decode = Step(decode_requests=requests, decode_context_tokens=load.prompt_tokens + load.answer_tokens / 2)
    prefill_s = _prefill_s(engine, load.prompt_tokens) / engine.parallel.pipeline
    per_token_s = step_time_s(engine, decode) / running + prefill_s / load.answer_tokens
    replica = 1 / per_token_s
    return Speed(
        user_tokens_s=replica / running,
        replica_tokens_s=replica,
        ttft_s=time_to_first_token_s(engine, load.prompt_tokens),
        gpu_hour_tokens=replica * 3600 / engine.parallel.gpus,
        running=running,
    )


def _prefill_s(engine: Engine, prompt_tokens: int) -> float:
    """Returns the time that a prompt adds to the steps that it shares with others: its arithmetic, not another reading of the weights."""
    step = Step(prefill_tokens=prompt_tokens)
    return _operations(engine, step) / arithmetic(engine)

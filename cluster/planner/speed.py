"""How fast: the time of one engine step by roofline, and from it tokens per second, time to first token, and cost.

Decides speed for an engine that fits. A step reads the weights that its tokens touch and the KV cache of its requests, and multiplies; it
takes as long as the slower of the two, and a floor that no batch gets below.

Three numbers are fitted, each on one published row, and every other row is a prediction (`tests/unit/test_published_speed.py` prints the
errors): `STEP_FLOOR_S`, `BANDWIDTH_EFFICIENCY`, `COMPUTE_EFFICIENCY`. They are vLLM's: other engines, and later versions, may be faster.
"""

from dataclasses import dataclass
from math import ceil

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import BF16_BYTES, decoder_bytes
from cluster.planner.memory.engine import KV_BYTES, Engine

#: Time per decoder layer that no batch gets below: kernel launches, all-reduces, routing. From Maverick FP8 on 8×MI300X at one request:
#: 7.66 ms between tokens (vllm#46553, without the hybrid KV manager) over 48 layers, less 0.69 ms of roofline.
STEP_FLOOR_S_PER_LAYER = (7.66e-3 - 0.69e-3) / 48
#: Share of the memory bandwidth that a decode step gets. Fitted on Scout bf16, 8×H100, 1000 in, 1000 out, 64 at once: 2647 tokens/s
#: (vLLM 0.8.3, the figure in vLLM's post on Llama 4).
BANDWIDTH_EFFICIENCY = 0.52
#: Share of the dense arithmetic that prefill gets. Fitted on the row of the same figure with 10,000 in: 1740 tokens/s.
COMPUTE_EFFICIENCY = 0.30


@dataclass(frozen=True, slots=True)
class Step:
    """What one engine step works on, over all data-parallel ranks."""

    decode_requests: float = 0
    decode_context_tokens: float = 0
    """Tokens that each of them has so far, on average."""
    prefill_tokens: float = 0
    prefill_context_tokens: float = 0
    """Tokens of those prompts that earlier steps have read, on average over the prompt tokens of this one."""


def step_time_s(engine: Engine, step: Step) -> float:
    """Seconds that one step takes, from the first pipeline stage to the last."""
    floor = STEP_FLOOR_S_PER_LAYER * engine.architecture.layers
    return floor + max(_bytes_read(engine, step) / _bandwidth(engine), _operations(engine, step) / _arithmetic(engine))


def _bandwidth(engine: Engine) -> float:
    return engine.gpu.bandwidth_bytes_s * BANDWIDTH_EFFICIENCY


def _arithmetic(engine: Engine) -> float:
    """FLOP/s of one GPU in the widest format that the stored weights are multiplied in; INT4 is unpacked to bf16."""
    by_format = {"fp8": engine.gpu.fp8_flops, "nvfp4": engine.gpu.fp4_flops}
    return (by_format.get(engine.layout.quantization) or engine.gpu.bf16_flops) * COMPUTE_EFFICIENCY


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
    """What one replica does under a load."""

    user_tokens_s: float
    replica_tokens_s: float
    ttft_s: float
    """Of one prompt at an idle replica."""
    gpu_hour_tokens: float

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
        user_tokens_s=replica / load.concurrency,
        replica_tokens_s=replica,
        ttft_s=time_to_first_token_s(engine, load.prompt_tokens),
        gpu_hour_tokens=replica * 3600 / engine.parallel.gpus,
    )


def _prefill_s(engine: Engine, prompt_tokens: int) -> float:
    """What a prompt adds to the steps that it shares with others: its arithmetic, not another reading of the weights."""
    step = Step(prefill_tokens=prompt_tokens)
    return _operations(engine, step) / _arithmetic(engine)

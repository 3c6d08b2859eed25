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


@dataclass(frozen=True, slots=True)
class StepCosts:
    """Seconds that the parts of one engine's steps take."""

    constant_s: float
    """Of each step: its layers, and the weights that every token reads."""
    experts_s: float
    """To read all routed experts."""
    missed: float
    """Share of a layer's routed experts that one token does not go to, if every expert is as likely; 1 where there are none."""
    token_s: float
    """Of each token: its arithmetic without attention."""
    request_s: float
    """Of each request of a data-parallel rank that decodes."""
    read_s: float
    """Of each token of a context that is read, in layers that see all of it; `chunk_read_s` in layers that see a chunk."""
    chunk_read_s: float
    pair_s: float
    """Of each pair of tokens of which one attends to the other; again apart for both kinds of layers."""
    chunk_pair_s: float
    chunk_tokens: int
    """0 where all layers see everything."""
    ranks: int
    """Of data-parallel attention."""

    def seconds(self, step: Step) -> float:
        """Returns the seconds of one step, from the first pipeline stage to the last."""
        requests, prompt = step.decode_requests, step.prefill_tokens
        context = requests * step.decode_context_tokens
        # On average over where in its current chunk a request may be, it has half of it.
        inside = not self.chunk_tokens or step.decode_context_tokens <= self.chunk_tokens
        chunk = context if inside else requests * self.chunk_tokens / 2
        attended_s = self.attended_s(requests + prompt, context + prompt * (step.prefill_context_tokens + prompt / 2))
        read_s = self.read_s * context + self.chunk_read_s * chunk
        return self.by_tokens_s(requests + prompt) + self.by_requests_s(requests) + read_s + attended_s

    def attended_s(self, tokens: float, pairs: float) -> float:
        """Returns the seconds of attention's arithmetic, for so many tokens and pairs of tokens."""
        near = min(pairs, tokens * self.chunk_tokens / 2) if self.chunk_tokens else pairs
        return self.pair_s * pairs + self.chunk_pair_s * near

    def prompt_s(self, tokens: float) -> float:
        """Returns the seconds of a prompt's arithmetic: what it adds to the steps that it shares with others, which read the weights."""
        return self.token_s * tokens + self.attended_s(tokens, tokens * tokens / 2)

    def by_tokens_s(self, tokens: float) -> float:
        """Returns the seconds of a step that its tokens take, of prompts and answers, beside their contexts and requests."""
        touched: float = 1 - self.missed**tokens
        return self.constant_s + self.experts_s * touched + self.token_s * tokens

    def by_requests_s(self, decodes: float) -> float:
        """Returns the seconds that the number of requests takes that get one token each."""
        requests = decodes / self.ranks
        return self.request_s * (requests - max(0.0, requests - MANY_REQUESTS) / 2)


def step_costs(engine: Engine, decode: float = 1.0) -> StepCosts:
    """Returns the costs of an engine's steps.

    Args:
        engine: the replica, as the planner knows it.
        decode: factor on the time that is no arithmetic (weights, KV cache, layers, requests), where an engine has been measured.
    """
    got, shape, parallel = efficiency(engine.architecture), engine.architecture, engine.parallel
    read_s = decode / (engine.gpu.bandwidth_bytes_s * got.bandwidth)
    computed_s = 1 / (arithmetic(engine) * parallel.tensor * parallel.data)
    stored = dict(decoder_bytes(shape, engine.layout, range(shape.layers)))
    head = BF16_BYTES * shape.vocab * shape.hidden
    experts = stored.pop("routed_experts", 0.0)
    chunked = len(shape.chunked_layers)
    heads = max(1, shape.kv_heads // parallel.tensor)
    kv_s = 2 * heads * shape.head_dim * KV_BYTES[engine.settings.kv_dtype] / parallel.data * read_s
    pair_s = 4 * shape.heads * shape.head_dim * computed_s
    return StepCosts(
        constant_s=decode * shape.layers * got.layer_s + (sum(stored.values()) + head) / parallel.tensor * read_s,
        experts_s=experts / parallel.data / parallel.tensor * read_s,
        missed=(1 - 1 / shape.experts) ** shape.experts_per_token if shape.experts else 1.0,
        token_s=2 * shape.active_parameters * computed_s,
        request_s=decode * shape.layers * REQUEST_LAYER_S,
        read_s=(shape.layers - chunked) * kv_s,
        chunk_read_s=chunked * kv_s,
        pair_s=(shape.layers - chunked) * pair_s,
        chunk_pair_s=chunked * pair_s,
        chunk_tokens=shape.chunk_tokens or 0,
        ranks=parallel.data,
    )


def arithmetic(engine: Engine) -> float:
    """FLOP/s of one GPU in the widest format that the stored weights are multiplied in; INT4, and what a GPU lacks, is unpacked to bf16."""
    by_format = {"fp8": engine.gpu.fp8_flops, "int8": engine.gpu.fp8_flops, "nvfp4": engine.gpu.fp4_flops}
    return (by_format.get(engine.layout.quantization) or engine.gpu.bf16_flops) * efficiency(engine.architecture).arithmetic


def time_to_first_token_s(engine: Engine, prompt_tokens: int) -> float:
    """Seconds from a prompt's arrival at an idle engine to its first token: its steps of prefill, one after the other."""
    most, costs = engine.max_num_batched_tokens, step_costs(engine)
    steps = ceil(prompt_tokens / most)
    if steps > MOST_STEPS:  # each reads a little more than the one before: the middle one stands for all
        return steps * costs.seconds(Step(prefill_tokens=most, prefill_context_tokens=prompt_tokens / 2))
    return sum(
        costs.seconds(Step(prefill_tokens=min(most, prompt_tokens - done), prefill_context_tokens=done))
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
    costs = step_costs(engine)
    prefill_s = costs.prompt_s(load.prompt_tokens) / engine.parallel.pipeline
    per_token_s = costs.seconds(decode) / running + prefill_s / load.answer_tokens
    replica = 1 / per_token_s
    return Speed(
        user_tokens_s=replica / running,
        replica_tokens_s=replica,
        ttft_s=time_to_first_token_s(engine, load.prompt_tokens),
        gpu_hour_tokens=replica * 3600 / engine.parallel.gpus,
        running=running,
    )

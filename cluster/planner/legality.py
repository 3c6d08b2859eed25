"""Which parallel shapes an engine can have at all, and why the others cannot: what vLLM asserts when it builds the model.

Decides legality only; that a legal shape also fits is for `cluster.planner.capacity`. Every rule names vLLM 0.29's own check.
"""

from collections.abc import Iterator

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import Layout
from cluster.catalogue.hardware import Gpu
from configs.parallelism import Parallelism

Refusal = tuple[str, str]
"""A field of the shape, and why its value cannot be."""

#: vLLM pads the vocabulary to a multiple of this before it splits it (`vocab_parallel_embedding.py`).
VOCABULARY_PADDING = 64
#: Sizes up to this are tried when the legal ones are listed.
MOST_TENSOR_PARALLEL = 64


def refusals(architecture: Architecture, parallel: Parallelism) -> Iterator[Refusal]:
    """Why an engine of this architecture cannot have this shape; nothing where it can."""
    if reason := tensor_refusal(architecture, parallel.tensor):
        allowed = ", ".join(map(str, tensor_sizes(architecture)))
        yield "tensor", f"{reason}; allowed: {allowed}"
    if parallel.pipeline > architecture.layers:
        yield "pipeline", f"{parallel.pipeline} stages are more than the model has layers ({architecture.layers})"
    if parallel.data > 1 and not architecture.experts:
        yield "data", "data-parallel attention only helps models with experts; run more replicas of this one instead"
    if parallel.expert:
        yield from _expert_refusals(architecture, parallel)
    elif parallel.data > 1 and architecture.experts and architecture.expert_intermediate % (parallel.tensor * parallel.data):
        ranks = parallel.tensor * parallel.data  # vLLM: `FusedMoEParallelConfig.flatten_tp_across_dp_and_pcp`
        width = architecture.expert_intermediate
        yield "data", f"without parallel.expert each expert ({width} wide) is cut over {ranks} GPUs, which do not divide it"
    yield from _option_refusals(parallel)


def handover_refusal(architecture: Architecture, prefill: int, decode: int) -> str | None:
    """Why a KV cache cannot go from engines of one tensor parallel size to engines of another; none where it can.

    Sources: `TransferTopology.tp_ratio`, and `_validate_remote_agent_handshake` of NIXL's `base_worker.py`.
    """
    if prefill % decode and decode % prefill:
        return f"a KV cache cannot go from {prefill} GPUs to {decode}: one must divide the other"
    if prefill > decode and prefill > architecture.kv_heads:
        return f"{prefill} GPUs keep copies of the {architecture.kv_heads} KV heads, which cannot go to fewer ({decode})"
    return None


def _option_refusals(parallel: Parallelism) -> Iterator[Refusal]:
    """vLLM: `ParallelConfig._validate_parallel_config`, and all-to-all only where `FusedMoEParallelConfig.use_all2all_kernels`."""
    if parallel.redundant_experts is not None and not (parallel.expert and parallel.tensor * parallel.data > 1):
        yield "redundant_experts", "experts are balanced over GPUs that hold whole ones: it needs expert: true and more than one GPU"
    if parallel.all_to_all is not None and not (parallel.expert and parallel.data > 1):
        yield "all_to_all", "tokens go from rank to rank only with expert: true and data above 1"


def _expert_refusals(architecture: Architecture, parallel: Parallelism) -> Iterator[Refusal]:
    """vLLM: `ModelConfig._verify_with_expert_parallelism`, and whole experts per GPU in `llama4.py`."""
    ranks = parallel.tensor * parallel.data
    if not architecture.experts:
        yield "expert", "the model has no experts"
    elif (architecture.experts + (parallel.redundant_experts or 0)) % ranks:
        copies = f" and {parallel.redundant_experts} copies" if parallel.redundant_experts else ""
        yield "expert", f"{architecture.experts} experts{copies} cannot be spread evenly over {ranks} GPUs"


def tensor_refusal(architecture: Architecture, size: int) -> str | None:
    """Why tensor parallel cannot have this size; none where it can.

    Sources: `llama.py`, `llama4.py` (heads divide; KV heads divide or are divided), `mllama4.py` (vision heads divide), `divide` in
    `distributed/utils.py` (MLPs and the padded vocabulary).
    """
    if architecture.heads % size:
        return f"{size} does not divide the {architecture.heads} attention heads"
    if architecture.kv_heads % size and size % architecture.kv_heads:
        return f"{size} neither divides the {architecture.kv_heads} KV heads nor is divided by them"
    vision = architecture.vision
    if vision and (vision.heads % size or vision.intermediate % size):
        return f"{size} does not divide the vision tower ({vision.heads} heads, MLP {vision.intermediate})"
    vocabulary = -(-architecture.vocab // VOCABULARY_PADDING) * VOCABULARY_PADDING
    for what, width in (_split_widths(architecture) | {"vocabulary": vocabulary}).items():
        if width % size:
            return f"{size} does not divide the {what} ({width})"
    return None


def _split_widths(architecture: Architecture) -> dict[str, int]:
    widths = {}
    if len(architecture.moe_layers) < architecture.layers:
        widths["MLP"] = architecture.intermediate
    if architecture.moe_layers:
        widths["experts"] = architecture.expert_intermediate
    return widths


def tensor_sizes(architecture: Architecture) -> tuple[int, ...]:
    """The legal tensor parallel sizes."""
    return tuple(size for size in range(1, MOST_TENSOR_PARALLEL + 1) if tensor_refusal(architecture, size) is None)


def stored_refusals(layout: Layout, kv_fp8: bool, gpu: Gpu) -> Iterator[Refusal]:
    """Names the number formats with which vLLM does not compute on a kind of GPU.

    Weights in NVFP4 or FP8 are unpacked to bf16 where a GPU lacks the arithmetic (Marlin, from compute capability 8.0), and a KV cache in
    fp8 is read by FlashInfer's kernels from there on (`flashinfer.py::supports_compute_capability`).
    """
    if layout.quantization == "nvfp4" and gpu.amd:
        yield "quantization", f"vLLM unpacks NVFP4 on NVIDIA's GPUs only; {gpu.name} is none"
    if kv_fp8 and gpu.fp8_flops is None and gpu.amd:
        yield "kv_dtype", f"an fp8 KV cache needs a GPU with FP8 arithmetic; {gpu.name} has none"


def data_parallel_replicates_shared_experts(parallel: Parallelism) -> bool:
    """Whether every GPU holds the whole shared experts: vLLM then splits tokens among them and not weights.

    Source: `ParallelConfig.use_sequence_parallel_moe` with the default all-to-all, and `disable_tp` in `llama4.py`.
    """
    return parallel.expert and parallel.tensor > 1 and parallel.data > 1

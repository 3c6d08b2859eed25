"""Weights, rope cache and adapters on one GPU: counted from the model's shape, none of them calibrated."""

from cluster.catalogue.architecture import Architecture, Component
from cluster.catalogue.checkpoints import BF16_BYTES, Layout, decoder_bytes
from cluster.planner.kv_cache import stages
from cluster.planner.legality import data_parallel_replicates_shared_experts
from cluster.planner.memory.engine import Engine
from configs.parallelism import Parallelism


def stage_weight_bytes(engine: Engine) -> tuple[float, ...]:
    """Weights on one GPU of each pipeline stage, in bytes.

    Tensor parallel splits attention (KV heads down to one), MLPs, vocabulary and vision. Routed experts are split over tensor and data
    parallel ranks whether or not whole ones are placed (`config/parallel.py`); everything else is on every data parallel rank. What
    `cpu_offload_gb` keeps in the host's memory is taken off each GPU (`model_executor/offloader/uva.py`).
    """
    architecture, parallel, layout = engine.architecture, engine.parallel, engine.layout
    split = stages(architecture.layers, parallel.pipeline)
    shares = _shares(architecture, parallel)
    result = []
    for number, stage in enumerate(split):
        stored = decoder_bytes(architecture, layout, stage)
        outer = _outer_bytes(architecture, layout, parallel, first=number == 0, last=number == len(split) - 1)
        result.append(outer + sum(count / shares.get(component, 1) for component, count in stored.items()))
    if engine.settings.drafts:
        result[-1] += draft_parameters(architecture) * BF16_BYTES / parallel.tensor
    return tuple(max(0.0, stage - engine.settings.cpu_offload_bytes) for stage in result)


def draft_parameters(architecture: Architecture) -> int:
    """Parameters of an EAGLE3 draft model in the form of `llama_eagle3.py`, at most: one decoder layer that reads twice the hidden size,
    the three hidden states put together, and a head over the whole vocabulary (some drafts have a smaller one)."""
    hidden, head = architecture.hidden, architecture.head_dim
    attention = 2 * hidden * head * (architecture.heads + 2 * architecture.kv_heads) + architecture.heads * head * hidden
    return attention + 3 * hidden * architecture.intermediate + 3 * hidden * hidden + architecture.vocab * hidden


def rope_bytes(engine: Engine) -> float:
    """The rope cache, on every GPU: positions by head size, in the model's own width, whatever the context (`rotary_embedding/base.py`).

    vLLM counts it with the weights in its line "Model loading took".
    """
    return engine.max_positions * engine.architecture.rotary_dim * engine.settings.element_bytes


def lora_bytes(engine: Engine) -> float:
    """Room for adapters on one GPU of the stage with most layers: `lora/layers/base_linear.py::create_lora_weights`.

    Each linear layer has a matrix A (rank x input) for each of its slices, and B (output x rank); tensor parallel splits the outputs of
    the first layers of a block and the inputs of the last ones.
    """
    loras, architecture = engine.settings.loras, engine.architecture
    if loras is None:
        return 0.0
    tensor = engine.parallel.tensor
    layers = max(len(stage) for stage in stages(architecture.layers, engine.parallel.pipeline))
    experts = len(architecture.moe_layers) / architecture.layers * layers
    query = architecture.heads * architecture.head_dim / tensor
    key_value = max(1, architecture.kv_heads // tensor) * architecture.head_dim
    attention = 3 * architecture.hidden + query + 2 * key_value + query + architecture.hidden
    dense = 3 * architecture.hidden + 3 * architecture.intermediate / tensor
    routed = (architecture.experts + 1) * (3 * architecture.hidden + 3 * architecture.expert_intermediate / tensor)
    widths = layers * attention + (layers - experts) * dense + experts * routed
    return loras.slots * loras.rank * widths * engine.settings.element_bytes


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


def _outer_bytes(architecture: Architecture, layout: Layout, parallel: Parallelism, *, first: bool, last: bool) -> float:
    outer = {part: count * layout.bytes_of(part) for part, count in architecture.outer_parameters().items()}
    here = 0.0
    if first:
        here += outer["embedding"] + outer["vision"]
    if last:
        # A tied head is the embedding; on another stage it is a copy of it.
        here += outer["embedding"] if architecture.tied_embeddings and not first else outer["head"]
    return here / parallel.tensor + (outer["norms"] if last else 0)

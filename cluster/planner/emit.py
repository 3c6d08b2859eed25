"""A plan as what others take: vLLM's engine arguments, and the config that `herd up` serves.

Decides nothing: what differs from vLLM's defaults is written down, the rest is left out.
"""

from typing import Any, get_args

from cluster.catalogue.hardware import GIB, GPUS, Cluster, Gpu
from cluster.planner.capacity import Capacity
from cluster.planner.memory.engine import GPU_MEMORY_UTILIZATION, Engine, Settings
from cluster.planner.search import Plan
from configs.names import Accelerator, Kind
from configs.schema import Parallelism


def argued(settings: Settings) -> dict[str, Any]:
    """vLLM's engine arguments for what differs from its defaults."""
    arguments: dict[str, Any] = {}
    if settings.kv_dtype == "fp8":
        arguments["kv_cache_dtype"] = "fp8"
    if not settings.hybrid_kv:
        arguments["disable_hybrid_kv_cache_manager"] = True
    if settings.gpu_memory_utilization != GPU_MEMORY_UTILIZATION:
        arguments["gpu_memory_utilization"] = settings.gpu_memory_utilization
    if settings.max_num_seqs:
        arguments["max_num_seqs"] = settings.max_num_seqs
    if settings.max_positions:
        arguments["hf_overrides"] = {"text_config": {"max_position_embeddings": settings.max_positions}}
    return arguments


def record(engine: Engine, found: Capacity, problems: tuple[str, ...]) -> dict[str, Any]:
    """A configuration for scripts: the form of `herd plan --json`."""
    return {
        "fits": not problems,
        "gpus": engine.parallel.gpus,
        "parallel": engine.parallel.model_dump(exclude={"auto", "across_nodes"}, exclude_none=True),
        "quantization": engine.layout.quantization,
        "weights_gib_per_gpu": round(found.weights_bytes / GIB, 3),
        "kv_pool_tokens": found.pool_tokens,
        "max_context_tokens": found.max_context_tokens,
        "problems": list(problems),
    }


def emitted(kind: Kind, plan: Plan, cluster: Cluster) -> dict[str, Any]:
    """A herd of one model as its YAML file says it."""
    gpu = cluster.node.gpu
    model = {
        "id": kind,
        "kind": kind,
        "checkpoint": plan.checkpoint.repository,
        "quantization": plan.checkpoint.layout.quantization,
        "accelerator": gpu.name if gpu.name in get_args(Accelerator) else "gpu",
        "parallel": _parallel(plan.engine.parallel),
        "context_tokens": plan.engine.settings.context_tokens,
        "engine": argued(plan.engine.settings) | dict(plan.arguments),
    }
    hardware = _gpu(gpu) | {"gpus_per_node": cluster.node.gpus} | ({"nodes": cluster.nodes} if cluster.nodes else {})
    return {
        "name": kind.replace(".", "-"),
        "ray": {"address": "auto"},
        "hardware": hardware,
        "gateway": {"host": "0.0.0.0", "port": 8000},
        "models": [{name: value for name, value in model.items() if value != {}}],
    }


def _parallel(parallel: Parallelism) -> dict[str, Any]:
    return parallel.model_dump(exclude_defaults=True) or {"tensor": 1}


def _gpu(gpu: Gpu) -> dict[str, Any]:
    if gpu.name in GPUS:
        return {"gpu": gpu.name}
    tera = {"bf16_tflops": gpu.bf16_flops, "fp8_tflops": gpu.fp8_flops, "fp4_tflops": gpu.fp4_flops}
    giga = {"bandwidth_gb_s": gpu.bandwidth_bytes_s, "link_gb_s": gpu.link_bytes_s}
    sizes = {name: value / 1e12 for name, value in tera.items() if value} | {name: value / 1e9 for name, value in giga.items()}
    return {"custom_gpu": {"name": gpu.name, "memory_gib": gpu.memory_gib, **sizes}}

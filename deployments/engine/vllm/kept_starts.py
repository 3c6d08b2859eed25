"""A vLLM plugin for every process of an engine: the next start on a node finds what an earlier one there compiled and measured.

Decides where that is kept, and two things about the keys under which vLLM looks for it. A port that each start chooses anew is not in the
key of compiled code: with it, an engine that hands its KV cache over would compile everything again each time. The share of the memory that
an engine may take, and the images of a request, are in the key of its memory plan: without them, an engine whose share has changed in the
config would go on with the KV cache of the old one.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

#: Ports differ from start to start, and no compiled code has them in it. vLLM leaves out their hosts itself.
PORTS = frozenset({"VLLM_NIXL_SIDE_CHANNEL_PORT", "VLLM_P2P_SIDE_CHANNEL_PORT", "VLLM_EC_SIDE_CHANNEL_PORT"})
Factors = Callable[[], Mapping[str, object]]
Fingerprint = Callable[[Any, int, int], str]


def folders(cache: Path) -> dict[str, str]:
    """Returns the variables that lead to an engine's caches: vLLM's, with compiled graphs and memory plans, and those of kernels.

    Args:
        cache: the herd's own folder on this node, on a disk of the node: kernels in a folder that nodes share break.
    """
    return {
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "FLASHINFER_WORKSPACE_BASE": str(cache),
        "TRITON_HOME": str(cache),
        # vLLM measures the memory for its KV cache once on a node, and takes it from there while as much memory is free.
        "VLLM_ENABLE_STARTUP_PLAN": "1",
    }


def settle(cache: Path) -> None:
    """Leads vLLM's processes to the caches, before they start. The environment of the node goes first.

    Where the folder cannot be written vLLM goes on with its own, in the home of the user: a cache is no reason not to serve.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if os.access(cache, os.W_OK | os.X_OK):
        for name, value in folders(cache).items():
            os.environ.setdefault(name, value)


def mend() -> None:
    """vLLM calls this in each of its processes before it builds an engine."""
    from vllm import envs
    from vllm.v1.worker import startup_plan

    envs.compile_factors = without_ports(envs.compile_factors)
    startup_plan.compute_plan_fingerprint = with_memory(startup_plan.compute_plan_fingerprint)


def without_ports(factors: Factors) -> Factors:
    """Returns a function that tells vLLM's variables in the key of compiled code, without ports."""
    return lambda: {name: value for name, value in factors().items() if name not in PORTS}


def with_memory(fingerprint: Fingerprint) -> Fingerprint:
    """Returns a function that tells the key of a memory plan, with all on which the measured memory depends."""

    def told(vllm_config: Any, rank: int, world_size: int) -> str:  # noqa: ANN401 (vllm.config.VllmConfig)
        images = vllm_config.model_config.multimodal_config
        depends_on = (
            fingerprint(vllm_config, rank, world_size),
            vllm_config.cache_config.gpu_memory_utilization,
            None if images is None else (images.language_model_only, sorted(images.limit_per_prompt.items(), key=str)),
        )
        return hashlib.sha256(repr(depends_on).encode()).hexdigest()[:16]

    return told

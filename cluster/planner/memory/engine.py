"""One engine to be planned: a model, how it is stored, on which GPUs, in which shape, with which settings, of which version of vLLM.

Decides vLLM's own defaults where nothing is said. Leaves sizes to `cluster.planner.memory.parts` and `cluster.planner.capacity`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import Layout
from cluster.catalogue.hardware import Gpu
from cluster.planner.kv_cache import GPU_BLOCK_TOKENS, KvCache, kv_cache
from configs.parallelism import Parallelism

KvDtype = Literal["bf16", "fp8", "float32"]
KV_BYTES: Mapping[KvDtype, float] = {"bf16": 2.0, "fp8": 1.0, "float32": 4.0}

Version = tuple[int, int]
"""Of vLLM: (0, 29)."""
#: The version that is pinned, and whose code the rules were read in.
VLLM: Version = (0, 29)
#: From here on V1's engine is the default.
V1_FROM: Version = (0, 8)

#: Engines before this version served what was on the Hub until August 2024.
FIRST_UPLOADS_BEFORE: Version = (0, 6)

#: vLLM 0.29's default (`config/cache.py`); it was 0.90 in 0.8.
GPU_MEMORY_UTILIZATION = 0.92
#: Decoder layers of an EAGLE draft model, all of them with full attention.
DRAFT_LAYERS = 1


def version_of(text: str) -> Version:
    """Reads a version of vLLM as people and packages write it: 0.19, v0.19.0, 0.14.0rc2.dev3+g12.

    Raises:
        ValueError: the text is none.
    """
    match = re.match(r"v?(\d{1,4})\.(\d{1,4})(?![\d])", text)
    if match is None:
        raise ValueError(f"{text!r} is no version of vLLM; write 0.29 or 0.19.0")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, slots=True)
class Loras:
    """Adapters that an engine keeps room for, whether or not one is loaded."""

    slots: int = 1
    rank: int = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of an engine beside its shape. One that is None is vLLM's default for the GPU, or the model's own."""

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
    element_bytes: float = 2.0
    """Of what is not quantised: 2 in bf16 and float16, 4 in float32."""
    eager: bool = False
    """No CUDA graphs are captured."""
    cpu_offload_bytes: float = 0.0
    """Weights of each GPU that stay in the host's memory."""
    kv_cache_memory_bytes: int | None = None
    """Size of the KV cache on each GPU; vLLM then asks for no share of the memory."""
    num_gpu_blocks_override: int | None = None
    loras: Loras | None = None
    loads_first_bytes: float | None = None
    """Bytes of each weight while it is loaded, where it is quantised on the way: 2 for `quantization: fp8` of a bf16 checkpoint."""
    vllm: Version = VLLM


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
        """Tokens of one step. Defaults: `arg_utils.py::get_batch_defaults`, by the GPU's memory; before 0.8 by the context."""
        if self.settings.max_num_batched_tokens:
            return self.settings.max_num_batched_tokens
        if self.settings.vllm < V1_FROM:
            # V0 reads a prompt in pieces only where contexts are long, and then in small ones.
            return 512 if self.settings.context_tokens > 32_768 else max(2048, self.settings.context_tokens)
        return _batch_defaults(self.gpu)[0]

    @property
    def max_num_seqs(self) -> int:
        """Requests of one step."""
        return self.settings.max_num_seqs or (256 if self.settings.vllm < V1_FROM else _batch_defaults(self.gpu)[1])

    @property
    def max_positions(self) -> int:
        """Positions of the rope cache."""
        return self.settings.max_positions or self.architecture.max_positions

    @property
    def longest_tokens(self) -> int:
        """The longest request that the model takes, whatever the memory."""
        return min(self.architecture.longest_tokens, self.max_positions)

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

"""What others have measured and published about memory and speed, each in the settings of its source, beside the engine that it was.

A row is nothing that the planner was made of, but for those that say so.
"""

from dataclasses import dataclass

from cluster.catalogue import sizes as shapes
from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import BF16, LINEAR_FP8, LINEAR_NVFP4, META_FP8, Layout
from cluster.catalogue.hardware import GPUS
from cluster.planner.memory.engine import Engine, Settings
from cluster.planner.speed import Load
from configs.names import GpuName
from configs.schema import Parallelism

#: vLLM 0.8.3 had no hybrid KV manager, and took 0.90 of the memory where nothing was said.
VLLM_0_8_3 = Settings(131_072, hybrid_kv=False, gpu_memory_utilization=0.90, vllm=(0, 8))


def engine(architecture: Architecture, layout: Layout, gpu: GpuName, settings: Settings, tensor: int = 8) -> Engine:
    """One replica with tensor parallel only."""
    return Engine(architecture, layout, GPUS[gpu], Parallelism(tensor=tensor), settings)


@dataclass(frozen=True)
class Context:
    """The longest context that somebody has published."""

    what: str
    engine: Engine
    tokens: int
    source: str


CONTEXTS = (
    Context(
        "Maverick-FP8 8×H100",
        engine(shapes.MAVERICK, META_FP8, "H100", VLLM_0_8_3),
        430_000,
        "vLLM's post on Llama 4, PR vllm#16104; the row of which the overhead is calibrated (through vllm#16118)",
    ),
    Context("Scout-bf16 8×H100", engine(shapes.SCOUT, BF16, "H100", VLLM_0_8_3), 1_280_000, "the command in PR vllm#16104"),
    Context("Scout-bf16 8×H100", engine(shapes.SCOUT, BF16, "H100", VLLM_0_8_3), 1_400_000, "notebook in Meta's llama-cookbook"),
    Context("Scout-bf16 8×H200", engine(shapes.SCOUT, BF16, "H200", VLLM_0_8_3), 3_600_000, "vLLM's post on Llama 4, PR vllm#16104"),
)


@dataclass(frozen=True)
class Throughput:
    """Answer tokens per second of one replica that somebody has published."""

    what: str
    engine: Engine
    load: Load
    tokens_s: int
    source: str


_FIGURE = "figure in vLLM's post on Llama 4: vLLM 0.8.3, TP 8, 64 at once"
_TRT = "TensorRT-LLM `perf-overview.md`: largest load, attention data parallel for experts, another engine"


def _figure(what: str, architecture: Architecture, layout: Layout, gpu: GpuName, tokens_s: tuple[int, int, int]) -> list[Throughput]:
    served = engine(architecture, layout, gpu, VLLM_0_8_3)
    lengths = (1000, 5000, 10_000)
    return [Throughput(what, served, Load(64, length, 1000), found, _FIGURE) for length, found in zip(lengths, tokens_s, strict=True)]


def _trt(what: str, engine: Engine, tokens_s: dict[tuple[int, int], int]) -> list[Throughput]:
    return [Throughput(what, engine, Load(1024, prompt, answer), found, _TRT) for (prompt, answer), found in tokens_s.items()]


_NOW = Settings(context_tokens=22_000, kv_dtype="fp8")

VLLM_FIGURE = (
    *_figure("Scout-bf16 8×H100", shapes.SCOUT, BF16, "H100", (2647, 2158, 1740)),
    *_figure("Scout-bf16 8×H200", shapes.SCOUT, BF16, "H200", (2997, 2344, 1971)),
    *_figure("Maverick-FP8 8×H100", shapes.MAVERICK, META_FP8, "H100", (3164, 2444, 1663)),
    *_figure("Maverick-FP8 8×H200", shapes.MAVERICK, META_FP8, "H200", (3552, 2788, 2381)),
)
TENSORRT = (
    *_trt(
        "Scout FP8 4×H200",
        engine(shapes.SCOUT, LINEAR_FP8, "H200", _NOW, 4),
        {(128, 2048): 34_316, (500, 2000): 24_630, (1000, 1000): 21_636, (2048, 2048): 14_949, (5000, 500): 4605, (20_000, 2000): 2105},
    ),
    *_trt(
        "Scout FP8 4×H100",
        engine(shapes.SCOUT, LINEAR_FP8, "H100", _NOW, 4),
        {(128, 2048): 15_130, (500, 2000): 12_399, (1000, 1000): 12_129, (2048, 2048): 7972, (5000, 500): 3342},
    ),
    *_trt(
        "Scout NVFP4 1×B200",
        engine(shapes.SCOUT, LINEAR_NVFP4, "B200", _NOW, 1),
        {(128, 2048): 14_699, (500, 2000): 11_977, (1000, 1000): 10_591, (2048, 2048): 7152, (5000, 500): 2937, (20_000, 2000): 1644},
    ),
    *_trt(
        "Maverick FP8 8×H200",
        engine(shapes.MAVERICK, LINEAR_FP8, "H200", _NOW),
        {(128, 2048): 40_572, (500, 2000): 37_835, (1000, 1000): 31_782, (2048, 2048): 20_957, (5000, 500): 8456, (20_000, 2000): 4106},
    ),
    *_trt(
        "Maverick FP8 8×H100",
        engine(shapes.MAVERICK, LINEAR_FP8, "H100", _NOW),
        {(128, 2048): 10_829, (500, 2000): 10_108, (1000, 1000): 9677, (2048, 2048): 6916, (5000, 500): 3457},
    ),
    *_trt(
        "Maverick NVFP4 8×B200",
        engine(shapes.MAVERICK, LINEAR_NVFP4, "B200", _NOW),
        {(128, 2048): 112_676, (1000, 1000): 79_617, (2048, 2048): 52_195, (20_000, 2000): 12_678},
    ),
    *_trt("Llama 3.3 70B NVFP4 1×B200", engine(shapes.LLAMA_70B, LINEAR_NVFP4, "B200", _NOW, 1), {(1000, 1000): 7007}),
    *_trt("Llama 3.3 70B FP8 1×H200", engine(shapes.LLAMA_70B, LINEAR_FP8, "H200", _NOW, 1), {(1000, 1000): 2909}),
    *_trt("Llama 3.3 70B FP8 2×H100", engine(shapes.LLAMA_70B, LINEAR_FP8, "H100", _NOW, 2), {(1000, 1000): 4205}),
    *_trt("Llama 3.1 405B NVFP4 4×B200", engine(shapes.LLAMA_405B, LINEAR_NVFP4, "B200", _NOW, 4), {(1000, 1000): 5209}),
    *_trt("Llama 3.1 405B FP8 8×H200", engine(shapes.LLAMA_405B, LINEAR_FP8, "H200", _NOW), {(1000, 1000): 3330}),
    *_trt("Llama 3.1 405B FP8 8×H100", engine(shapes.LLAMA_405B, LINEAR_FP8, "H100", _NOW), {(1000, 1000): 2919}),
    *_trt("Llama 3.1 8B FP8 1×H200", engine(shapes.LLAMA_8B, LINEAR_FP8, "H200", _NOW, 1), {(1000, 1000): 17_744}),
    *_trt("Llama 3.1 8B FP8 1×H100", engine(shapes.LLAMA_8B, LINEAR_FP8, "H100", _NOW, 1), {(1000, 1000): 15_220}),
)

"""GPUs and nodes as numbers: memory, bandwidth, arithmetic, and how many GPUs a link joins.

Decides what a config's `hardware` section means. Memory is what torch sees, which is less than what is printed on the box. Bandwidth and
dense FLOP/s (no sparsity) are the vendors' data sheets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from configs.schema import Accelerator, CustomGpu, GpuName, Hardware, NodeName

GIB = 2**30
TERA = 1e12


@dataclass(frozen=True, slots=True)
class Gpu:
    """One kind of GPU."""

    name: str
    memory_gib: float
    bandwidth_bytes_s: float
    bf16_flops: float
    fp8_flops: float | None = None
    fp4_flops: float | None = None
    link_bytes_s: float = 64e9
    """To another GPU of the node, both directions together; the default is PCIe 4.0 x16."""

    @property
    def memory_bytes(self) -> float:
        """Memory that torch sees."""
        return self.memory_gib * GIB


@dataclass(frozen=True, slots=True)
class Node:
    """One kind of machine: so many GPUs of one kind, joined by their link."""

    gpu: Gpu
    gpus: int = 8


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes of one kind; without a number of them, as many as it takes."""

    node: Node
    nodes: int | None = None

    @property
    def gpus(self) -> int | None:
        """GPUs of the whole cluster."""
        return None if self.nodes is None else self.nodes * self.node.gpus

    def __str__(self) -> str:
        per_node = f"{self.node.gpus}×{self.node.gpu.name}"
        return per_node if self.nodes == 1 else f"{self.nodes or 'N'}×({per_node})"


Tflops = tuple[float, float | None, float | None]
"""In bf16, fp8 and fp4; none where a GPU has no such arithmetic."""


def _gpu(name: GpuName, memory_gib: float, bandwidth_tb_s: float, tflops: Tflops, link_gb_s: float) -> Gpu:
    bf16, fp8, fp4 = tflops
    return Gpu(name, memory_gib, bandwidth_tb_s * TERA, bf16 * TERA, fp8 and fp8 * TERA, fp4 and fp4 * TERA, link_gb_s * 1e9)


#: Memory: H100 from startup logs of vLLM 0.19, H200 sglang#9743, A100 40GB, RTX 4090 and L40S (vllm#15598) from torch's own out-of-memory
#: messages; A100 80GB, MI300X and B200 were not seen in a log.
GPUS: Mapping[GpuName, Gpu] = MappingProxyType(
    {
        gpu.name: gpu  # type: ignore[misc]
        for gpu in (
            _gpu("H100", 79.19, 3.35, (989, 1979, None), 900),
            _gpu("H200", 139.8, 4.8, (989, 1979, None), 900),
            _gpu("B200", 178.35, 8.0, (2250, 4500, 9000), 1800),
            _gpu("A100", 79.15, 2.039, (312, None, None), 600),
            _gpu("A100-40", 39.50, 1.555, (312, None, None), 600),
            _gpu("L40S", 44.53, 0.864, (362, 733, None), 64),
            _gpu("RTX4090", 23.64, 1.008, (165.2, 330.3, None), 64),
            _gpu("MI300X", 191.98, 5.3, (1307, 2615, None), 896),
        )
    }
)

#: p5, p5en, p6 and g6e are AWS's, a3 Google Cloud's.
NODES: Mapping[NodeName, Node] = MappingProxyType(
    {
        "dgx-h100": Node(GPUS["H100"]),
        "hgx-h100": Node(GPUS["H100"]),
        "p5.48xlarge": Node(GPUS["H100"]),
        "a3-highgpu-8g": Node(GPUS["H100"]),
        "dgx-h200": Node(GPUS["H200"]),
        "hgx-h200": Node(GPUS["H200"]),
        "p5en.48xlarge": Node(GPUS["H200"]),
        "a3-ultragpu-8g": Node(GPUS["H200"]),
        "dgx-b200": Node(GPUS["B200"]),
        "p6-b200.48xlarge": Node(GPUS["B200"]),
        "dgx-a100": Node(GPUS["A100"]),
        "p4d.24xlarge": Node(GPUS["A100-40"]),
        "g6e.48xlarge": Node(GPUS["L40S"]),
        "mi300x-8": Node(GPUS["MI300X"]),
    }
)


def custom(spec: CustomGpu) -> Gpu:
    """A GPU that the config describes."""
    return Gpu(
        name=spec.name,
        memory_gib=spec.memory_gib,
        bandwidth_bytes_s=spec.bandwidth_gb_s * 1e9,
        bf16_flops=spec.bf16_tflops * TERA,
        fp8_flops=None if spec.fp8_tflops is None else spec.fp8_tflops * TERA,
        fp4_flops=None if spec.fp4_tflops is None else spec.fp4_tflops * TERA,
        link_bytes_s=spec.link_gb_s * 1e9,
    )


def cluster_of(hardware: Hardware) -> Cluster:
    """The cluster that a config's `hardware` section describes."""
    if hardware.node is not None:
        return Cluster(NODES[hardware.node], hardware.nodes)
    gpu = custom(hardware.custom_gpu) if hardware.custom_gpu is not None else GPUS[hardware.gpu or "H100"]
    return Cluster(Node(gpu, hardware.gpus_per_node), hardware.nodes)


def gpu_of(accelerator: Accelerator) -> Gpu | None:
    """The GPU that an accelerator names; none for `auto`, `cpu` and `gpu`. `A100` is the one with 80 GB."""
    return next((gpu for name, gpu in GPUS.items() if name == accelerator), None)

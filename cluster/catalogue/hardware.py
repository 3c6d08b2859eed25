"""Nodes and clusters as numbers, and what a config's `hardware` section means. The GPUs are in `cluster.catalogue.gpus`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from cluster.catalogue.gpus import GIB, GPUS, TERA, Gpu
from configs.names import Accelerator, NodeName

if TYPE_CHECKING:  # it takes long to import, and plans of one model do without
    from configs.schema import CustomGpu, Hardware

__all__ = ["GIB", "GPUS", "NODES", "Cluster", "Fabric", "Gpu", "Node", "cluster_of", "custom", "gpu_of"]


@dataclass(frozen=True, slots=True)
class Fabric:
    """The network cards of one machine that carry its GPUs' traffic. Zeros: the machine is not known so well."""

    ports: int = 0
    """Ports that must be active."""
    gbit_s: float = 0.0
    """Rate of each, as the kernel shows it."""


@dataclass(frozen=True, slots=True)
class Node:
    """One kind of machine: so many GPUs of one kind, joined by their link."""

    gpu: Gpu
    gpus: int = 8
    fabric: Fabric = Fabric()

    def __str__(self) -> str:
        return f"{self.gpus}×{self.gpu.name}"


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
        return str(self.node) if self.nodes == 1 else f"{self.nodes or 'N'}×({self.node})"


#: p5, p5e, p5en, p6 and g6e are AWS's, a3 Google Cloud's. Cards by the vendors' pages: DGX H100, H200, B200 have eight ConnectX-7 ports of
#: 400 Gbit/s for their GPUs, DGX A100 eight ConnectX-6 of 200. What a port of AWS's EFA says of its rate changes with the driver.
NODES: Mapping[NodeName, Node] = MappingProxyType(
    {
        "dgx-h100": Node(GPUS["H100"], fabric=Fabric(8, 400)),
        "hgx-h100": Node(GPUS["H100"]),
        "p5.48xlarge": Node(GPUS["H100"], fabric=Fabric(32)),
        "a3-highgpu-8g": Node(GPUS["H100"]),
        "dgx-h200": Node(GPUS["H200"], fabric=Fabric(8, 400)),
        "hgx-h200": Node(GPUS["H200"]),
        "p5e.48xlarge": Node(GPUS["H200"], fabric=Fabric(32)),
        "p5en.48xlarge": Node(GPUS["H200"], fabric=Fabric(16)),
        "a3-ultragpu-8g": Node(GPUS["H200"], fabric=Fabric(8)),
        "dgx-b200": Node(GPUS["B200"], fabric=Fabric(8, 400)),
        "p6-b200.48xlarge": Node(GPUS["B200"], fabric=Fabric(8)),
        "dgx-a100": Node(GPUS["A100"], fabric=Fabric(8, 200)),
        "p4d.24xlarge": Node(GPUS["A100-40"], fabric=Fabric(4)),
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

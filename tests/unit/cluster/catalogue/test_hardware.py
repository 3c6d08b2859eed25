"""`cluster.catalogue.hardware`: what a config's hardware is, and that the tables are whole."""

from typing import get_args

import pytest

from cluster.catalogue.hardware import GPUS, NODES, Cluster, Node, cluster_of, gpu_of
from configs.names import Accelerator, GpuName, NodeName
from configs.schema import CustomGpu, Hardware

CUSTOM = CustomGpu(name="X", memory_gib=95, bandwidth_gb_s=4000, bf16_tflops=900)


def test_every_name_of_the_schema_is_in_the_tables() -> None:
    assert GPUS.keys() == set(get_args(GpuName))
    assert NODES.keys() == set(get_args(NodeName))
    assert all(node.gpus == 8 for node in NODES.values())


@pytest.mark.parametrize(
    ("hardware", "name", "gpus", "text"),
    [
        (Hardware(node="dgx-h100", nodes=2), "H100", 16, "2×(8×H100)"),
        (Hardware(gpu="L40S", gpus_per_node=4, nodes=1), "L40S", 4, "4×L40S"),
        (Hardware(custom_gpu=CUSTOM, gpus_per_node=2), "X", None, "N×(2×X)"),
    ],
)
def test_cluster_of_a_config(hardware: Hardware, name: str, gpus: int | None, text: str) -> None:
    found = cluster_of(hardware)
    assert (found.node.gpu.name, found.gpus, str(found)) == (name, gpus, text)


def test_custom_gpu_has_what_the_config_says() -> None:
    plain = cluster_of(Hardware(custom_gpu=CUSTOM)).node.gpu
    assert (plain.bandwidth_bytes_s, plain.bf16_flops, plain.fp8_flops, plain.fp4_flops) == (4e12, 900e12, None, None)
    full = cluster_of(Hardware(custom_gpu=CUSTOM.model_copy(update={"fp8_tflops": 1800, "fp4_tflops": 3600}))).node.gpu
    assert (full.fp8_flops, full.fp4_flops) == (1800e12, 3600e12)


@pytest.mark.parametrize(("accelerator", "name"), [("H100", "H100"), ("A100", "A100"), ("auto", None), ("cpu", None), ("gpu", None)])
def test_accelerator_names_a_gpu_or_none(accelerator: Accelerator, name: str | None) -> None:
    found = gpu_of(accelerator)
    assert (found and found.name) == name


def test_memory_is_below_what_is_printed_on_the_box() -> None:
    """Printed in GB of 10^9 or of 2^30, depending on the maker."""
    printed = {"H100": 80, "H100-PCIe": 80, "H100-NVL": 94, "H200": 144, "H20": 96, "GH200": 96, "B200": 192, "B300": 288, "GB200": 192}
    printed |= {"GB10": 128, "A100": 80, "A100-40": 40, "A10G": 24, "A40": 48, "A6000": 48, "L4": 24, "L40S": 48}
    printed |= {"RTX3090": 24, "RTX4090": 24, "RTX5090": 32, "RTX-PRO-6000": 96, "MI300X": 192, "MI325X": 256}
    assert {name for name, gpu in GPUS.items() if gpu.memory_gib >= printed[name]} == set()
    assert str(Cluster(Node(GPUS["H100"], 8), 1)) == "8×H100"

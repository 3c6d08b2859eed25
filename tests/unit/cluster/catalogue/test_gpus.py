"""`cluster.catalogue.gpus`: GPUs as people and tools call them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue.gpus import GPUS, gpu_named, near_miss
from configs.names import GpuName


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("H100-80GB-HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100-PCIe"),
        ("NVIDIA H100 NVL", "H100-NVL"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-40GB", "A100-40"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA A100 80GB PCIe", "A100"),
        ("A100-80", "A100"),
        ("NVIDIA GeForce RTX 4090", "RTX4090"),
        ("rtx 3090", "RTX3090"),
        ("NVIDIA RTX A6000", "A6000"),
        ("NVIDIA RTX PRO 6000 Blackwell Workstation Edition", "RTX-PRO-6000"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA B300 SXM6 AC", "B300"),
        ("AMD Instinct MI300X OAM", "MI300X"),
        ("AMD-Instinct-MI325X-OAM", "MI325X"),
        ("h100", "H100"),
    ],
)
def test_names_of_people_and_tools(text: str, name: GpuName) -> None:
    assert gpu_named(text) is GPUS[name]


@given(st.sampled_from(list(GPUS)))
def test_every_name_means_itself(name: GpuName) -> None:
    assert gpu_named(name) is gpu_named(name.lower()) is GPUS[name]


@pytest.mark.parametrize(("text", "name"), [("RTX4080", "RTX4090"), ("MI300", "MI300X"), ("A10", "A10G"), ("zzz", None)])
def test_near_miss_is_named_and_what_is_like_nothing_is_not(text: str, name: str | None) -> None:
    assert gpu_named(text) is None
    assert near_miss(text) == name


@given(st.text())
def test_no_name_breaks_it(text: str) -> None:
    assert (gpu_named(text) is None) or gpu_named(text) in GPUS.values()
    near_miss(text)

"""The names that a config may use: kinds of models, formats of weights, GPUs, nodes and vLLM's ways between experts.

Decides which there are. Their figures are `cluster.catalogue`'s.
"""

from typing import Literal

Kind = Literal[
    "llama-4-scout",
    "llama-4-maverick",
    "llama-4-behemoth",
    "llama-3-8b",
    "llama-3-70b",
    "llama-3.1-8b",
    "llama-3.1-70b",
    "llama-3.1-405b",
    "llama-3.2-1b",
    "llama-3.2-3b",
    "llama-3.2-11b-vision",
    "llama-3.2-90b-vision",
    "llama-3.3-70b",
    "llama-guard-3-8b",
    "llama-guard-4-12b",
    "prompt-guard-2-86m",
    "prompt-guard-2-22m",
    "smollm2-135m",
    "llama-4-scout-tiny",
    "llama-4-maverick-tiny",
    "generic",
]
Quantization = Literal["bf16", "fp8", "int8", "int4", "nvfp4"]
Accelerator = Literal["auto", "cpu", "gpu", "H100", "H200", "B200", "A100", "L40S", "MI300X", "A10G", "L4", "H20", "B300", "GB200"]
GpuName = Literal[
    "H100", "H100-PCIe", "H100-NVL", "H200", "H20", "GH200", "B200", "B300", "GB200", "GB10", "A100", "A100-40", "A10G", "A40", "A6000",
    "L4", "L40S", "RTX3090", "RTX4090", "RTX5090", "RTX-PRO-6000", "MI300X", "MI325X",
]  # fmt: skip
NodeName = Literal[
    "dgx-h100",
    "hgx-h100",
    "p5.48xlarge",
    "a3-highgpu-8g",
    "dgx-h200",
    "hgx-h200",
    "p5e.48xlarge",
    "p5en.48xlarge",
    "a3-ultragpu-8g",
    "dgx-b200",
    "p6-b200.48xlarge",
    "dgx-a100",
    "p4d.24xlarge",
    "g6e.48xlarge",
    "mi300x-8",
]
#: vLLM's `all2all_backend`; those that are not in this list are for other GPUs, or old names.
AllToAll = Literal[
    "allgather_reducescatter",
    "deepep_high_throughput",
    "deepep_low_latency",
    "deepep_v2",
    "nixl_ep",
    "flashinfer_nvlink_one_sided",
    "flashinfer_nvlink_two_sided",
]

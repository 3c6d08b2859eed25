"""`cluster.planner.legality`: the shapes that vLLM would build, and the reason for the others.

`tests/alone/test_planner.py` asks vLLM itself.
"""

import pytest

from cluster.catalogue import sizes as shapes
from cluster.catalogue.architecture import Architecture, VisionTower
from cluster.catalogue.checkpoints import BF16, LINEAR_FP8, LINEAR_NVFP4, Layout
from cluster.catalogue.hardware import GPUS
from cluster.planner.legality import refusals, stored_refusals, tensor_sizes
from configs.names import GpuName
from configs.schema import Parallelism


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        (shapes.SCOUT, (1, 2, 4, 8)),
        (shapes.MAVERICK, (1, 2, 4, 8)),
        (shapes.GUARD_4, (1, 2, 4, 8)),
        (shapes.LLAMA_70B, (1, 2, 4, 8, 16, 32, 64)),
        (shapes.SMOLLM2, (1, 3)),
        (shapes.SCOUT_TINY, (1, 2, 4, 8)),
    ],
)
def test_legal_tensor_parallel_sizes(shape: Architecture, sizes: tuple[int, ...]) -> None:
    assert tensor_sizes(shape) == sizes


@pytest.mark.parametrize(
    ("shape", "parallel", "told"),
    [
        (shapes.SCOUT, Parallelism(tensor=16), {"tensor": "16 does not divide the 40 attention heads; allowed: 1, 2, 4, 8"}),
        (shapes.SCOUT, Parallelism(tensor=5), {"tensor": "5 neither divides the 8 KV heads nor is divided by them; allowed: 1, 2, 4, 8"}),
        (shapes.LLAMA_8B, Parallelism(pipeline=33), {"pipeline": "33 stages are more than the model has layers (32)"}),
        (
            shapes.LLAMA_8B,
            Parallelism(data=2, expert=True),
            {"data": "data-parallel attention only helps", "expert": "the model has no experts"},
        ),
        (shapes.SCOUT, Parallelism(tensor=8, data=4, expert=True), {"expert": "16 experts cannot be spread evenly over 32 GPUs"}),
        (shapes.MAVERICK, Parallelism(tensor=8, data=2, expert=True), {}),
        (shapes.MAVERICK, Parallelism(tensor=8, data=3, expert=True), {"expert": "128 experts cannot be spread evenly over 24 GPUs"}),
        (shapes.MAVERICK, Parallelism(tensor=8, data=2), {}),
        (shapes.MAVERICK, Parallelism(tensor=8, data=3), {"data": "without parallel.expert each expert (8192 wide) is cut over 24 GPUs"}),
        (shapes.MAVERICK, Parallelism(tensor=8, pipeline=2), {}),
        (shapes.MAVERICK, Parallelism(tensor=8, data=2, expert=True, redundant_experts=16, all_to_all="deepep_low_latency"), {}),
        (
            shapes.MAVERICK,
            Parallelism(tensor=8, expert=True, redundant_experts=12),
            {"expert": "128 experts and 12 copies cannot be spread evenly over 8 GPUs"},
        ),
        (
            shapes.MAVERICK,
            Parallelism(tensor=8, redundant_experts=0, all_to_all="deepep_v2"),
            {"redundant_experts": "experts are balanced over GPUs that hold whole ones", "all_to_all": "tokens go from rank to rank only"},
        ),
        (shapes.SCOUT, Parallelism(expert=True, redundant_experts=0), {"redundant_experts": "experts are balanced over GPUs"}),
    ],
)
def test_shape_is_legal_or_refused_with_a_reason(shape: Architecture, parallel: Parallelism, told: dict[str, str]) -> None:
    found = dict(refusals(shape, parallel))
    assert found.keys() == told.keys()
    assert all(found[name].startswith(reason) for name, reason in told.items())


@pytest.mark.parametrize(
    ("shape", "size", "reason"),
    [
        (Architecture(2, 96, 12, 12, 8, 128, 24, 64, vision=VisionTower()), 3, "3 does not divide the vision tower (16 heads, MLP 5632)"),
        (Architecture(2, 96, 12, 12, 8, 192, 25, 64), 3, "3 does not divide the MLP (25)"),
        (Architecture(2, 96, 12, 12, 8, 192, 5, 64, 4, 1, 25, (0, 1)), 3, "3 does not divide the experts (25)"),
        (Architecture(2, 96, 12, 12, 8, 100, 24, 64), 3, "3 does not divide the vocabulary (128)"),
    ],
)
def test_everything_that_is_split_must_divide(shape: Architecture, size: int, reason: str) -> None:
    assert dict(refusals(shape, Parallelism(tensor=size)))["tensor"].startswith(reason)


@pytest.mark.parametrize(
    ("layout", "kv_fp8", "gpu", "fields"),
    [
        (BF16, False, "A100", set()),
        (LINEAR_FP8, False, "A100", set()),
        (BF16, True, "A100", set()),
        (BF16, True, "RTX3090", set()),
        (LINEAR_NVFP4, True, "H100", set()),
        (LINEAR_NVFP4, True, "MI300X", {"quantization"}),
        (LINEAR_NVFP4, True, "B200", set()),
    ],
)
def test_what_a_gpu_cannot_compute(layout: Layout, kv_fp8: bool, gpu: GpuName, fields: set[str]) -> None:
    assert {name for name, _ in stored_refusals(layout, kv_fp8, GPUS[gpu])} == fields

"""`cluster.placement`: one bundle per worker, together on a node where they fit one."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.placement import GPUS_PER_NODE, Placement, placement
from configs.schema import Accelerator, Parallelism

GPUS = {"CPU": 1.0, "GPU": 1.0}
ACCELERATORS = st.sampled_from(get_args(Accelerator))


@pytest.mark.parametrize(
    ("parallel", "accelerator", "expected"),
    [
        (Parallelism(), "cpu", Placement(({"CPU": 1.0},), "PACK")),
        (Parallelism(tensor=2), "cpu", Placement(({"CPU": 1.0},) * 2, "PACK")),
        (Parallelism(), "gpu", Placement((GPUS,), "STRICT_PACK")),
        (Parallelism(tensor=8), "H100", Placement((GPUS,) * 8, "STRICT_PACK")),
        (Parallelism(tensor=8, pipeline=2), "H100", Placement((GPUS,) * 16, "PACK")),
    ],
)
def test_bundles(parallel: Parallelism, accelerator: Accelerator, expected: Placement) -> None:
    assert placement(parallel, accelerator) == expected


@given(st.integers(1, 64), st.integers(1, 64), ACCELERATORS)
def test_worker_has_a_bundle_and_a_node_is_never_split_by_chance(tensor: int, pipeline: int, accelerator: Accelerator) -> None:
    placed = placement(Parallelism(tensor=tensor, pipeline=pipeline), accelerator)
    assert len(placed.bundles) == tensor * pipeline
    on_gpus = accelerator != "cpu"
    assert all(("GPU" in bundle) == on_gpus for bundle in placed.bundles)
    assert (placed.strategy == "STRICT_PACK") == (on_gpus and tensor * pipeline <= GPUS_PER_NODE)


def test_form_for_ray_is_a_copy() -> None:
    placed = placement(Parallelism(tensor=2), "gpu")
    assert placed.as_ray() == {"bundles": [GPUS, GPUS], "strategy": "STRICT_PACK"}
    placed.as_ray()["bundles"][0]["GPU"] = 0.5
    assert placed.bundles == (GPUS, GPUS)

"""`cluster.planner.placement`: one bundle per worker, together on a node where they fit one."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.planner.placement import GPUS_PER_NODE, Placement, blocks, placement, straddled
from configs.names import Accelerator
from configs.schema import Parallelism

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
        (Parallelism(tensor=8, data=2, expert=True), "H100", Placement((GPUS,) * 8, "STRICT_PACK", ranks=2)),
        (Parallelism(data=2), "cpu", Placement(({"CPU": 1.0},), "PACK", ranks=2)),
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


def test_node_of_four_holds_four() -> None:
    assert placement(Parallelism(tensor=8), "gpu", gpus_per_node=4).strategy == "PACK"
    assert placement(Parallelism(tensor=4), "gpu", gpus_per_node=4).strategy == "STRICT_PACK"


@pytest.mark.parametrize(
    ("parallel", "per_node", "pieces"),
    [
        (Parallelism(tensor=2), 8, {2: 1}),
        (Parallelism(tensor=4, pipeline=2), 8, {8: 1}),
        (Parallelism(tensor=8, pipeline=2), 8, {8: 2}),
        (Parallelism(tensor=8, data=2), 8, {8: 2}),
        (Parallelism(tensor=1, data=4), 8, {1: 4}),
        (Parallelism(tensor=8), 4, {1: 8}),
    ],
)
def test_pieces_of_a_replica_that_stay_together(parallel: Parallelism, per_node: int, pieces: dict[int, int]) -> None:
    assert blocks(parallel, per_node) == pieces


def test_form_for_ray_is_a_copy() -> None:
    placed = placement(Parallelism(tensor=2), "gpu")
    assert placed.as_ray() == {"bundles": [GPUS, GPUS], "strategy": "STRICT_PACK"}
    placed.as_ray()["bundles"][0]["GPU"] = 0.5
    assert placed.bundles == (GPUS, GPUS)


@pytest.mark.parametrize(
    ("nodes", "tensor", "said"),
    [
        ("aaaaaaaabbbbbbbb", 8, None),
        ("abababababababab", 8, None),
        ("aaaaaabbbbbbbbcc", 8, "its 16 GPUs were placed as 8 + 6 + 2 on 3 nodes"),
        ("aaaabbbb", 8, "its 8 GPUs were placed as 4 + 4 on 2 nodes"),
        ("aaaabbbb", 4, None),
        ("ab", 1, None),
        ("", 8, None),
    ],
)
def test_tensor_parallel_group_over_several_nodes_is_told(nodes: str, tensor: int, said: str | None) -> None:
    told = straddled(nodes, tensor)
    assert (told is None) if said is None else (told is not None and told.startswith(said) and "parallel.across_nodes: true" in told)

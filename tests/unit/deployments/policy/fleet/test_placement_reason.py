"""`policy.fleet.placement_reason`: a snapshot of nodes and a demand become a sentence."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.doctor.quarantine import FOUND_LABEL, HEALTH_LABEL, SICK
from deployments.policy.fleet.placement_reason import Demand, NodeRoom, why_pending

H100 = "accelerator_type:H100"
TOTAL = {"CPU": 96.0, "GPU": 8.0, H100: 1.0, "memory": 1e12}
ONE = NodeRoom("10.0.0.1", TOTAL, TOTAL, {})
TWO = replace(ONE, name="10.0.0.2")
HEAD = NodeRoom("10.0.0.9", {"CPU": 8.0, "node:__internal_head__": 1.0}, {"CPU": 8.0}, {})
BUNDLE = {"CPU": 1.0, "GPU": 1.0, H100: 0.001}
EIGHT = Demand((BUNDLE,) * 8, "STRICT_PACK")
SIXTEEN = Demand((BUNDLE,) * 16, "PACK")


def sick(node: NodeRoom, found: str = "rdma") -> NodeRoom:
    return replace(node, labels={HEALTH_LABEL: SICK, FOUND_LABEL: found})


def with_free(node: NodeRoom, gpus: float, cpus: float = 96.0) -> NodeRoom:
    return replace(node, free=TOTAL | {"GPU": gpus, "CPU": cpus})


def test_gpu_that_no_node_has_is_named_with_those_that_there_are() -> None:
    h200 = replace(ONE, total={"CPU": 96.0, "GPU": 8.0, "accelerator_type:H200": 1.0})
    said = why_pending(EIGHT, [HEAD, h200])
    assert said == "no node has H100; the nodes have H200. Correct `accelerator`, or add such a node"
    assert why_pending(EIGHT, [HEAD]).startswith("no node has H100; no node has a GPU that Ray knows")


def test_nodes_that_are_all_labelled_sick_are_named_with_what_was_found() -> None:
    said = why_pending(EIGHT, [HEAD, sick(ONE), sick(TWO, "ecc.nvlink")])
    assert said.startswith("all 2 nodes that could have it are labelled sick: 10.0.0.1 (rdma), 10.0.0.2 (ecc.nvlink). `herd doctor`")
    assert why_pending(EIGHT, [sick(ONE)]).startswith("the only node that could have it is labelled sick: 10.0.0.1 (rdma)")
    both = why_pending(EIGHT, [sick(ONE), replace(TWO, draining=True)])
    assert both.startswith("the only node that could have it is labelled sick: 10.0.0.1 (rdma); 1 drained.")
    assert why_pending(EIGHT, [replace(ONE, draining=True), replace(TWO, draining=True)]) == (
        "all 2 nodes that could have it are drained: 10.0.0.1, 10.0.0.2"
    )
    assert "(unknown)" in why_pending(EIGHT, [replace(ONE, labels={HEALTH_LABEL: SICK})])


def test_node_that_is_too_small_is_told_before_what_is_taken() -> None:
    small = replace(ONE, total=TOTAL | {"GPU": 4.0}, free={"GPU": 1.0})
    said = why_pending(EIGHT, [small])
    assert said == "it takes 8 GPUs on one node; 10.0.0.1 has 4. `herd plan` tells what would fit"
    assert why_pending(SIXTEEN, [ONE]).startswith("it takes 16 GPUs; 10.0.0.1 has 8")


def test_resource_that_is_taken_is_told_node_by_node() -> None:
    said = why_pending(EIGHT, [with_free(ONE, 2), with_free(TWO, 6)])
    assert said == "it takes 8 GPUs on one node; 10.0.0.1 has 2 of 8 free, 10.0.0.2 has 6 of 8 free"
    assert why_pending(SIXTEEN, [ONE, with_free(TWO, 0)]).startswith("it takes 16 GPUs; 10.0.0.1 has 8 of 8 free, 10.0.0.2 has 0 of 8 free")
    assert why_pending(EIGHT, [with_free(ONE, 8, cpus=3)]) == "it takes 8 CPUs on one node; 10.0.0.1 has 3 of 96 free"


def test_nodes_that_do_not_count_are_told_too() -> None:
    said = why_pending(EIGHT, [with_free(ONE, 2), sick(TWO), replace(TWO, name="10.0.0.3", draining=True)])
    assert said.endswith("10.0.0.1 has 2 of 8 free; sick: 10.0.0.2 (rdma); drained: 10.0.0.3")


def test_node_with_room_is_being_taken() -> None:
    assert why_pending(EIGHT, [HEAD, ONE]) == "Ray is placing it"
    assert why_pending(SIXTEEN, [ONE, TWO]) == "Ray is placing it"


def test_cluster_without_such_a_resource_and_without_a_kind() -> None:
    plain = Demand(({"CPU": 1.0, "GPU": 1.0},))
    assert why_pending(plain, [HEAD]) == "it takes 1 GPU; no node has any. `herd plan` tells what would fit"


def test_long_lists_are_cut() -> None:
    many = [with_free(replace(ONE, name=f"n{number}"), 0) for number in range(9)]
    assert why_pending(EIGHT, many).endswith("n3 has 0 of 8 free, and 5 more")
    assert "n3 (rdma) and 5 more" in why_pending(EIGHT, [sick(node) for node in many])


@given(
    st.lists(st.tuples(st.integers(0, 8), st.booleans(), st.booleans()), max_size=6),
    st.integers(1, 20),
    st.sampled_from(["PACK", "STRICT_PACK"]),
)
def test_every_snapshot_has_a_reason_and_room_is_seen(nodes: list[tuple[int, bool, bool]], gpus: int, strategy: str) -> None:
    there = [replace(with_free(ONE, free), labels={HEALTH_LABEL: SICK} if ill else {}, draining=leaves) for free, ill, leaves in nodes]
    said = why_pending(Demand((BUNDLE,) * gpus, strategy), there)
    serve = [free for free, ill, leaves in nodes if not ill and not leaves]
    fits = max(serve, default=0) >= gpus if strategy == "STRICT_PACK" else sum(serve) >= gpus
    assert said.startswith("Ray is placing it") == fits


@pytest.mark.parametrize("strategy", ["PACK", "STRICT_PACK"])
def test_demand_without_bundles_waits_for_ray(strategy: str) -> None:
    assert why_pending(Demand((), strategy), [ONE]) == "Ray is placing it"

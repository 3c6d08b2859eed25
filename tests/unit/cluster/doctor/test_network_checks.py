"""`cluster.doctor.network_checks`: what is missed of a node's network cards, and what is not."""

from dataclasses import replace
from typing import Any

import pytest

from cluster.catalogue.hardware import Fabric
from cluster.doctor.facts import Expected, Finding, Level, NodeFacts, RdmaPort, expected, worst
from cluster.doctor.host_checks import node_findings
from cluster.doctor.network_checks import network_findings
from tests.unit.cluster.doctor.test_host_checks import LAPTOP, PORTS, WELL
from tests.unit.samples import config, model

LONE = Expected(8, 79.19, True)
DGX = replace(LONE, fabric=Fabric(8, 400))
UNKNOWN = replace(LONE, fabric=Fabric())
DOWN = RdmaPort("mlx5_8/1", False, 10.0, "InfiniBand", opens=True)
EIGHT_MIB = 8 << 20
MAVERICK = {"kind": "llama-4-maverick", "quantization": "fp8", "context_tokens": 1024}


def found(facts: NodeFacts, promised: Expected | None) -> dict[str, Finding]:
    return {one.check: one for one in network_findings(facts, promised)}


@pytest.mark.parametrize("promised", [None, LONE, UNKNOWN, DGX])
def test_cards_that_are_well(promised: Expected | None) -> None:
    assert {check: one.level for check, one in found(WELL, promised).items()} == {"RDMA": Level.OK}
    assert found(WELL, promised)["RDMA"].seen == "8 ports active at 400 Gbit/s"
    one = found(replace(WELL, ports=PORTS[:1]), LONE)["RDMA"]
    assert one.seen == "1 port active at 400 Gbit/s"


@pytest.mark.parametrize(("promised", "level"), [(None, Level.WARN), (LONE, Level.OK), (UNKNOWN, Level.FAIL), (DGX, Level.FAIL)])
def test_lone_node_whose_infiniband_is_not_cabled_is_not_sick(promised: Expected | None, level: Level) -> None:
    rdma = found(replace(WELL, ports=(DOWN,)), promised)["RDMA"]
    assert (rdma.level, rdma.seen.startswith("no port is active (mlx5_8/1)")) == (level, True)
    assert bool(rdma.advice) == (level is not Level.OK)


@pytest.mark.parametrize(("promised", "level"), [(None, Level.WARN), (LONE, None), (UNKNOWN, Level.FAIL), (DGX, Level.FAIL)])
def test_locked_memory_counts_where_rdma_is_used(promised: Expected | None, level: Level | None) -> None:
    said = found(replace(WELL, locked_bytes=EIGHT_MIB), promised).get("locked memory")
    assert (said and said.level) is level
    assert "locked memory" not in found(replace(WELL, locked_bytes=EIGHT_MIB, ports=(DOWN,)), promised), (
        "nothing is pinned for a port that is down"
    )


TWO_NODES = {"tensor": 8, "data": 2, "expert": True}
DEEPEP = {"all_to_all": "deepep_low_latency"}


def of_maverick(nodes: int, parallel: dict[str, Any]) -> Expected | None:
    return expected(config(model(**MAVERICK, parallel=parallel), hardware={"node": "dgx-h200", "nodes": nodes}))


SET = {"EnableStreamMemOPs": "1", "RegistryDwords": "PeerMappingOverride=1;"}


@pytest.mark.parametrize(
    ("options", "advised"),
    [
        (SET, None),
        ({}, None),  # a driver that does not say
        (SET | {"EnableStreamMemOPs": "0"}, "`options nvidia NVreg_EnableStreamMemOPs=1` in"),
        (SET | {"RegistryDwords": ""}, '`options nvidia NVreg_RegistryDwords="PeerMappingOverride=1;"` in'),
        ({"EnableMSI": "1"}, 'NVreg_EnableStreamMemOPs=1 NVreg_RegistryDwords="PeerMappingOverride=1;"` in'),
    ],
)
def test_driver_that_does_not_let_gpus_drive_cards_is_told_where_deepep_leaves_the_node(
    options: dict[str, str], advised: str | None
) -> None:
    facts = replace(WELL, driver_options=options)
    for nodes, parallel in ((1, TWO_NODES | DEEPEP | {"tensor": 4}), (2, TWO_NODES)):
        assert "DeepEP" not in found(facts, of_maverick(nodes, parallel))
    assert "DeepEP" not in found(facts, None)
    said = found(facts, of_maverick(2, TWO_NODES | DEEPEP)).get("DeepEP")
    assert (said is not None) == (advised is not None)
    assert said is None or (said.level is Level.WARN and str(advised) in said.advice)


@pytest.mark.parametrize("name", ["irdma0/1", "mana_0/1", "mlx5_bond_0/1"])
def test_ethernet_card_with_an_rdma_device_makes_no_node_sick_that_uses_none(name: str) -> None:
    ports = (RdmaPort(name, True, 25.0, "Ethernet", opens=False),)
    bare_metal = replace(LAPTOP, ports=ports, locked_bytes=EIGHT_MIB)
    assert worst(node_findings(bare_metal, None)) is Level.WARN
    assert {one.level for one in network_findings(bare_metal, LONE)} == {Level.OK}


def test_port_at_a_lower_rate_is_found_by_the_least_and_not_the_greatest() -> None:
    slow = replace(WELL, ports=(*PORTS[:7], replace(PORTS[7], gbit_s=100.0)))
    known = found(slow, DGX)["RDMA"]
    assert (known.level, known.seen) == (Level.FAIL, "8 ports active at 100 to 400 Gbit/s; this machine has 8 at 400 Gbit/s")
    unknown = found(slow, UNKNOWN)["RDMA"]
    assert (unknown.level, unknown.seen) == (Level.WARN, "8 ports active at 100 to 400 Gbit/s; slower than the others: mlx5_7/1")
    storage = replace(WELL, ports=(*PORTS, RdmaPort("mlx5_8/1", True, 200.0, "Ethernet", opens=True)))
    for promised in (DGX, UNKNOWN, None):
        assert found(storage, promised)["RDMA"].level is Level.OK, "another kind of port, for storage"


def test_ports_that_are_down_on_a_known_machine_are_found() -> None:
    six = replace(WELL, ports=(*PORTS[:6], *(replace(port, active=False) for port in PORTS[6:])))
    rdma = found(six, DGX)["RDMA"]
    assert rdma.level is Level.FAIL
    assert rdma.seen == "6 ports active at 400 Gbit/s, 2 down (mlx5_6/1, mlx5_7/1); this machine has 8 at 400 Gbit/s"
    efa = tuple(RdmaPort(f"efa_{card}/1", True, 100.0, "Unspecified", opens=True) for card in range(15))
    p5en = found(replace(WELL, ports=efa), replace(LONE, fabric=Fabric(16)))["RDMA"]
    assert p5en.seen == "15 ports active at 100 Gbit/s; this machine has 16"
    assert found(six, UNKNOWN)["RDMA"].level is Level.OK, "only its neighbours know how many there should be"


@pytest.mark.parametrize(("promised", "level"), [(None, None), (LONE, None), (UNKNOWN, Level.WARN), (DGX, Level.FAIL)])
def test_machine_without_any_rdma_device(promised: Expected | None, level: Level | None) -> None:
    said = found(replace(WELL, ports=()), promised).get("RDMA")
    assert (said and said.level) is level


@pytest.mark.parametrize(("promised", "level"), [(None, Level.WARN), (LONE, None), (UNKNOWN, Level.FAIL), (DGX, Level.FAIL)])
def test_device_that_the_kernel_shows_and_nobody_may_open_is_found(promised: Expected | None, level: Level | None) -> None:
    closed = replace(WELL, ports=(*PORTS[:7], replace(PORTS[7], opens=False)))
    said = found(closed, promised).get("RDMA devices")
    assert (said and said.level) is level
    assert said is None or ("mlx5_7/1" in said.seen and "--device=/dev/infiniband" in said.advice)


def test_direct_way_from_card_to_gpu() -> None:
    assert found(replace(WELL, peer_memory=False), None)["GPUDirect"].level is Level.WARN
    efa = tuple(RdmaPort(f"efa_{card}/1", True, 100.0) for card in range(16))
    for facts in (WELL, replace(WELL, peer_memory=False, ports=efa), replace(WELL, peer_memory=False, report=None)):
        assert "GPUDirect" not in found(facts, None)


#: More than a DGX H100 holds.
IN_BF16 = {"checkpoint": "meta-llama/Llama-4-Maverick-17B-128E-Instruct", "quantization": "bf16"}


@pytest.mark.parametrize(
    ("fields", "hardware", "fabric"),
    [
        ({}, {"node": "dgx-h100", "nodes": 2}, None),
        ({"parallel": {"tensor": 8, "pipeline": 2}}, {"node": "dgx-h100", "nodes": 2}, Fabric(8, 400)),
        ({"parallel": {"tensor": 1, "data": 16, "expert": True}}, {"node": "hgx-h200"}, Fabric()),
        ({"parallel": "auto"}, {"node": "dgx-h100", "nodes": 2}, None),
        ({"parallel": "auto", **IN_BF16}, {"node": "dgx-h100", "nodes": 2}, Fabric(8, 400)),
        ({"parallel": "auto", **IN_BF16}, {"node": "dgx-h100"}, Fabric(8, 400)),
        ({"parallel": {"tensor": 8}, "prefill": {"replicas": 1}}, {"node": "p5en.48xlarge", "nodes": 2}, Fabric(16)),
    ],
)
def test_fabric_is_expected_where_engines_or_their_caches_leave_a_node(
    fields: dict[str, object], hardware: dict[str, object], fabric: Fabric | None
) -> None:
    promised = expected(config(model(**MAVERICK | fields), hardware=hardware))
    assert promised is not None
    assert promised.fabric == fabric

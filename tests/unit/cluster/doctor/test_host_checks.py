"""`cluster.doctor.host_checks` and `cluster.doctor.compare_nodes`: what is found about a node without its GPUs, and beside the others."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue.hardware import GIB, Fabric
from cluster.doctor.compare_nodes import beyond, cluster_findings
from cluster.doctor.facts import Expected, Finding, GpuReport, GpuState, Level, NodeFacts, RdmaPort, gib, worst
from cluster.doctor.host_checks import node_findings

REPORT = GpuReport("580.65.06", "13.0", (GpuState(0, "NVIDIA H100 80GB HBM3", 81559, most_width=16, width=16),))
VERSIONS = {"llama-herd": "0.1.0", "ray": "2.60.0", "vllm": "0.29.0", "torch": "2.13.0", "python": "3.12.9"}
PORTS = tuple(RdmaPort(f"mlx5_{card}/1", True, 400.0, "InfiniBand", opens=True) for card in range(8))
WELL = NodeFacts(
    "host",
    versions=VERSIONS,
    report=REPORT,
    xids=(),
    ports=PORTS,
    peer_memory=True,
    clock_synchronised=True,
    cache="/cache",
    cache_free_bytes=2000 * GIB,
    shm_bytes=1000 * GIB,
    open_files=1_048_576,
)
LAPTOP = replace(WELL, report=None, ports=(), xids=None)


def found(facts: NodeFacts, weights_bytes: float = 0.0) -> dict[str, Finding]:
    return {one.check: one for one in node_findings(facts, None, weights_bytes)}


def level(check: str, weights_bytes: float = 0.0, of: NodeFacts = WELL, **facts: Any) -> Level:
    return found(replace(of, **facts), weights_bytes)[check].level


def test_node_that_is_well() -> None:
    assert worst(node_findings(WELL, None)) is Level.OK
    assert worst(node_findings(LAPTOP, None)) is Level.OK


def test_whatever_is_the_matter_comes_with_a_way_out() -> None:
    sick = NodeFacts(
        "host", driver_error="x", ports=(RdmaPort("a/1", False, 0),), locked_bytes=65536, missing_checkpoints=("/m",), open_files=1024
    )
    for one in node_findings(sick, Expected(8, 80, True, fabric=Fabric())):
        assert one.level in (Level.OK, Level.NOT_CHECKED) or one.advice


@pytest.mark.parametrize(("says", "expected"), [(True, Level.OK), (False, Level.WARN), (None, Level.NOT_CHECKED)])
def test_clock(says: bool | None, expected: Level) -> None:
    assert level("clock", clock_synchronised=says) is expected


@pytest.mark.parametrize(
    ("free_gib", "weights_gib", "expected"), [(500, 388, Level.OK), (300, 388, Level.WARN), (9, 0, Level.FAIL), (11, 0, Level.OK)]
)
def test_disk(free_gib: float, weights_gib: float, expected: Level) -> None:
    assert level("disk", weights_gib * GIB, cache_free_bytes=int(free_gib * GIB)) is expected


def test_checkpoints_that_are_not_there() -> None:
    assert "checkpoints" not in found(WELL)
    assert found(replace(WELL, missing_checkpoints=("/a", "/b")))["checkpoints"].seen == "not on this node: /a, /b"


@pytest.mark.parametrize(
    ("mib", "on_gpus", "on_laptop"), [(64, Level.FAIL, Level.WARN), (2048, Level.WARN, Level.WARN), (20_480, Level.OK, Level.OK)]
)
def test_shared_memory_matters_more_to_gpus(mib: int, on_gpus: Level, on_laptop: Level) -> None:
    assert level("shared memory", shm_bytes=mib << 20) is on_gpus
    assert level("shared memory", of=LAPTOP, shm_bytes=mib << 20) is on_laptop


@pytest.mark.parametrize(("files", "expected"), [(None, Level.OK), (65_536, Level.OK), (20_000, Level.WARN), (1024, Level.FAIL)])
def test_open_files(files: int | None, expected: Level) -> None:
    assert level("open files", open_files=files) is expected


@pytest.mark.parametrize(("count", "said"), [(0, "0 GiB"), (GIB // 2, "0.5 GiB"), (10 * GIB, "10 GiB"), (2000 * GIB, "2,000 GiB")])
def test_bytes_are_readable(count: int, said: str) -> None:
    assert gib(count) == said


def together(*nodes: NodeFacts, **skew_s: float) -> list[dict[str, Finding]]:
    names = {f"n{index}": one for index, one in enumerate(nodes)}
    return [{one.check: one for one in findings} for findings in cluster_findings(names, skew_s).values()]


def test_alike_nodes_are_well() -> None:
    for one in together(WELL, WELL, WELL):
        assert [finding.level for finding in one.values()] == [Level.OK]
    assert together(WELL) == [{}], "one node alone is like itself"
    assert together() == []


def test_node_with_other_versions_than_most() -> None:
    other = replace(WELL, versions=VERSIONS | {"vllm": "0.28.0"})
    first, _, third = together(WELL, WELL, other)
    assert (first["versions"].level, third["versions"].level) == (Level.OK, Level.FAIL)
    assert third["versions"].seen == "vllm 0.28.0, elsewhere 0.29.0"
    head, worker = together(WELL, other)
    assert (head["versions"].level, worker["versions"].level) == (Level.OK, Level.FAIL), "of two, the head's counts"


def test_what_is_missing_or_only_newer_is_a_warning() -> None:
    without = replace(LAPTOP, versions={name: VERSIONS[name] for name in ("llama-herd", "ray", "python")})
    newer = replace(WELL, report=replace(REPORT, driver="590.1"))
    _, _, head, warned = together(WELL, WELL, without, newer)
    assert (head["versions"].level, head["versions"].seen) == (
        Level.WARN,
        "vllm is missing, elsewhere 0.29.0; torch is missing, elsewhere 2.13.0",
    )
    assert (warned["versions"].level, warned["versions"].seen) == (Level.WARN, "driver 590.1, elsewhere 580.65.06")


def test_node_with_fewer_network_cards_than_most() -> None:
    seven = replace(WELL, ports=PORTS[:7])
    first, _, third = together(WELL, WELL, seven)
    assert "RDMA" not in first
    assert (third["RDMA"].level, third["RDMA"].seen) == (Level.FAIL, "7 ports active at full rate, elsewhere 8")
    assert all("RDMA" not in one for one in together(WELL, WELL, replace(LAPTOP, versions=VERSIONS))), "a head without GPU needs none"
    slow = replace(WELL, ports=(*PORTS[:7], replace(PORTS[7], gbit_s=100.0)))
    assert together(WELL, WELL, slow)[2]["RDMA"].level is Level.FAIL, "a port at a lower rate is as good as missing"
    without_fabric = cluster_findings({"a": WELL, "b": WELL, "c": seven}, {}, fabric=False)
    assert all(one.check != "RDMA" for one in without_fabric["c"]), "no engine leaves its node"


@given(st.floats(-1000, 1000))
def test_clocks_apart(seconds: float) -> None:
    head, worker = together(WELL, WELL, n1=seconds)
    assert "clock skew" not in head
    wanted = Level.FAIL if abs(seconds) > 5 else Level.WARN if abs(seconds) > 0.1 else Level.OK
    assert worker["clock skew"].level is wanted
    assert ("ahead of" in worker["clock skew"].seen) == (seconds > 0)


@pytest.mark.parametrize(("seconds", "uncertain", "left"), [(0.5, 0.2, 0.3), (-0.5, 0.2, -0.3), (0.1, 0.2, 0.0), (-0.1, 0.2, 0.0)])
def test_clocks_are_apart_only_beyond_what_their_reading_takes(seconds: float, uncertain: float, left: float) -> None:
    assert beyond(seconds, uncertain) == pytest.approx(left)

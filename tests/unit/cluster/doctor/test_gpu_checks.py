"""`cluster.doctor.gpu_checks`: what is found about a node's GPUs."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.catalogue.hardware import NODES
from cluster.doctor.facts import Expected, Finding, Level, NodeFacts, Xid, expected, worst
from cluster.doctor.gpu_checks import gpu_findings
from cluster.doctor.kernel_log import SICK
from cluster.doctor.nvidia_smi import gpu_report
from tests.unit.nvidia_smi_samples import A100, B200, H100, H100_NVL, H100_PCIE, H200, L40S, dgx, gpu, report
from tests.unit.samples import config, model

DGX = Expected(8, 79.1, True, "H100")
LINKS = ((26.562,) * 18,) * 8
KINDS = {"H100": H100, "H200": H200, "B200": B200, "A100": A100, "L40S": L40S}


def node(printed: str = "", **facts: Any) -> NodeFacts:
    return replace(NodeFacts("host", report=gpu_report(printed or dgx()), links=LINKS, xids=()), **facts)


def found(facts: NodeFacts, promised: Expected | None = DGX, idle: bool = True) -> dict[str, Finding]:
    return {one.check: one for one in gpu_findings(facts, promised, idle)}


def with_sick(**words: Any) -> NodeFacts:
    return node(report(*[gpu()] * 3, gpu(**words), *[gpu()] * 4))


@pytest.mark.parametrize("name", ["dgx-h100", "p5en.48xlarge", "dgx-b200", "dgx-a100", "g6e.48xlarge"])
def test_node_of_a_known_kind_is_well(name: Any) -> None:
    promised = expected(config(model(), hardware={"node": name}))
    assert promised is not None
    kind = KINDS[NODES[name].gpu.name]
    facts = node(dgx(kind), links=LINKS if promised.nvlink else ())
    assert worst(gpu_findings(facts, promised)) is Level.OK
    assert found(facts, promised)["GPUs"].seen == f"8 × {kind[0]}"
    assert promised.nvlink == (name != "g6e.48xlarge")


def test_without_gpu_nothing_is_checked() -> None:
    (only,) = gpu_findings(NodeFacts("laptop"), None)
    assert (only.level, only.seen) == (Level.NOT_CHECKED, "no GPU: not checked")


def test_gpus_that_are_promised_must_be_there() -> None:
    (only,) = gpu_findings(NodeFacts("host"), DGX)
    assert (only.check, only.level, only.seen.startswith("none of 8")) == ("GPUs", Level.FAIL, True)
    seven = found(node(report(*[gpu()] * 7)))["GPUs"]
    assert (seven.level, seven.seen) == (Level.FAIL, "7 × NVIDIA H100 80GB HBM3; the config has 8 a node")
    assert found(node(report(*[gpu()] * 9)))["GPUs"].level is Level.WARN
    assert found(node(report()), None)["GPUs"].seen == "none"
    assert found(node(report(gpu(), gpu(H200))), None)["GPUs"].level is Level.WARN


def test_driver_that_does_not_answer_is_sick_whoever_expects_what() -> None:
    for promised in (None, DGX):
        (only,) = gpu_findings(NodeFacts("host", driver_error="NVIDIA-SMI has failed"), promised)
        assert (only.check, only.level, "NVIDIA-SMI has failed" in only.seen) == ("driver", Level.FAIL, True)


@pytest.mark.parametrize(("built", "level"), [("13.0", Level.OK), ("12.8", Level.OK), ("14.1", Level.FAIL), ("", Level.OK)])
def test_driver_runs_the_cuda_that_torch_was_built_for(built: str, level: Level) -> None:
    assert found(node(versions={"torch CUDA": built}))["driver"].level is level


def test_driver_that_does_not_tell_its_cuda_is_believed() -> None:
    assert found(node(report(gpu(), cuda="N/A"), versions={"torch CUDA": "13.0"}), None)["driver"].level is Level.OK


def test_smaller_gpus_than_promised() -> None:
    small = found(node(dgx(("NVIDIA H100 MIG", 40320))))["GPU memory"]
    assert (small.level, small.seen.startswith("GPU 0, 1, 2, 3, 4, 5, 6, 7: 40,320 MiB")) == (Level.FAIL, True)


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ({"recovery": "N/A", "dram": 1}, "GPU 3: uncorrectable ECC errors since the last reset"),
        ({"recovery": "N/A", "sram_secded": 2}, "GPU 3: uncorrectable ECC errors since the last reset"),
        ({"recovery": "N/A", "pending": "Yes", "dram": 1}, "GPU 3: a memory row waits to be remapped"),
        ({"recovery": "Reset", "pending": "Yes"}, "GPU 3: the driver asks for: Reset"),
        ({"recovery": "Drain P2P"}, "GPU 3: the driver asks for: Drain P2P"),
        ({"worn": "Yes"}, "GPU 3: more uncorrectable SRAM errors than NVIDIA accepts"),
        ({"failure": "Yes", "pending": "Yes"}, "GPU 3: a memory row could not be remapped"),
    ],
)
def test_memory_errors_the_worst_first(words: dict[str, Any], seen: str) -> None:
    ecc = found(with_sick(**words))["ECC"]
    assert (ecc.level, ecc.seen) == (Level.FAIL, seen)
    assert ecc.advice.startswith("drain the node")


@pytest.mark.parametrize("words", [{"dram": 1}, {"pending": "Yes"}])
def test_contained_memory_error_after_which_the_driver_asks_for_nothing_is_no_sick_node(words: dict[str, Any]) -> None:
    ecc = found(with_sick(**words))["ECC"]
    assert (ecc.level, ecc.seen.startswith("GPU 3: "), "the driver asks for nothing" in ecc.advice) == (Level.WARN, True, True)


@pytest.mark.parametrize(
    ("code", "recovery", "level"),
    [
        (94, "None", Level.WARN),
        (48, "None", Level.WARN),
        (95, "None", Level.WARN),
        (48, "Reset", Level.FAIL),
        (48, "N/A", Level.FAIL),
        (79, "None", Level.FAIL),
    ],
)
def test_memory_error_in_the_log_counts_until_the_driver_says_that_it_is_over(code: int, recovery: str, level: Level) -> None:
    facts = node(report(gpu(bus="00000000:3B:00.0", recovery=recovery), gpu()), xids=(Xid(code, "0000:3b:00", 60.0, "text"),))
    assert found(facts, None)["Xid errors"].level is level
    elsewhere = replace(facts, xids=(Xid(48, "0000:5d:00", 60.0, "text"),))
    assert found(elsewhere, None)["Xid errors"].level is Level.FAIL, "another GPU, of which the driver says nothing"


def test_ecc_that_is_disabled_is_found() -> None:
    off = found(with_sick(ecc="Disabled"))["ECC mode"]
    assert (off.level, off.seen) == (Level.WARN, "GPU 3: ECC is disabled")
    assert not {"ECC mode"} & found(with_sick(ecc="N/A")).keys(), "a card for gamers has none"


@pytest.mark.parametrize(("promised", "level"), [(DGX, Level.FAIL), (None, Level.WARN)])
def test_mig_that_is_on_is_found(promised: Expected | None, level: Level) -> None:
    mig = found(with_sick(mig="Enabled"), promised)["MIG"]
    assert (mig.level, mig.seen.startswith("GPU 3: MIG is on")) == (level, True)
    assert "MIG" not in found(node())


def test_memory_that_somebody_else_has_is_found_where_no_engine_runs() -> None:
    taken = node(report(*[gpu(used=79_000)] * 8))
    in_use = found(taken)["GPU in use"]
    assert in_use.level is Level.FAIL
    assert in_use.seen == "GPU 0, 1, 2, 3, 4, 5, 6, 7: up to 79,000 of 81,559 MiB in use, and no engine of Ray's is there"
    assert "GPU in use" not in found(taken, idle=False), "an engine's"
    assert "GPU in use" not in found(node(report(*[gpu(used=900)] * 8))), "a monitor's"


@pytest.mark.parametrize(
    ("kind", "promised", "level"),
    [
        (H200, "H100", Level.FAIL),
        (("NVIDIA H20", 97_871), "H100", Level.FAIL),
        (H100_PCIE, "H100", Level.WARN),
        (H100_NVL, "H100", Level.WARN),
        (H200, "H20", Level.FAIL),
        (A100, "A100-40", Level.WARN),
        (("NVIDIA A100-SXM4-40GB", 40_960), "A100", Level.WARN),
        (H100, "H100", None),
        (H100_PCIE, "H100-PCIe", None),
        (H200, None, None),
        (("NVIDIA Something 9000", 81_559), "H100", None),
        (("NVIDIA GB200", 189_471), "B200", Level.FAIL),
    ],
)
def test_another_gpu_than_the_config_says_is_found(kind: tuple[str, int], promised: str | None, level: Level | None) -> None:
    said = found(node(dgx(kind)), replace(DGX, gpu=promised)).get("GPU kind")
    assert (said and said.level) is level
    assert said is None or said.seen.startswith(f"{kind[0]}; the config has {promised}")


@pytest.mark.parametrize("kind", [H100_PCIE, H100_NVL])
def test_card_whose_nvlink_is_a_bridge_is_not_sick_without_one(kind: tuple[str, int]) -> None:
    facts = node(dgx(kind), links=())
    assert worst(gpu_findings(facts, DGX)) is Level.WARN
    nvlink = found(facts)["NVLink"]
    assert (nvlink.level, nvlink.seen) == (Level.WARN, "no NVLink bridge is up")


def test_single_gpu_needs_no_nvlink() -> None:
    assert "NVLink" not in found(node(report(gpu()), links=()), replace(DGX, gpus=1))


@pytest.mark.parametrize(("libcuda", "level"), [("13.0", Level.OK), ("12.4", Level.FAIL), ("", Level.FAIL)])
def test_older_driver_runs_a_newer_cuda_by_its_compatibility_package(libcuda: str, level: Level) -> None:
    said = found(node(report(gpu(), driver="550.54", cuda="12.4"), versions={"torch CUDA": "13.0"}, libcuda=libcuda), None)["driver"]
    assert (said.level, "compatibility" in said.seen) == (level, level is Level.OK)


def test_log_that_is_closed_in_a_container_says_how_to_open_it() -> None:
    said = found(node(xids=None))["Xid errors"]
    assert (said.level, "--cap-add=SYSLOG" in said.advice, "systemd-journal" in said.advice) == (Level.NOT_CHECKED, True, True)


@given(st.integers(0, 200), st.floats(0, 1e7))
def test_only_new_errors_that_want_a_reset_make_a_node_sick(code: int, age_s: float) -> None:
    level = found(node(xids=(Xid(code, "0000:3b:00", age_s, "text"),)))["Xid errors"].level
    assert (level is Level.FAIL) == (code in SICK and age_s <= 86_400)


def test_errors_are_told_with_their_meaning() -> None:
    new, old, own = Xid(79, "0000:3b:00", 3600.0, "x"), Xid(48, "0000:3b:00", 90_000.0, "x"), Xid(31, "0000:3b:00", 1.0, "x")
    told = found(node(xids=(own, new)))["Xid errors"]
    assert (told.level, told.seen) == (Level.FAIL, "Xid 79 on 0000:3b:00 1.0 h ago (GPU has fallen off the bus)")
    assert found(node(xids=(old, own)))["Xid errors"].level is Level.WARN, "a day later it may have been reset"
    assert found(node(xids=(own,)))["Xid errors"].level is Level.OK, "a program's own fault"
    switch = Xid(24007, "0000:c1:00.0", 60.0, "Fatal, Link 30 sourcetrack timeout", switch=True)
    seen = found(node(xids=(switch, replace(switch, code=20034))))["Xid errors"].seen
    assert seen == "SXid 20034 on 0000:c1:00.0 0.0 h ago (Fatal, Link 30 sourcetrack timeout) and 1 more"


def test_log_that_may_not_be_read_is_not_checked() -> None:
    assert found(node(xids=None))["Xid errors"].level is Level.NOT_CHECKED


@pytest.mark.parametrize(
    ("links", "level", "seen"),
    [
        (LINKS, Level.OK, "18 links per GPU at 26.562 GB/s"),
        (((26.562,) * 18,) * 7 + ((26.562,) * 17 + (0.0,),), Level.FAIL, "links up at full rate: GPU 7: 17 of 18"),
        (((26.562,) * 18, (1.562,) * 2 + (26.562,) * 16), Level.FAIL, "links up at full rate: GPU 1: 16 of 18"),
        (((26.562,) * 18, ()), Level.FAIL, "links up at full rate: GPU 1: 0 of 18"),
        ((), Level.FAIL, "no NVLink is up"),
        (((0.0,) * 18,) * 8, Level.FAIL, "no NVLink is up"),
    ],
)
def test_links(links: Any, level: Level, seen: str) -> None:
    nvlink = found(node(links=links))["NVLink"]
    assert (nvlink.level, nvlink.seen) == (level, seen)


@pytest.mark.parametrize("promised", [None, Expected(8, 44.5, False)])
def test_without_nvlink_it_is_missed_only_where_it_is_promised(promised: Expected | None) -> None:
    assert "NVLink" not in found(node(dgx(L40S), links=()), promised)
    assert "NVLink" not in found(node(dgx(L40S), links=((0.0, 0.0),) * 8), promised)


@pytest.mark.parametrize(
    ("state", "status", "level"),
    [
        ("Completed", "Success", Level.OK),
        ("Completed", "N/A", Level.OK),
        ("Completed", "Insufficient Resources", Level.FAIL),
        ("In Progress", "N/A", Level.FAIL),
        ("Not Started", "N/A", Level.FAIL),
    ],
)
def test_fabric_manager_by_its_effect(state: str, status: str, level: Level) -> None:
    fabric = found(with_sick(state=state, status=status))["fabric"]
    assert fabric.level is level
    assert level is Level.OK or fabric.seen.startswith("GPU 3: ")


def test_gpus_without_switch_have_no_fabric() -> None:
    assert "fabric" not in found(node(report(gpu(L40S, state="N/A", status="N/A"))), None)


def test_narrow_lanes_and_low_clocks_are_warned_of() -> None:
    warned = found(with_sick(width="8x", thermal="Active"))
    assert (warned["PCIe"].level, warned["PCIe"].seen) == (Level.WARN, "GPU 3: 8 of 16 lanes")
    assert (warned["clocks"].level, warned["clocks"].seen) == (Level.WARN, "GPU 3: too hot")
    assert not {"PCIe", "clocks"} & found(node(report(gpu(width="N/A"))), None).keys()

"""`cluster.doctor.amd_smi`: what an AMD node says, and what is found about it."""

import json
from dataclasses import replace
from typing import Any

import pytest

from cluster.doctor.amd_smi import gpu_report
from cluster.doctor.facts import Finding, Level, NodeFacts, expected, worst
from cluster.doctor.gpu_checks import gpu_findings
from cluster.doctor.nvidia_smi import NotReadable
from tests.unit.samples import config, model

PROMISED = expected(config(model(), hardware={"node": "mi300x-8"}))


def static(count: int = 8, market_name: str = "AMD Instinct MI300X") -> list[dict[str, Any]]:
    """As `amd-smi static --json` has it on an MI300X (ROCm 6.3 and 7), shortened."""
    return [
        {
            "gpu": index,
            "asic": {"market_name": market_name, "vendor_id": "0x1002", "device_id": "0x74a1", "target_graphics_version": "gfx942"},
            "bus": {"bdf": f"0000:{index:02x}:00.0"},
            "driver": {"name": "amdgpu", "version": "6.10.5"},
            "vram": {"type": "HBM3", "vendor": "N/A", "size": {"value": 196592, "unit": "MB"}},
        }
        for index in range(count)
    ]


def metrics(count: int = 8, used: Any = 283, errors: Any = 0) -> list[dict[str, Any]]:
    memory = {"total_vram": {"value": 196592, "unit": "MB"}, "used_vram": {"value": used, "unit": "MB"}}
    return [{"gpu": index, "mem_usage": memory, "ecc": {"total_uncorrectable_count": errors}} for index in range(count)]


def facts(said: Any, measured: Any = None) -> NodeFacts:
    return NodeFacts("host", report=gpu_report(json.dumps(said), json.dumps(measured) if measured else None), xids=())


def found(one: NodeFacts) -> dict[str, Finding]:
    return {finding.check: finding for finding in gpu_findings(one, PROMISED, idle=True)}


@pytest.mark.parametrize("wrapped", [False, True], ids=["ROCm 6", "ROCm 7"])
def test_mi300x_is_examined_through_amd_smi_and_not_sick(wrapped: bool) -> None:
    said, measured = ({"gpu_data": one} if wrapped else one for one in (static(), metrics()))
    well = facts(said, measured)
    assert worst(gpu_findings(well, PROMISED, idle=True)) is Level.OK
    told = found(well)
    assert (told["GPUs"].seen, told["GPU memory"].seen) == ("8 × AMD Instinct MI300X", "196,592 MiB each")
    assert (told["driver"].seen, told["ECC"].seen) == ("amdgpu 6.10.5", "no uncorrectable error")
    assert told["Xid errors"].level is Level.NOT_CHECKED
    assert "NVLink" not in told, "its links are not read"


def test_mi300x_without_amd_smi_is_not_examined_and_not_sick() -> None:
    (only,) = gpu_findings(NodeFacts("host"), PROMISED)
    assert (only.level, only.seen) == (Level.NOT_CHECKED, "not examined: amd-smi is not installed")


def test_what_is_the_matter_with_an_amd_node_is_found() -> None:
    assert found(facts(static(7), metrics(7)))["GPUs"].level is Level.FAIL
    assert found(facts(static(), metrics(used=180_000)))["GPU in use"].level is Level.FAIL
    assert found(facts(static(), metrics(errors=2)))["ECC"].level is Level.WARN
    assert found(facts(static(market_name="AMD Instinct MI325X")))["GPU kind"].level is Level.FAIL
    silent = replace(facts(static()), report=None, driver_error="ERROR:root:Unable to get devices, driver not initialized")
    assert found(silent)["driver"].level is Level.FAIL


def test_fields_that_are_not_there_are_none() -> None:
    report = gpu_report(json.dumps([{"gpu": 0, "vram": {"size": "N/A"}, "driver": "N/A"}]), json.dumps([{"gpu": 0, "ecc": "N/A"}]))
    (one,) = report.gpus
    assert (report.driver, report.amd, one.name, one.memory_mib, one.used_mib, one.bus) == ("unknown", True, "unknown", 0, 0, "")
    assert gpu_report("WARNING: no group render\n" + json.dumps(static(1)), "rubbish {").gpus[0].memory_mib == 196_592


@pytest.mark.parametrize(
    ("printed", "said"), [("ERROR:root:Unable to get devices", "ERROR:root:Unable"), ("", "it printed nothing"), ('{"a": 1}', "{")]
)
def test_complaint_is_told(printed: str, said: str) -> None:
    with pytest.raises(NotReadable) as refused:
        gpu_report(printed, None)
    assert str(refused.value).startswith(said)

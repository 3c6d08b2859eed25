"""`cluster.doctor.nvidia_smi` and `cluster.doctor.kernel_log`: what tools print, as facts."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.doctor.kernel_log import HARMLESS, SICK, is_harmless, is_sick, xids
from cluster.doctor.nvidia_smi import NotReadable, gpu_report, links
from tests.unit.nvidia_smi_samples import A100, B200, H200, dgx, gpu, nvlinks, report

#: As systems print them (stas00/ml-engineering, NVIDIA's fabric manager guide).
LOG = """\
[    0.000000] Linux version 6.8.0
[  100.500000] NVRM: Xid (PCI:0000:10:1c): 63, pid=1896, Row Remapper: New row marked for remapping, reset gpu to activate.
[  200.000000] NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.
[  300.000000] NVRM: Xid (0000:01:00): 31, Ch 0000000b, engmask 00000120, intr 10000000
[  400.000000] nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 24007, Fatal, Link 30 sourcetrack timeout error (First)
[  401.000000] nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 11004, Non-fatal, Link 46 ingress invalid ACL
"""


@pytest.mark.parametrize("kind", [H200, B200, A100])
def test_healthy_node(kind: tuple[str, int]) -> None:
    found = gpu_report(dgx(kind))
    assert (found.driver, found.cuda, len(found.gpus)) == ("580.65.06", "13.0", 8)
    one = found.gpus[3]
    assert (one.index, one.name, one.memory_mib) == (3, *kind)
    assert (one.uncorrectable_errors, one.sram_worn, one.remap_pending, one.remap_failed, one.recovery) == (0, False, False, False, None)
    assert (one.fabric_state, one.fabric_status, one.width, one.most_width, one.slowdowns) == ("Completed", "Success", 16, 16, ())
    assert (one.recovered, one.bus, one.used_mib, one.mig, one.ecc) == (True, "0000:19:00", 1, False, True)


def test_everything_that_can_be_the_matter_is_read() -> None:
    memory = gpu(sram_parity=1, sram_secded=2, dram=4, worn="Yes", pending="Yes", failure="Yes", recovery="Drain and Reset")
    rest = gpu(state="In Progress", status="N/A", width="8x", thermal="Active", brake="Active")
    one, other = gpu_report(report(memory, rest)).gpus
    assert one.uncorrectable_errors == 7, "what was corrected does not count, nor what was before the last reset"
    assert (one.sram_worn, one.remap_pending, one.remap_failed, one.recovery) == (True, True, True, "Drain and Reset")
    assert (other.fabric_state, other.fabric_status, other.width, other.slowdowns) == ("In Progress", None, 8, ("too hot", "power brake"))


def test_older_drivers_say_less() -> None:
    older = (
        gpu(reset="Yes")
        .replace("<gpu_recovery_action>None</gpu_recovery_action>", "")
        .replace("clocks_event_reason", "clocks_throttle_reason")
    )
    (one,) = gpu_report(report(older.replace("hw_slowdown>Not ", "hw_slowdown>"), driver="535.129.03")).gpus
    assert (one.recovery, one.slowdowns) == ("GPU Reset", ("held down by the board",))
    bare = gpu_report("<nvidia_smi_log><gpu/></nvidia_smi_log>")
    assert (bare.driver, bare.gpus[0].name, bare.gpus[0].memory_mib, bare.gpus[0].uncorrectable_errors) == ("unknown", "unknown", 0, 0)
    assert (bare.gpus[0].width, bare.gpus[0].fabric_state, bare.gpus[0].recovery) == (None, None, None)
    assert (bare.gpus[0].recovered, bare.gpus[0].bus, bare.gpus[0].mig, bare.gpus[0].ecc) == (False, "", None, None)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (
            "NVIDIA-SMI has failed because it couldn't\n communicate with the NVIDIA driver.\n",
            "NVIDIA-SMI has failed because it couldn't communi",
        ),
        ("", "it printed nothing"),
    ],
)
def test_complaint_is_told(printed: str, said: str) -> None:
    with pytest.raises(NotReadable) as refused:
        gpu_report(printed)
    assert str(refused.value).startswith(said)


@given(st.text(max_size=200))
def test_whatever_is_printed_is_a_report_or_a_complaint(printed: str) -> None:
    with contextlib.suppress(NotReadable):
        gpu_report(printed)
    assert isinstance(links(printed), tuple)
    assert all(xid.age_s >= 0 for xid in xids(printed, 0.0))


def test_links_with_their_rates() -> None:
    up, down = "26.562 GB/s", "<inactive>"
    assert links(nvlinks([up, up], [up, down], ["1.562 GB/s", "inactive"])) == ((26.562, 26.562), (26.562, 0.0), (1.562, 0.0))
    assert links(nvlinks([], [])) == (), "GPUs without NVLink"
    assert links("NVML: Unable to retrieve NVLink information as all links are inActive\n") == ()


def test_errors_of_the_kernel_log() -> None:
    found = xids(LOG, uptime_s=3700.0)
    assert [(one.code, one.device, one.switch) for one in found] == [
        (63, "0000:10:1c", False),
        (79, "0000:3b:00", False),
        (31, "0000:01:00", False),
        (24007, "0000:c1:00.0", True),
        (11004, "0000:c1:00.0", True),
    ]
    assert [one.age_s for one in found[:2]] == [3599.5, 3500.0]
    assert [is_sick(one) for one in found] == [False, True, False, True, False]
    assert [is_harmless(one) for one in found] == [False, False, True, False, False]
    assert found[0].text.endswith("reset gpu to activate.")


def test_no_error_is_both_sick_and_harmless() -> None:
    assert not set(SICK) & set(HARMLESS)

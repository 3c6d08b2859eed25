"""Errors of a node's GPUs: memory (ECC), the kernel's log (Xid), and NVIDIA's own diagnosis (dcgmi).

Decides which of them mean that a node must not serve. Where the driver itself says what has to be done (`gpu_recovery_action`, since
driver 565), its word goes before ours: one contained error costs a program, and no node
(docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt, "Error Recovery and Response Flags").
"""

from collections.abc import Iterator, Sequence

from cluster.doctor.dcgm import is_sick as is_sick_test
from cluster.doctor.facts import Finding, GpuReport, GpuState, Level, NodeFacts, Xid
from cluster.doctor.kernel_log import OF_MEMORY, SICK, is_harmless, is_sick

ECC, XID, DIAGNOSIS = "ECC", "Xid errors", "dcgmi"
#: A GPU may have been reset since an older error; what a reset does not mend shows elsewhere too.
FRESH_S = 86_400.0
RESET = "drain the node, then `nvidia-smi --gpu-reset` or reboot"
EXCHANGE = "drain the node and have the GPU exchanged"
WATCH = "the driver asks for nothing: the program that had the memory is over, others go on; reset the GPU when the node is drained anyway"


def error_findings(facts: NodeFacts, report: GpuReport) -> Iterator[Finding]:
    """Yields what errors of the GPUs say about one node."""
    yield _memory_errors(report)
    yield from _ecc_off(report)
    yield _xids(facts, report)
    yield from _diagnosis(facts)


def named(gpus: Sequence[GpuState]) -> str:
    """Names GPUs by their numbers."""
    return f"GPU {', '.join(str(gpu.index) for gpu in gpus)}"


def _memory_errors(report: GpuReport) -> Finding:
    """Returns the worst that is the matter with the memory of any GPU, and what the driver itself asks for."""
    gpus = report.gpus
    pending, hit = [gpu for gpu in gpus if gpu.remap_pending], [gpu for gpu in gpus if gpu.uncorrectable_errors]
    waits, errors = "a memory row waits to be remapped", "uncorrectable ECC errors since the last reset"
    complaints = (
        ([gpu for gpu in gpus if gpu.remap_failed], Level.FAIL, "a memory row could not be remapped", EXCHANGE),
        ([gpu for gpu in gpus if gpu.sram_worn], Level.FAIL, "more uncorrectable SRAM errors than NVIDIA accepts", EXCHANGE),
        ([gpu for gpu in gpus if gpu.recovery], Level.FAIL, f"the driver asks for: {_asked(gpus)}", RESET),
        ([gpu for gpu in pending if not gpu.recovered], Level.FAIL, waits, RESET),
        ([gpu for gpu in hit if not gpu.recovered], Level.FAIL, errors, RESET),
        (pending, Level.WARN, waits, WATCH),
        (hit, Level.WARN, errors, WATCH),
    )
    for affected, level, what, way_out in complaints:
        if affected:
            return Finding(ECC, level, f"{named(affected)}: {what}", way_out)
    return Finding(ECC, Level.OK, "no uncorrectable error" if report.amd else "no uncorrectable error, no row to be remapped")


def _asked(gpus: tuple[GpuState, ...]) -> str:
    return ", ".join(dict.fromkeys(gpu.recovery for gpu in gpus if gpu.recovery))


def _ecc_off(report: GpuReport) -> Iterator[Finding]:
    off = [gpu for gpu in report.gpus if gpu.ecc is False]
    if off:
        way_out = "`nvidia-smi --ecc-config=1` and reboot: without it a memory error makes wrong tokens, and nobody knows"
        yield Finding("ECC mode", Level.WARN, f"{named(off)}: ECC is disabled", way_out)


def _xids(facts: NodeFacts, report: GpuReport) -> Finding:
    if report.amd:
        return Finding(XID, Level.NOT_CHECKED, "AMD's errors in the kernel's log are not known here: see `dmesg | grep -i amdgpu`")
    if facts.xids is None:
        way_out = (
            "let the user of Ray read it: group systemd-journal or `sysctl kernel.dmesg_restrict=0`; a container needs --cap-add=SYSLOG, "
            "and root or `sudo dmesg` in it"
        )
        return Finding(XID, Level.NOT_CHECKED, "the kernel's log cannot be read; what the driver asks for is told under ECC", way_out)
    told = [xid for xid in facts.xids if not is_harmless(xid)]
    bad = [xid for xid in told if is_sick(xid) and xid.age_s <= FRESH_S and not _is_over(xid, report)]
    if bad:
        return Finding(XID, Level.FAIL, _told(bad), RESET)
    if told:
        return Finding(XID, Level.WARN, _told(told), "look them up in NVIDIA's Xid catalogue")
    return Finding(XID, Level.OK, "none since the machine started")


def _is_over(xid: Xid, report: GpuReport) -> bool:
    """Tells whether the driver of the GPU with a memory error says that nothing has to be done any more."""
    return xid.code in OF_MEMORY and any(gpu.recovered and gpu.bus and xid.device.lower().startswith(gpu.bus) for gpu in report.gpus)


def _told(xids: list[Xid]) -> str:
    last = xids[-1]
    what = "SXid" if last.switch else "Xid"
    meaning = last.text if last.switch else SICK.get(last.code, last.text)
    more = f" and {len(xids) - 1} more" if len(xids) > 1 else ""
    return f"{what} {last.code} on {last.device} {last.age_s / 3600:.1f} h ago ({meaning}){more}"


def _diagnosis(facts: NodeFacts) -> Iterator[Finding]:
    """Yields the findings of DCGM's level 1: libraries, permissions, retired pages, InfoROM. Silent where it is not installed."""
    if facts.diagnosis:
        sick = [test for test in facts.diagnosis if is_sick_test(test)]
        worst = (sick or facts.diagnosis)[0]
        more = f" and {len(facts.diagnosis) - 1} more" if len(facts.diagnosis) > 1 else ""
        way_out = "drain the node, then `dcgmi diag -r 2`" if sick else "a setting: `dcgmi diag -r 1` says which"
        yield Finding(DIAGNOSIS, Level.FAIL if sick else Level.WARN, f"{worst.name}: {worst.said}{more}", way_out)
    elif facts.diagnosis is not None:
        yield Finding(DIAGNOSIS, Level.OK, "diag -r 1: all passed")

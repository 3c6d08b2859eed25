"""Whether a node's GPUs may serve: driver, number, memory, ECC, Xid errors, NVLink, NVSwitch fabric, PCIe.

Decides the findings about one node's GPUs. Whoever has no GPU and is not expected to have any is not checked.
"""

from collections.abc import Iterator

from cluster.doctor.facts import Expected, Finding, GpuReport, GpuState, Level, NodeFacts, Xid
from cluster.doctor.kernel_log import SICK, is_harmless, is_sick

GPUS, DRIVER, MEMORY, ECC, XID, NVLINK, FABRIC, PCIE = "GPUs", "driver", "GPU memory", "ECC", "Xid errors", "NVLink", "fabric", "PCIe"
#: What the driver reports is a per cent more than torch sees (81,559 MiB and 79.1 GiB on an H100).
LEAST_MEMORY = 0.97
#: A GPU may have been reset since an older error; what a reset does not mend shows elsewhere too.
FRESH_S = 86_400.0
#: Links of one GPU are all equally fast; a link that came up at a lower rate shows a twentieth.
LEAST_LINK = 0.9
RESET = "drain the node, then `nvidia-smi --gpu-reset` or reboot"
EXCHANGE = "drain the node and have the GPU exchanged"


def gpu_findings(facts: NodeFacts, expected: Expected | None) -> Iterator[Finding]:
    """Everything about the GPUs of one node.

    Args:
        facts: what was read.
        expected: what the config promises; none where it does not say, or where the node is a head without GPU.
    """
    if facts.driver_error is not None:
        way_out = "load the driver (`modprobe nvidia`, `dmesg | grep NVRM`), or reboot"
        yield Finding(DRIVER, Level.FAIL, f"nvidia-smi does not answer: {facts.driver_error}", way_out)
    elif facts.report is None and expected is None:
        yield Finding(GPUS, Level.NOT_CHECKED, "no GPU: not checked")
    elif facts.report is None:
        way_out = "install NVIDIA's driver, start the container with GPUs, or correct `hardware` in the config"
        yield Finding(GPUS, Level.FAIL, f"none of {expected and expected.gpus}: nvidia-smi is not installed", way_out)
    if facts.report is not None:
        yield from _reported(facts, facts.report, expected)


def _reported(facts: NodeFacts, report: GpuReport, expected: Expected | None) -> Iterator[Finding]:
    yield _driver(facts, report)
    yield _count(report, expected)
    yield from _memory(report, expected)
    yield _ecc(report)
    yield _xids(facts)
    yield from _links(facts, expected)
    yield from _fabric(report)
    yield from _pcie(report)


def _driver(facts: NodeFacts, report: GpuReport) -> Finding:
    """vLLM's CUDA needs a driver of the same major version at least."""
    seen, built = f"{report.driver}, CUDA {report.cuda}", facts.versions.get("torch CUDA", "")
    if built and _major(report.cuda) and _major(built) > _major(report.cuda):
        way_out = "install a newer driver, or a vLLM that was built for this CUDA"
        return Finding(DRIVER, Level.FAIL, f"{seen}; torch was built for CUDA {built}", way_out)
    return Finding(DRIVER, Level.OK, seen)


def _major(version: str) -> int:
    number = version.partition(".")[0]
    return int(number) if number.isdecimal() else 0


def _count(report: GpuReport, expected: Expected | None) -> Finding:
    names = dict.fromkeys(gpu.name for gpu in report.gpus)
    seen = f"{len(report.gpus)} × {', '.join(names)}" if names else "none"
    if expected is not None and len(report.gpus) < expected.gpus:
        way_out = "look for `fallen off the bus` in `dmesg`, reboot; a container must be given all GPUs"
        return Finding(GPUS, Level.FAIL, f"{seen}; the config has {expected.gpus} a node", way_out)
    if expected is not None and len(report.gpus) > expected.gpus:
        return Finding(GPUS, Level.WARN, f"{seen}; the config has {expected.gpus} a node", "correct `hardware` in the config")
    if len(names) > 1:
        return Finding(GPUS, Level.WARN, f"{seen}: not all alike", "tensor parallel runs as fast as the slowest")
    return Finding(GPUS, Level.OK, seen)


def _memory(report: GpuReport, expected: Expected | None) -> Iterator[Finding]:
    least = LEAST_MEMORY * expected.memory_gib * 1024 if expected else 0.0
    small = [gpu for gpu in report.gpus if gpu.memory_mib < least]
    if expected and small:
        seen = f"{_named(small)}: {min(gpu.memory_mib for gpu in small):,} MiB; the config has {expected.memory_gib:g} GiB a GPU"
        yield Finding(MEMORY, Level.FAIL, seen, "correct `hardware` in the config, or turn MIG off")
    elif report.gpus:
        yield Finding(MEMORY, Level.OK, f"{min(gpu.memory_mib for gpu in report.gpus):,} MiB each")


def _named(gpus: list[GpuState]) -> str:
    return f"GPU {', '.join(str(gpu.index) for gpu in gpus)}"


def _ecc(report: GpuReport) -> Finding:
    """The worst that is the matter with the memory of any GPU, and what the driver itself asks for."""
    gpus = report.gpus
    complaints = (
        ([gpu for gpu in gpus if gpu.remap_failed], "a memory row could not be remapped", EXCHANGE),
        ([gpu for gpu in gpus if gpu.sram_worn], "more uncorrectable SRAM errors than NVIDIA accepts", EXCHANGE),
        ([gpu for gpu in gpus if gpu.recovery], f"the driver asks for: {_asked(gpus)}", RESET),
        ([gpu for gpu in gpus if gpu.remap_pending], "a memory row waits to be remapped", RESET),
        ([gpu for gpu in gpus if gpu.uncorrectable_errors], "uncorrectable ECC errors since the last reset", RESET),
    )
    for affected, what, way_out in complaints:
        if affected:
            return Finding(ECC, Level.FAIL, f"{_named(affected)}: {what}", way_out)
    return Finding(ECC, Level.OK, "no uncorrectable error, no row to be remapped")


def _asked(gpus: tuple[GpuState, ...]) -> str:
    return ", ".join(dict.fromkeys(gpu.recovery for gpu in gpus if gpu.recovery))


def _xids(facts: NodeFacts) -> Finding:
    if facts.xids is None:
        way_out = "let the user of Ray read it: `sysctl kernel.dmesg_restrict=0`, or the group systemd-journal"
        return Finding(XID, Level.NOT_CHECKED, "the kernel's log cannot be read", way_out)
    told = [xid for xid in facts.xids if not is_harmless(xid)]
    bad = [xid for xid in told if is_sick(xid) and xid.age_s <= FRESH_S]
    if bad:
        return Finding(XID, Level.FAIL, _told(bad), RESET)
    if told:
        return Finding(XID, Level.WARN, _told(told), "look them up in NVIDIA's Xid catalogue")
    return Finding(XID, Level.OK, "none since the machine started")


def _told(xids: list[Xid]) -> str:
    last = xids[-1]
    what = "SXid" if last.switch else "Xid"
    meaning = last.text if last.switch else SICK.get(last.code, last.text)
    more = f" and {len(xids) - 1} more" if len(xids) > 1 else ""
    return f"{what} {last.code} on {last.device} {last.age_s / 3600:.1f} h ago ({meaning}){more}"


def _links(facts: NodeFacts, expected: Expected | None) -> Iterator[Finding]:
    usual, most = max(map(len, facts.links), default=0), max((rate for gpu in facts.links for rate in gpu), default=0.0)
    if most == 0:
        if expected is not None and expected.nvlink:
            yield Finding(NVLINK, Level.FAIL, "no NVLink is up", "start nvidia-fabricmanager, see `nvidia-smi nvlink -s` and `topo -m`")
        return
    bad = [index for index, gpu in enumerate(facts.links) if len(gpu) < usual or min(gpu) < LEAST_LINK * most]
    if bad:
        down = "; ".join(f"GPU {index}: {sum(rate >= LEAST_LINK * most for rate in facts.links[index])} of {usual}" for index in bad)
        yield Finding(NVLINK, Level.FAIL, f"links up at full rate: {down}", f"{RESET}; if they stay down, have the GPU exchanged")
    else:
        yield Finding(NVLINK, Level.OK, f"{usual} links per GPU at {most:g} GB/s")


def _fabric(report: GpuReport) -> Iterator[Finding]:
    """Fabric manager, by its effect: a GPU behind NVSwitches is registered with it, or CUDA does not start."""
    states = [(gpu, gpu.fabric_state, gpu.fabric_status) for gpu in report.gpus if gpu.fabric_state is not None]
    bad = [(gpu, state, status) for gpu, state, status in states if state != "Completed" or status not in (None, "Success")]
    if bad:
        _, state, status = bad[0]
        seen = f"{_named([gpu for gpu, _, _ in bad])}: {state}{f', {status}' if status else ''}"
        yield Finding(FABRIC, Level.FAIL, seen, "`systemctl restart nvidia-fabricmanager`; it must be of the driver's very version")
    elif states:
        yield Finding(FABRIC, Level.OK, "completed on every GPU")


def _pcie(report: GpuReport) -> Iterator[Finding]:
    narrow = [gpu for gpu in report.gpus if gpu.width is not None and gpu.most_width is not None and gpu.width < gpu.most_width]
    if narrow:
        lanes = f"{_named(narrow)}: {narrow[0].width} of {narrow[0].most_width} lanes"
        yield Finding(PCIE, Level.WARN, lanes, "reseat the GPU; weights load and images copy slower")
    held = [gpu for gpu in report.gpus if gpu.slowdowns]
    if held:
        why = ", ".join(dict.fromkeys(reason for gpu in held for reason in gpu.slowdowns))
        yield Finding("clocks", Level.WARN, f"{_named(held)}: {why}", "look at cooling and power supply")

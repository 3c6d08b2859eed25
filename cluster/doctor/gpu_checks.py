"""Whether a node's GPUs may serve: driver, number, kind, memory, NVLink, NVSwitch fabric, PCIe.

Decides the findings about one node's GPUs; their errors are judged in `cluster.doctor.gpu_errors`. A node that has no GPU and is not
expected to have any is not checked.
"""

import re
from collections.abc import Iterator

from cluster.catalogue.gpus import GPUS as KNOWN
from cluster.catalogue.gpus import gpu_named
from cluster.doctor.facts import Expected, Finding, GpuReport, GpuState, Level, NodeFacts
from cluster.doctor.gpu_errors import RESET, error_findings, named

GPUS, DRIVER, MEMORY, NVLINK, FABRIC, PCIE = "GPUs", "driver", "GPU memory", "NVLink", "fabric", "PCIe"
#: What the driver reports is a per cent more than torch sees (81,559 MiB and 79.1 GiB on an H100).
LEAST_MEMORY = 0.97
#: An engine takes 92 % of a GPU's memory as vLLM has it; what a display, a monitor or an idle context takes fits beside it.
MOST_IN_USE = 0.05
#: Links of one GPU are all equally fast; a link that came up at a lower rate shows a twentieth.
LEAST_LINK = 0.9
#: Cards whose NVLink is a bridge that is bought apart, by their product names: NVIDIA H100 PCIe, NVIDIA H200 NVL, NVIDIA A100 80GB PCIe.
_BRIDGED = re.compile(r"\b(pcie|nvl)\b", re.IGNORECASE)


def gpu_findings(facts: NodeFacts, expected: Expected | None, idle: bool = False) -> Iterator[Finding]:
    """Yields everything about the GPUs of one node.

    Args:
        facts: what was read.
        expected: what the config promises; none where it does not say, or where the node is a head without GPU.
        idle: no engine of Ray's has GPUs there.
    """
    if facts.driver_error is not None:
        way_out = "load the driver (`modprobe nvidia`, `dmesg | grep NVRM`; AMD's: `modprobe amdgpu`), or reboot"
        yield Finding(DRIVER, Level.FAIL, f"it does not answer: {facts.driver_error}", way_out)
    elif facts.report is None and expected is None:
        yield Finding(GPUS, Level.NOT_CHECKED, "no GPU: not checked")
    elif facts.report is None and expected is not None and _is_amd(expected):
        yield Finding(GPUS, Level.NOT_CHECKED, "not examined: amd-smi is not installed", "install ROCm's amd-smi-lib to have them examined")
    elif facts.report is None:
        way_out = "install NVIDIA's driver, start the container with GPUs, or correct `hardware` in the config"
        yield Finding(GPUS, Level.FAIL, f"none of {expected and expected.gpus}: nvidia-smi is not installed", way_out)
    if facts.report is not None:
        yield from _reported(facts, facts.report, expected)
        yield from _in_use(facts.report, idle)


def _is_amd(expected: Expected) -> bool:
    return expected.gpu is not None and any(gpu.amd for name, gpu in KNOWN.items() if name == expected.gpu)


def _reported(facts: NodeFacts, report: GpuReport, expected: Expected | None) -> Iterator[Finding]:
    yield _driver(facts, report)
    yield _count(report, expected)
    yield from _kind(report, expected)
    yield from _mig(report, expected)
    yield from _memory(report, expected)
    yield from error_findings(facts, report)
    if not report.amd:
        yield from _links(facts, report, expected)
    yield from _fabric(report)
    yield from _pcie(report)


def _driver(facts: NodeFacts, report: GpuReport) -> Finding:
    """vLLM's CUDA needs a driver of the same major version at least, or NVIDIA's package for compatibility in front of it."""
    if report.amd:
        return Finding(DRIVER, Level.OK, f"amdgpu {report.driver}")
    seen, built = f"{report.driver}, CUDA {report.cuda}", facts.versions.get("torch CUDA", "")
    if _major(facts.libcuda) > _major(report.cuda) > 0:
        seen = f"{seen}, {facts.libcuda} by its compatibility package"
    if built and _major(report.cuda) and _major(built) > max(_major(report.cuda), _major(facts.libcuda)):
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


def _kind(report: GpuReport, expected: Expected | None) -> Iterator[Finding]:
    """Compares the GPUs' names with the config's: Ray places by the name, and plans are made for it."""
    for name in dict.fromkeys(gpu.name for gpu in report.gpus):
        there = gpu_named(name)
        if expected is None or expected.gpu is None or there is None or there.name == expected.gpu:
            continue
        seen = f"{name}; the config has {expected.gpu}"
        promised = gpu_named(expected.gpu)
        if promised is not None and promised.chip == there.chip:  # on another board: Ray calls it the same
            yield Finding("GPU kind", Level.WARN, seen, f"write {there.name} in `hardware`: its memory and links are others")
        else:
            way_out = f"write {there.name} in `hardware` and `accelerator`, or take this machine out"
            yield Finding("GPU kind", Level.FAIL, f"{seen}: Ray places no engine for {expected.gpu} here", way_out)


def _mig(report: GpuReport, expected: Expected | None) -> Iterator[Finding]:
    divided = [gpu for gpu in report.gpus if gpu.mig]
    if divided:
        level = Level.WARN if expected is None else Level.FAIL
        yield Finding("MIG", level, f"{named(divided)}: MIG is on, so an engine gets a part of a GPU, or none", "`nvidia-smi -mig 0`")


def _in_use(report: GpuReport, idle: bool) -> Iterator[Finding]:
    """Finds memory that somebody else has: an engine would fail when it starts."""
    taken = busy(report) if idle else []
    if taken:
        most = max(taken, key=lambda gpu: gpu.used_mib)
        seen = f"{named(taken)}: up to {most.used_mib:,} of {most.memory_mib:,} MiB in use, and no engine of Ray's is there"
        yield Finding("GPU in use", Level.FAIL, seen, "`nvidia-smi` shows the processes: end them, or give them another machine")


def busy(report: GpuReport) -> list[GpuState]:
    """Returns the GPUs of which so much is in use that an engine would not fit beside it."""
    return [gpu for gpu in report.gpus if gpu.used_mib > MOST_IN_USE * gpu.memory_mib]


def _memory(report: GpuReport, expected: Expected | None) -> Iterator[Finding]:
    least = LEAST_MEMORY * expected.memory_gib * 1024 if expected else 0.0
    small = [gpu for gpu in report.gpus if gpu.memory_mib < least]
    if expected and small:
        seen = f"{named(small)}: {min(gpu.memory_mib for gpu in small):,} MiB; the config has {expected.memory_gib:g} GiB a GPU"
        yield Finding(MEMORY, Level.FAIL, seen, "correct `hardware` in the config, or turn MIG off")
    elif report.gpus:
        yield Finding(MEMORY, Level.OK, f"{min(gpu.memory_mib for gpu in report.gpus):,} MiB each")


def _links(facts: NodeFacts, report: GpuReport, expected: Expected | None) -> Iterator[Finding]:
    usual, most = max(map(len, facts.links), default=0), max((rate for gpu in facts.links for rate in gpu), default=0.0)
    if most == 0:
        if expected is not None and expected.nvlink and expected.gpus > 1:
            yield _without_links(report)
        return
    bad = [index for index, gpu in enumerate(facts.links) if len(gpu) < usual or min(gpu) < LEAST_LINK * most]
    if bad:
        down = "; ".join(f"GPU {index}: {sum(rate >= LEAST_LINK * most for rate in facts.links[index])} of {usual}" for index in bad)
        yield Finding(NVLINK, Level.FAIL, f"links up at full rate: {down}", f"{RESET}; if they stay down, have the GPU exchanged")
    else:
        yield Finding(NVLINK, Level.OK, f"{usual} links per GPU at {most:g} GB/s")


def _without_links(report: GpuReport) -> Finding:
    if all(_BRIDGED.search(gpu.name) for gpu in report.gpus):
        way_out = "no fault without a bridge: tensor parallel goes over PCIe; write the card's own name in `hardware`"
        return Finding(NVLINK, Level.WARN, "no NVLink bridge is up", way_out)
    return Finding(NVLINK, Level.FAIL, "no NVLink is up", "start nvidia-fabricmanager, see `nvidia-smi nvlink -s` and `topo -m`")


def _fabric(report: GpuReport) -> Iterator[Finding]:
    """Fabric manager, by its effect: a GPU behind NVSwitches is registered with it, or CUDA does not start."""
    states = [(gpu, gpu.fabric_state, gpu.fabric_status) for gpu in report.gpus if gpu.fabric_state is not None]
    bad = [(gpu, state, status) for gpu, state, status in states if state != "Completed" or status not in (None, "Success")]
    if bad:
        _, state, status = bad[0]
        seen = f"{named([gpu for gpu, _, _ in bad])}: {state}{f', {status}' if status else ''}"
        yield Finding(FABRIC, Level.FAIL, seen, "`systemctl restart nvidia-fabricmanager`; it must be of the driver's very version")
    elif states:
        yield Finding(FABRIC, Level.OK, "completed on every GPU")


def _pcie(report: GpuReport) -> Iterator[Finding]:
    narrow = [gpu for gpu in report.gpus if gpu.width is not None and gpu.most_width is not None and gpu.width < gpu.most_width]
    if narrow:
        lanes = f"{named(narrow)}: {narrow[0].width} of {narrow[0].most_width} lanes"
        yield Finding(PCIE, Level.WARN, lanes, "reseat the GPU; weights load and images copy slower")
    held = [gpu for gpu in report.gpus if gpu.slowdowns]
    if held:
        why = ", ".join(dict.fromkeys(reason for gpu in held for reason in gpu.slowdowns))
        yield Finding("clocks", Level.WARN, f"{named(held)}: {why}", "look at cooling and power supply")

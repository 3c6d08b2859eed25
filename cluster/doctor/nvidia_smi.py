"""Reads the output of `nvidia-smi` as facts.

Decides how its words are read. `nvidia-smi -q -x` prints XML by nvsmi_device_v12.dtd (drivers 530 to 580 at least; element names after
reports of drivers 550, 555, 575 and 580), `nvidia-smi nvlink -s` text. A field that is N/A, or that a driver does not know, is none.
"""

import re
from xml.etree import ElementTree

from cluster.doctor.facts import GpuReport, GpuState

NOT_SAID = ("N/A", "Unknown Error", "[N/A]", "")
#: Below `clocks_event_reasons`; drivers before 535 called it `clocks_throttle_reasons`.
SLOWDOWNS = {"hw_thermal_slowdown": "too hot", "hw_power_brake_slowdown": "power brake", "hw_slowdown": "held down by the board"}
_GPU = re.compile(r"^GPU \d+:")
_LINK = re.compile(r"^\s+Link \d+: (?:([\d.]+) GB/s|<?inactive>?)")


class NotReadable(ValueError):
    """Not a report of `nvidia-smi`; the message is what it said."""


def gpu_report(printed: str) -> GpuReport:
    """Reads the output of `nvidia-smi -q -x`.

    Raises:
        NotReadable: it printed something else, its complaint for instance.
    """
    try:
        log = ElementTree.fromstring(printed)
    except ElementTree.ParseError:
        raise NotReadable(" ".join(printed.split())[:200] or "it printed nothing") from None
    gpus = tuple(_gpu(index, gpu) for index, gpu in enumerate(log.iter("gpu")))
    return GpuReport(_said(log, "driver_version") or "unknown", _said(log, "cuda_version") or "unknown", gpus)


def _gpu(index: int, gpu: ElementTree.Element) -> GpuState:
    volatile = gpu.find("ecc_errors/volatile")
    errors = () if volatile is None else tuple(_number(one.text) or 0 for one in volatile if "uncorrectable" in one.tag)
    return GpuState(
        index,
        _said(gpu, "product_name") or "unknown",
        _number(_said(gpu, "fb_memory_usage/total")) or 0,
        uncorrectable_errors=sum(errors),
        sram_worn=_said(gpu, "ecc_errors/aggregate/sram_threshold_exceeded") == "Yes",
        remap_pending=_said(gpu, "remapped_rows/remapped_row_pending") == "Yes",
        remap_failed=_said(gpu, "remapped_rows/remapped_row_failure") == "Yes",
        recovery=_recovery(gpu),
        recovered=_said(gpu, "gpu_recovery_action") == "None",
        bus=_bus(gpu),
        used_mib=_number(_said(gpu, "fb_memory_usage/used")) or 0,
        mig=_switch(gpu, "mig_mode/current_mig"),
        ecc=_switch(gpu, "ecc_mode/current_ecc"),
        fabric_state=_said(gpu, "fabric/state"),
        fabric_status=_said(gpu, "fabric/status"),
        width=_number(_said(gpu, "pci/pci_gpu_link_info/link_widths/current_link_width")),
        most_width=_number(_said(gpu, "pci/pci_gpu_link_info/link_widths/max_link_width")),
        slowdowns=tuple(why for name, why in SLOWDOWNS.items() if _active(gpu, name)),
    )


def _recovery(gpu: ElementTree.Element) -> str | None:
    """Since driver 565 one field; before that one for a reset."""
    action = _said(gpu, "gpu_recovery_action")
    if action is None and _said(gpu, "gpu_reset_status/reset_required") == "Yes":
        return "GPU Reset"
    return None if action == "None" else action


def _bus(gpu: ElementTree.Element) -> str:
    """Returns 00000000:3B:00.0 as the kernel's log has it: 0000:3b:00."""
    return (_said(gpu, "pci/pci_bus_id") or "").lower().rpartition(".")[0].removeprefix("0000")


def _switch(gpu: ElementTree.Element, path: str) -> bool | None:
    return {"Enabled": True, "Disabled": False}.get(_said(gpu, path) or "")


def _active(gpu: ElementTree.Element, reason: str) -> bool:
    return "Active" in (_said(gpu, f"clocks_{word}_reasons/clocks_{word}_reason_{reason}") for word in ("event", "throttle"))


def _said(parent: ElementTree.Element, path: str) -> str | None:
    text = (parent.findtext(path) or "").strip()
    return None if text in NOT_SAID else text


def _number(text: str | None) -> int | None:
    """The number at the beginning: of "81559 MiB", "16x", "0"."""
    found = re.match(r"\s*(\d+)", text or "")
    return int(found[1]) if found else None


def links(printed: str) -> tuple[tuple[float, ...], ...]:
    """GB/s of each NVLink of each GPU, out of `nvidia-smi nvlink -s`; 0 for one that is down. Empty where GPUs have none."""
    found: list[list[float]] = []
    for line in printed.splitlines():
        if _GPU.match(line):
            found.append([])
        elif found and (link := _LINK.match(line)):
            found[-1].append(float(link[1] or 0))
    return tuple(tuple(one) for one in found) if any(found) else ()

"""GPU errors in the kernel's log.

Decides which of NVIDIA's Xid codes mean that a node is sick. By NVIDIA's catalogue (docs.nvidia.com/deploy/xid-errors, "Analyzing Xid
Errors with the Xid Catalog"): sick is what wants a reset, a reboot or a technician at once; harmless is what a program does to itself.
"""

import re

from cluster.doctor.facts import Xid

#: What each means, where its immediate action is to reset the GPU, restart the machine or look at the board.
SICK = {
    46: "GPU stopped processing",
    48: "double-bit ECC error",
    54: "auxiliary power is not connected",
    62: "micro-controller halt",
    64: "memory row could not be remapped",
    74: "NVLink error",
    79: "GPU has fallen off the bus",
    95: "uncontained memory error",
    110: "security fault",
    119: "GSP does not answer",
    120: "GSP error",
    136: "NVLink training failed",
    140: "unrecovered ECC error",
    143: "GPU could not be initialised",
    158: "GPU fatal timeout",
}
#: Errors of memory, about which the driver itself says afterwards whether something has to be done.
OF_MEMORY = (48, 64, 95, 140)
#: Illegal accesses and stopped programs, and tests of the message path.
HARMLESS = (13, 31, 43, 45, 68, 69, 106, 107, 137)

#: As `dmesg` and `journalctl -o short-monotonic` write it; an NVSwitch writes SXid.
_LINE = re.compile(r"^\[\s*(\d+(?:\.\d+)?)\].*?\b(S?)Xid \((?:PCI:)?([0-9A-Fa-f:.]+)\): (\d+),?\s*(.*)$", re.MULTILINE)
MOST_CHARACTERS = 160


def xids(log: str, uptime_s: float) -> tuple[Xid, ...]:
    """The GPU errors in a log whose lines begin with seconds since the machine started."""
    return tuple(
        Xid(int(code), device, max(0.0, uptime_s - float(at)), text.strip()[:MOST_CHARACTERS], switch=bool(switch))
        for at, switch, device, code, text in _LINE.findall(log)
    )


def is_sick(xid: Xid) -> bool:
    """Whether such an error, when it is new, means that the node must not serve."""
    return xid.text.startswith("Fatal") if xid.switch else xid.code in SICK


def is_harmless(xid: Xid) -> bool:
    """Whether it says nothing about the node."""
    return not xid.switch and xid.code in HARMLESS

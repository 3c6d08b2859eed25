"""Tells a process from another one that has been given its number since, also where the clock was set meanwhile."""

import contextlib
from pathlib import Path

import psutil

BOOT = Path("/proc/sys/kernel/random/boot_id")
#: Of a boot's id: enough that two boots differ.
DIGITS = 8
#: The field `starttime` of proc(5), counted from the one behind the command's name.
STARTED = 19
#: Times of the wall clock are the same within this many seconds.
SAME_S = 1.0


def birth(process: psutil.Process) -> str:
    """Returns when a process began, as the kernel counts it: the boot, and the ticks since. No setting of the clock changes it.

    Raises:
        NoSuchProcess: it has ended.
    """
    try:
        ticks = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[STARTED]
    except (OSError, IndexError) as error:
        raise psutil.NoSuchProcess(process.pid) from error
    return f"{_boot()}-{ticks}"


def began(process: psutil.Process) -> str:
    """Returns what is kept of a process beside its number: its second of the wall clock, and its birth. Older releases do not read it.

    Raises:
        NoSuchProcess: it has ended.
    """
    return f"{process.create_time()} {birth(process)}"


def runs(number: int) -> bool:
    """Returns whether a process with this number runs; one that has ended, and of which nobody has taken notice yet, does not."""
    with contextlib.suppress(psutil.Error):
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    return False


def alive(number: int, second: float, born: str = "") -> psutil.Process | None:
    """Returns the process that was kept; None where it has ended. Older releases have kept no birth."""
    try:
        process = psutil.Process(number)
        same = birth(process) == born if born else abs(process.create_time() - second) < SAME_S
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return None


def _boot() -> str:
    with contextlib.suppress(OSError):
        return BOOT.read_text(encoding="ascii")[:DIGITS]
    return ""

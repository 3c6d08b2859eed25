"""Fixed shares of the CPU: programs that each get as much of a core as they would alone, whatever the others do.

Each program gets a control group of its own whose CPU time is limited in every period of some milliseconds (CFS bandwidth), and one core on
which it runs. Its group goes before all who have none. Linux alone, and only for root; control groups of both versions.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.bench.load import CannotMeasure
from tests.processes import descendants

MOUNTED = Path("/sys/fs/cgroup")
#: Of a period: short beside a step of an engine, so that it is as if the core were slower.
PERIOD_US = 10_000
#: By version: the weight of a group beside others, as high as it goes.
_FIRST = {1: ("cpu.shares", "262144"), 2: ("cpu.weight", "10000")}


@dataclass(frozen=True, slots=True)
class Groups:
    """Where this machine has its control groups."""

    version: int
    parent: Path

    def limits(self, share: float) -> Mapping[str, str]:
        """Returns what to write into which file of a group that has this share of one core; 1 is no limit."""
        weight, first = _FIRST[self.version]
        quota_us = round(PERIOD_US * share)
        if share >= 1:
            return {weight: first}
        if self.version == 2:
            return {weight: first, "cpu.max": f"{quota_us} {PERIOD_US}"}
        return {weight: first, "cpu.cfs_period_us": str(PERIOD_US), "cpu.cfs_quota_us": str(quota_us)}


@dataclass(frozen=True, slots=True)
class Placed:
    """Processes that share one group and one core. What they start later does so too."""

    processes: Iterable[psutil.Process]
    share: float
    core: int


def found(mounted: Path = MOUNTED) -> Groups:
    """Finds the control groups of this machine.

    Raises:
        CannotMeasure: none of them limit CPU time.
    """
    unified = mounted / "cgroup.controllers"
    if unified.exists() and "cpu" in unified.read_text(encoding="ascii").split():
        return Groups(2, mounted)
    for name in ("cpu", "cpu,cpuacct"):
        if (mounted / name / "cgroup.procs").exists():
            return Groups(1, mounted / name)
    raise CannotMeasure(f"no control groups under {mounted} limit CPU time")


@contextlib.contextmanager
def placed(placements: Mapping[str, Placed], groups: Groups | None = None) -> Iterator[None]:
    """Gives processes, with all that they have started, their shares while this lasts, and a core, which they keep. Later ones may be of
    earlier ones.

    Args:
        placements: by the names of the groups, which are made here and removed at the end.
        groups: where; `found` if not given.

    Raises:
        CannotMeasure: this user may not, or this machine cannot.
    """
    where, made = groups or found(), list[Path]()
    try:
        try:
            if where.version == 2:
                _write(where.parent / "cgroup.subtree_control", "+cpu")
            for name, one in placements.items():
                (group := where.parent / name).mkdir()
                made.append(group)
                _place(one, group, where.limits(one.share))
        except OSError as error:
            raise CannotMeasure(f"no share of the CPU can be given: {error}") from error
        yield
    finally:
        for group in made:
            for pid in (group / "cgroup.procs").read_text(encoding="ascii").split():
                _move(int(pid), where.parent)
            group.rmdir()


def _place(one: Placed, group: Path, limits: Mapping[str, str]) -> None:
    for file, text in limits.items():
        _write(group / file, text)
    for process in one.processes:
        for each in (process, *descendants(process)):
            _move(each.pid, group)
            _pin(each, one.core)


def _move(pid: int, group: Path) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        _write(group / "cgroup.procs", str(pid))


def _pin(process: psutil.Process, core: int) -> None:
    with contextlib.suppress(psutil.Error, ProcessLookupError):
        for thread in process.threads():
            os.sched_setaffinity(thread.id, {core})


def _write(file: Path, text: str) -> None:
    with file.open("w", encoding="ascii") as opened:
        opened.write(text)


class Others:
    """The time of the CPU that programs take which are not ours."""

    def __init__(self, ours: Iterable[psutil.Process]) -> None:
        self._ours = list(ours)
        self._before_s = self._taken_s()

    def taken_s(self) -> float:
        """Returns the seconds that they have taken since this was made, with the kernel's own."""
        return self._taken_s() - self._before_s

    def _taken_s(self) -> float:
        all_s = psutil.cpu_times()
        return float(sum(all_s[:3]) + sum(all_s[5:8])) - sum(map(_own_s, self._ours))


def _own_s(process: psutil.Process) -> float:
    try:
        return sum(process.cpu_times()[:2])
    except psutil.Error:
        return 0.0

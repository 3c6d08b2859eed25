"""The benchmark that holds the simulator against real engines: its shares of the CPU, and its fit."""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import psutil
import pytest

from deployments.simulation.loads.traces import Traced
from tests.bench.load import CannotMeasure
from tests.bench.simulated import beside_real, cpu_shares
from tests.bench.simulated.beside_real import Times, as_simulated, figures, fitted, simulated, wrong
from tests.bench.simulated.cpu_shares import Groups, Others, Placed, found, placed


def test_groups_of_both_versions_are_found(tmp_path: Path) -> None:
    (tmp_path / "cpu,cpuacct").mkdir()
    (tmp_path / "cpu,cpuacct" / "cgroup.procs").touch()
    assert found(tmp_path) == Groups(1, tmp_path / "cpu,cpuacct")
    (tmp_path / "cgroup.controllers").write_text("memory\n", encoding="ascii")
    assert found(tmp_path).version == 1
    (tmp_path / "cgroup.controllers").write_text("memory cpu\n", encoding="ascii")
    assert found(tmp_path) == Groups(2, tmp_path)


def test_machine_without_groups_cannot_measure(tmp_path: Path) -> None:
    with pytest.raises(CannotMeasure, match="limit CPU time"):
        found(tmp_path)
    with pytest.raises(CannotMeasure, match="no share of the CPU"), placed({"one": Placed([], 0.5, 0)}, Groups(1, tmp_path / "none")):
        pass


def test_share_is_a_part_of_each_period_and_a_whole_core_is_no_limit(tmp_path: Path) -> None:
    assert Groups(1, tmp_path).limits(0.4) == {"cpu.shares": "262144", "cpu.cfs_period_us": "10000", "cpu.cfs_quota_us": "4000"}
    assert Groups(2, tmp_path).limits(0.4) == {"cpu.weight": "10000", "cpu.max": "4000 10000"}
    assert (Groups(1, tmp_path).limits(1), Groups(2, tmp_path).limits(1)) == ({"cpu.shares": "262144"}, {"cpu.weight": "10000"})


def groups_of_this_machine() -> Groups | None:
    """Those that this user may make groups in; in a container often none, even for root."""
    try:
        with placed({f"test-of-{os.getpid()}": Placed([], 0.5, 0)}):
            return found()
    except CannotMeasure:
        return None


def test_process_and_its_children_are_in_a_group_until_the_end() -> None:
    if (groups := groups_of_this_machine()) is None:
        pytest.skip("this user may not make control groups here")
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        running.stdout.readline()
        process, core = psutil.Process(running.pid), min(os.sched_getaffinity(0))
        pids = {running.pid, *(one.pid for one in process.children())}
        group = groups.parent / f"test-{running.pid}"
        with placed({group.name: Placed([process], 0.5, core)}, groups):
            assert set(map(int, (group / "cgroup.procs").read_text(encoding="ascii").split())) == pids
            limits = {file: (group / file).read_text(encoding="ascii").strip() for file in groups.limits(0.5)}
            assert limits == dict(groups.limits(0.5))
            assert all(os.sched_getaffinity(pid) == {core} for pid in pids)
        assert not group.exists()
        assert process.is_running()
        running.communicate("\n", timeout=30)


def test_programs_that_are_not_ours_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    all_s, own_s = iter((10.0, 13.0)), iter((1.0, 2.0))
    monkeypatch.setattr(psutil, "cpu_times", lambda: (next(all_s), *(0.0,) * 9))
    monkeypatch.setattr(cpu_shares, "_own_s", lambda _: next(own_s))
    assert Others([psutil.Process()]).taken_s() == 2.0


def test_fit_finds_how_a_simulation_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside_real, "TRIES", 200)
    dice, made = Random(1), Times(step=0.03, prompt_token=0.0003, request=0.02, way=0.02)
    pieces = [
        simulated([Traced(0.4 * number + dice.random(), dice.randint(40, 650), 8, ()) for number in range(40)], made) for _ in range(2)
    ]
    found = fitted(pieces)
    truth = figures(pieces)
    assert max(map(abs, wrong(figures(as_simulated(pieces, found)), truth).values())) < 0.05
    assert max(map(abs, wrong(figures(as_simulated(pieces, Times())), truth).values())) > 0.3

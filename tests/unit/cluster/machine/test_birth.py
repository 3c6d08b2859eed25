"""Processes that are kept by number are found again after the clock was set, and not taken for others."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from psutil import _pslinux

from cluster.machine import birth
from cluster.machine.birth import alive, began
from cluster.machine.local_node import LocalNode
from deployments.lifecycle.monitor.programs import Program, running

FAKE = Program("fake", ("fake",), "/-/ready", 1, "Get it.")


@pytest.fixture
def clock_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour on, as for a machine whose clock was wrong until it had a network: all times of the wall clock move with it."""
    booted = _pslinux.boot_time()
    monkeypatch.setattr(_pslinux, "boot_time", lambda: booted + 3600)


def kept(process: psutil.Process) -> tuple[float, str]:
    second, born = began(process).split()
    return float(second), born


def test_process_is_known_by_its_birth_and_by_older_releases_by_its_second() -> None:
    own = psutil.Process()
    second, born = kept(own)
    assert alive(own.pid, second, born) == own
    assert alive(own.pid, second) == own
    assert alive(own.pid, second - 100) is None
    assert alive(own.pid, second, "00000000-1") is None
    assert alive(1 << 40, second, born) is None
    assert alive(-1, second, born) is None


def test_process_is_the_same_after_the_clock_was_set(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    second, born = kept(psutil.Process())
    request.getfixturevalue("clock_is_set")
    assert alive(os.getpid(), second) is None, "which is what older releases saw"
    assert alive(os.getpid(), second, born) is not None
    (tmp_path / "pid").write_text(f"{os.getpid()} {second} {born}", encoding="utf-8")
    (tmp_path / "address").write_text("127.0.0.1:1234", encoding="utf-8")
    assert LocalNode(tmp_path).address == "127.0.0.1:1234"
    (tmp_path / "fake.pid").write_text(f"{os.getpid()} {second} 9090 mark {born}", encoding="utf-8")
    found = running(tmp_path, FAKE)
    assert found is not None
    assert (found.port, found.born) == (9090, born)


def test_process_that_has_ended_is_not_alive_and_has_no_birth() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(child.pid)
    second, born = kept(process)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert alive(child.pid, second, born) is None
    child.wait()
    assert alive(child.pid, second, born) is None
    with pytest.raises(psutil.NoSuchProcess):
        birth.birth(process)


def test_process_of_another_boot_is_another_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    second, born = kept(psutil.Process())
    (tmp_path / "boot").write_text("0123456789abcdef", encoding="ascii")
    monkeypatch.setattr(birth, "BOOT", tmp_path / "boot")
    assert alive(os.getpid(), second, born) is None
    monkeypatch.setattr(birth, "BOOT", tmp_path / "none")
    assert birth.birth(psutil.Process()).startswith("-")

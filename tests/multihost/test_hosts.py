"""The test bed itself: hosts are apart where machines are, and nothing of them stays, however they end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.multihost import hosts as bed
from tests.multihost import steps
from tests.multihost.hosts import Hosts, missing, namespace_of

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))
STARTED = """
import json, sys, time
from pathlib import Path
from tests.multihost.hosts import Hosts
found = Hosts(Path(sys.argv[1]), 1, {})
print(json.dumps([host.init for host in (found.operator, *found.cluster)]), flush=True)
time.sleep(600)
"""


def living(namespaces: set[str]) -> list[int]:
    """The processes in these process namespaces."""
    return [one.pid for one in psutil.process_iter() if namespace_of(one.pid, "pid") in namespaces]


def gone(namespaces: set[str]) -> bool:
    """Whether they are empty soon."""
    deadline = time.monotonic() + 60
    while living(namespaces) and time.monotonic() < deadline:
        time.sleep(0.1)
    return not living(namespaces)


def test_hosts_are_machines_of_their_own_and_leave_nothing(tmp_path: Path) -> None:
    before = os.readlink("/proc/self/ns/net"), sorted(os.listdir("/sys/class/net"))
    folder = tmp_path / "hosts"
    folder.mkdir()
    found = Hosts(folder, 2, {"SITE": "here"})
    try:
        one, other = found.cluster
        said = found.ssh(one, 'hostname; echo "$SITE" ~ "$TMPDIR"; ls -A "$TMPDIR" /dev/shm; touch "$TMPDIR/mine"', within_s=30).stdout
        assert said.split() == ["dgx1", "here", str(one.own / "home"), "/run/tmp", "/dev/shm:", "/run/tmp:"]
        assert found.ssh(other, 'ls -A "$TMPDIR"; touch /dev/shm/ours', within_s=30).stdout == ""
        assert found.ssh(one, "ls /dev/shm; rm /dev/shm/ours", within_s=30).stdout == "ours\n", "engines exchange tensors there"
        assert found.ssh(one, f"ssh root@{other.address} hostname", within_s=30).stdout == "dgx2\n"
        assert one.listening() == {22}
        namespaces = {host.namespace("pid") for host in (found.operator, one, other)}
        assert len(namespaces) == 3
    finally:
        found.close()
    assert gone(namespaces)
    assert not folder.exists()
    assert (os.readlink("/proc/self/ns/net"), sorted(os.listdir("/sys/class/net"))) == before


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_hosts_end_with_the_test_that_is_killed(tmp_path: Path, how: signal.Signals) -> None:
    command = [sys.executable, "-c", STARTED, str(tmp_path)]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        namespaces = {str(namespace_of(pid, "pid")) for pid in json.loads(process.stdout.readline())}
        assert len(living(namespaces)) >= 2
        process.send_signal(how)
        process.wait(timeout=30)
    assert gone(namespaces)


def test_host_that_cannot_start_is_told_with_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bed, "SSHD", "echo no sshd here >&2; exit 3")
    with pytest.raises(RuntimeError, match="no sshd here"):
        Hosts(tmp_path / "hosts", 1, {})


def test_page_of_the_readme_is_read_as_a_shell_would() -> None:
    page = "<!-- steps: x -->\n```sh\ncp a b   # first\nray up --yes c.yaml      # then\ncurl 10.0.0.12\n```\n<!-- /steps -->"
    assert steps.steps(page) == ("ray up --yes c.yaml", f"curl {bed.NETWORK}.12")
    with pytest.raises(ValueError, match="no commands from 'ray up' to 'nothing'"):
        steps.between("ray up", "nothing")

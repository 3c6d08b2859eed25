"""`herd status --watch`: at a terminal, in a pipe, while its gateway is away, and how it ends."""

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from tests.unit.deployments.commands.fake_gateway import Gateway, serving
from tests.unit.deployments.commands.test_command_line import ROOT, given

PAGE: dict[str, Any] = {
    "models": {"scout": [{"id": "scout#r0", "state": "ready", "ongoing": 3, "waiting": 1}]},
    "waiting": {},
    "at_zero": [],
    "scaling": {},
    "starting": {},
}
WAIT_S = 60.0


@contextmanager
def watching(gateway: Gateway, stdout: Any) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "deployments", "status", "--watch", "--url", gateway.url]
    with subprocess.Popen(
        command, env=given(), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True
    ) as one:
        try:
            yield one
        finally:
            one.kill()


def wait(for_it: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    ends = time.monotonic() + WAIT_S
    while not for_it():
        assert process.poll() is None, "it has ended by itself"
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_watched_status_goes_on_until_ctrl_c() -> None:
    ours, its = pty.openpty()
    with serving() as gateway, open(ours, "rb", buffering=0) as shown, open(its, "wb", buffering=0) as terminal:
        gateway.status = PAGE
        with watching(gateway, terminal) as process:
            wait(lambda: len(gateway.asked) >= 3, process)
            process.send_signal(signal.SIGINT)
            assert process.wait(WAIT_S) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
            said = os.read(shown.fileno(), 1 << 16)
    assert said.count(b"scout") >= 2
    assert b"\x1b[1A" in said, "it is drawn over the frame before"


def test_watched_status_outlives_a_gateway_that_is_made_anew() -> None:
    with serving() as gateway:
        gateway.status = PAGE
        with watching(gateway, subprocess.PIPE) as process:
            wait(lambda: len(gateway.asked) >= 2, process)
            gateway.status = None  # it answers 404
            known = len(gateway.asked)
            wait(lambda: len(gateway.asked) >= known + 2, process)
            gateway.status = PAGE
            known = len(gateway.asked)
            wait(lambda: len(gateway.asked) >= known + 2, process)
            process.send_signal(signal.SIGINT)
            said, wrong = process.communicate(timeout=WAIT_S)
    assert (process.returncode, wrong) == (0, "")
    assert said.count("Not as it is now: ") >= 1
    assert said.count("scout") >= 4, "in a pipe, each frame stands behind the one before"


def test_status_of_a_gateway_that_was_never_there_is_not_watched() -> None:
    with closing(open(os.devnull, "w")) as nowhere, serving() as gateway, watching(gateway, nowhere) as process:
        assert process.wait(WAIT_S) == 1

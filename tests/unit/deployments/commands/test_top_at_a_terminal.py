"""`herd top` at a terminal of its own: keys, what is drawn, and that the terminal is afterwards as it was."""

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from configs.keys import derived
from tests.unit.deployments.commands.fake_gateway import serving

ROOT = Path(__file__).parents[4]
SECRET = "0123456789abcdef" * 4


@dataclass
class Terminal:
    """A terminal of 80 columns and 24 lines, in which `herd top` runs."""

    process: "subprocess.Popen[bytes]"
    number: int
    before: list[Any]
    seen: str = field(default="")

    def press(self, keys: str) -> None:
        os.write(self.number, keys.encode())

    def until(self, words: str, within_s: float = 30.0) -> None:
        """Waits until these words have been written since the last call."""
        ends = time.monotonic() + within_s
        while words not in self.plain:
            assert time.monotonic() < ends, f"no {words!r} in: {self.plain[-2000:]}"
            self.read(0.2)
        self.seen = ""

    @property
    def plain(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.seen)

    def read(self, within_s: float) -> None:
        ready, _, _ = select.select([self.number], [], [], within_s)
        if ready:
            with contextlib.suppress(OSError):  # nobody has it open any more
                self.seen += os.read(self.number, 65536).decode("utf-8", "replace")

    def ended(self) -> int:
        """Waits until it has ended; returns its exit code."""
        ends = time.monotonic() + 60
        while self.process.poll() is None:
            assert time.monotonic() < ends, "it does not end"
            self.read(0.1)
        self.read(0.1)
        return self.process.returncode


@contextlib.contextmanager
def terminal(*words: str) -> Iterator[Terminal]:
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    given = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    given |= {"TERM": "xterm-256color", "HERD_SECRET": SECRET}
    command = [sys.executable, "-m", "deployments", "top", *words]
    before = termios.tcgetattr(its)
    process = subprocess.Popen(command, env=given, cwd=ROOT, stdin=its, stdout=its, stderr=its, start_new_session=True)
    try:
        yield Terminal(process, ours, before)
        assert termios.tcgetattr(its) == before
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)
        os.close(its)


def page(replicas: int = 3) -> dict[str, Any]:
    """A page of status with two models."""
    each = [{"id": f"scout#r{number}", "state": "ready", "ongoing": 3, "waiting": 1} for number in range(replicas)]
    scaling = {"scout": {"at_s": time.time(), "target": 4, "before": 3, "reason": "It grows.\x1b]0;evil\x07"}}
    return {"models": {"scout": each, "maverick": []}, "waiting": {"scout": 2}, "at_zero": ["maverick"], "scaling": scaling, "starting": {}}


def test_keys_move_through_the_view_and_q_restores_the_terminal() -> None:
    with serving() as gateway:
        gateway.status = page()
        gateway.key = derived(SECRET, "pages")
        with terminal("--url", gateway.url) as view:
            view.until("scout")
            view.press("?")
            view.until("sorts by")
            view.press("x")
            view.until("q quit")
            view.press("s")
            view.until("s sort: running")
            view.press("\r")
            view.until("REPLICA")
            view.press("\x1b")
            view.until("MODEL")
            view.press("/mav")
            view.until("/mav")
            view.press("\r")
            view.until("only 'mav'")
            view.press("q")
            assert view.ended() == 0
            assert "\x1b[?1049l" in view.seen  # the screen from before is back, and the cursor
            assert "\x1b[?25h" in view.seen
            assert "\x1b]0;" not in view.seen


@pytest.mark.parametrize(("how", "code"), [("\x03", 130), (signal.SIGTERM, 128 + signal.SIGTERM)], ids=["ctrl-c", "sigterm"])
def test_view_that_is_interrupted_restores_the_terminal(how: str | signal.Signals, code: int) -> None:
    with serving() as gateway:
        gateway.status = page(replicas=500)
        with terminal("--url", gateway.url) as view:
            view.until("scout")
            view.process.send_signal(signal.SIGINT if isinstance(how, str) else how)
            assert view.ended() == code
            assert "Traceback" not in view.seen
            assert "\x1b[?1049l" in view.seen


def test_gateway_that_does_not_answer_is_told_in_the_view_which_still_ends_at_once() -> None:
    with terminal("--url", "http://127.0.0.1:9") as view:
        view.until("it does not answer")
        began = time.monotonic()
        view.press("q")
        assert view.ended() == 0
        assert time.monotonic() - began < 50

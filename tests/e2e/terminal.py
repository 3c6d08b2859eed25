"""A command of `herd` on a terminal, and all that it shows there."""

import contextlib
import os
import pty
import subprocess
import time

from tests.e2e.conftest import HERD, Herd, wait_for


class Terminal:
    """A command on a terminal of 80 columns, and all that it has shown."""

    def __init__(self, herd: Herd, *words: str) -> None:
        ours, its = pty.openpty()
        env = os.environ | {"HERD_STATE": str(herd.folder / "state"), "COLUMNS": "80", "TERM": "xterm"}
        self.process = subprocess.Popen([HERD, *words], stdin=its, stdout=its, stderr=its, env=env, start_new_session=True)
        os.close(its)
        os.set_blocking(ours, False)
        self._ours, self._shown = ours, ""

    def types(self, line: str) -> None:
        os.write(self._ours, f"{line}\n".encode())

    def shows(self, words: str, within_s: float = 120) -> str:
        """Waits for words; returns what was shown up to them, and forgets it."""
        deadline = time.monotonic() + within_s
        while words not in self._read():
            assert time.monotonic() < deadline, f"{words!r} is not on the terminal, which shows {self._shown[-2000:]!r}"
            time.sleep(0.05)
        before, _, self._shown = self._shown.partition(words)
        return before

    def goes_on(self, letters: int, within_s: float = 60) -> None:
        """Waits until so many letters more were shown."""
        wait_for("an answer on the terminal", lambda: len(self._read()) >= letters, within_s, every_s=0.05)

    def _read(self) -> str:
        with contextlib.suppress(BlockingIOError, OSError):
            self._shown += os.read(self._ours, 1 << 16).decode(errors="replace")
        return self._shown

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self._ours)

"""A terminal of an operator's, for what goes wrong there: commands with their output, and the seconds that they took."""

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.bench.process import free_port
from tests.e2e.conftest import HERD

#: From when a cause is known until it is told.
TOLD_S = 30.0


class Shell:
    """A terminal of an operator's, with a herd's file in its folder."""

    def __init__(self, folder: Path, config: dict[str, Any] | str) -> None:
        self.folder = folder
        self.path = folder / "herd.yaml"
        text = config if isinstance(config, str) else yaml.safe_dump({"gateway": {"port": free_port()}, **config})
        self.path.write_text(text, encoding="utf-8")

    def run(self, *words: str, wrapped: str = "", **variables: str) -> tuple[int, str, float]:
        """Runs `herd …`; returns the exit code, what was said, and the seconds that it took.

        Args:
            words: behind `herd`.
            wrapped: a shell's command that is run before it, in a mount namespace of its own.
            variables: of the environment.
        """
        env = os.environ | {"HERD_STATE": str(self.folder / "state")} | variables
        command = [HERD, *words]
        if wrapped:
            command = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{wrapped}; exec "$@"', "sh", *command]
        began = time.monotonic()
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180, check=False, start_new_session=True)
        return done.returncode, done.stdout + done.stderr, time.monotonic() - began

    def refused(self, *says: str, code: int = 1, wrapped: str = "", variables: Mapping[str, str] | None = None) -> None:
        """`herd up` must fail in time, say all this, and leave nothing running."""
        ended, printed, seconds = self.run("up", str(self.path), wrapped=wrapped, **(variables or {}))
        said = on_one_line(printed)
        print(f"after {seconds:.1f} s: {said}")
        assert ended == code, said
        assert [one for one in says if one not in said] == [], said
        assert seconds < TOLD_S
        assert not list(self.folder.glob("state/*/pid")), "Ray runs"


def on_one_line(said: str) -> str:
    """What was said, as if the terminal were as wide as it takes."""
    return " ".join(said.split())

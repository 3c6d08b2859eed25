"""A virtual environment on disk, and the programs that fill it: pip, uv, the compiler of bytecode. Decides nothing.

Like `environment.py`, whose part it is, it runs before anything is installed, on the standard library alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cluster.machine import environment_plan as plan

ROOT = Path(__file__).resolve().parents[2]
VERSION = "{}.{}".format(*sys.version_info)
NOT_FOR_CHILDREN = {"PYTHONPATH", "PYTHONHOME", "PIP_USER", "PIP_TARGET", "PIP_PREFIX"}
#: Where there is no terminal, packages are counted aloud so often, in seconds.
COUNT_S = 15.0


class Venv(NamedTuple):
    """An environment on disk."""

    path: Path

    @property
    def python(self) -> Path:
        return self.path / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return self.path / "lib" / f"python{VERSION}" / "site-packages"

    @property
    def log(self) -> Path:
        return self.path / "install.log"

    @property
    def record_file(self) -> Path:
        return self.path / "herd-environment.json"

    def record(self) -> plan.Record | None:
        with contextlib.suppress(OSError, ValueError, TypeError):
            return plan.Record(**json.loads(self.record_file.read_text()))
        return None

    def keep(self, record: plan.Record) -> None:
        self.record_file.write_text(json.dumps(record._asdict(), indent=1) + "\n")

    def pip(self, arguments: Sequence[str], count: Callable[[], str] | None = None) -> bool:
        quiet = ("--no-input", "--disable-pip-version-check")
        return run([str(self.python), "-m", "pip", *quiet, *arguments], self.log, count)

    def uv(self, arguments: Sequence[str], cert: str, count: Callable[[], str]) -> bool:
        """Runs uv, which trusts the same certificates as pip."""
        trusted = {"SSL_CERT_FILE": cert} if cert else {}
        return run([str(self.python), "-m", "uv", "--no-progress", "--no-config", *arguments], self.log, count, trusted)

    def pip_settings(self) -> dict[str, str]:
        """Asks pip for its settings, which may stand in files, and in variables of the environment."""
        asked = [str(self.python), "-m", "pip", "config", "list"]
        return plan.pip_settings(subprocess.run(asked, capture_output=True, text=True, check=False).stdout)

    def packages(self) -> int:
        """Counts the packages that are installed."""
        return sum(1 for _ in self.site_packages.glob("*.dist-info"))

    @staticmethod
    def unpacked() -> int:
        """Counts the packages in uv's cache: it brings them all before it installs the first."""
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return sum(1 for _ in Path(os.environ.get("UV_CACHE_DIR") or Path(caches) / "uv").glob("archive-v*/*"))

    def compile(self) -> None:
        """Compiles on all cores what is imported. Packages carry a few files for other Pythons, so a complaint means nothing."""
        folders = [str(path) for name in plan.COMPILED if (path := self.site_packages / name).exists()]
        run([str(self.python), "-m", "compileall", "-q", "-j", "0", "-x", plan.NOT_COMPILED, *folders], self.log)

    def imports(self, module: str) -> bool:
        return run([str(self.python), "-I", "-c", f"import {module}"], self.log)


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def wait_for(child: subprocess.Popen[bytes], count: Callable[[], str] | None) -> int:
    """Counts seconds and packages, in place on a terminal and now and then elsewhere, and never leaves the child behind."""
    began = said_s = time.monotonic()
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(timeout=1)
            now, there = time.monotonic(), f"{count()}, " if count else ""
            if sys.stdout.isatty():
                told = f"{there}{now - began:.0f} s   "
                say(told + "\b" * len(told))
            elif there and now - said_s >= COUNT_S:
                said_s = now
                say(there)
    finally:
        child.terminate()
        child.wait()


def run(command: Sequence[str], log: Path, count: Callable[[], str] | None = None, more: Mapping[str, str] | None = None) -> bool:
    environ = {name: value for name, value in os.environ.items() if name not in NOT_FOR_CHILDREN}
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(command)}\n".encode())
        output.flush()
        child = subprocess.Popen(command, cwd=ROOT, env={**environ, **(more or {})}, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        return wait_for(child, count) == 0

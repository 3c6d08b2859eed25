"""A real Prometheus as tests start it: its command line, its files in a folder of the test's, and its end."""

import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.bench.process import free_port

MISSING = "prometheus is not installed (Debian: apt-get install prometheus)"
START_S, STOP_S = 60, 30


@dataclass(frozen=True, slots=True)
class Program:
    """A Prometheus that runs."""

    address: str
    process: "subprocess.Popen[bytes]"

    def is_ready(self) -> bool:
        """Tells whether it serves."""
        try:
            return httpx.get(f"{self.address}/-/ready", timeout=5, trust_env=False).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        """Ends it. It may wait for a page that is being read: not to be called on the event loop of a gateway that writes it."""
        self.process.terminate()
        self.process.wait(STOP_S)


def start(folder: Path, config: Mapping[str, Any]) -> Program:
    """Starts Prometheus with a configuration and its data in a folder, and returns when it serves. The test is skipped where it is not
    installed."""
    binary = shutil.which("prometheus")
    if binary is None:
        pytest.skip(MISSING)
    port, path, log = free_port(), folder / "prometheus.yml", folder / "prometheus.log"
    path.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    command = [binary, f"--config.file={path}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with log.open("wb") as output:
        program = Program(f"http://127.0.0.1:{port}", subprocess.Popen(command, stdout=output, stderr=output))
    try:
        _wait(program, log)
    except BaseException:
        program.stop()
        raise
    return program


def _wait(program: Program, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not program.is_ready():
        assert program.process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, f"it does not serve within {START_S} s: {log.read_text(encoding='utf-8')}"
        time.sleep(0.1)

"""Processes that are measured, or measured against: they print a line when they serve, and end when their standard input does."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import psutil

from tests.bench.load import CannotMeasure

_LONGEST_S = 10


@dataclass(frozen=True, slots=True)
class Serving:
    """A process that serves."""

    line: str
    """What it said when it began to: its port, or its ports."""
    process: psutil.Process


@contextlib.contextmanager
def serving(module: str, *arguments: str) -> Iterator[Serving]:
    """Runs one of our modules while this lasts.

    Raises:
        CannotMeasure: it did not begin to serve.
    """
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise CannotMeasure(f"{module} did not start")
            yield Serving(line.strip(), psutil.Process(process.pid))
        finally:
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LONGEST_S)
            process.kill()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listener(port: int) -> psutil.Process:
    """Who listens on a port. Found without Ray: a process that has made a handle goes on asking for it when it has disconnected."""
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
            with contextlib.suppress(psutil.NoSuchProcess):  # it may have ended since
                return psutil.Process(connection.pid)
    raise CannotMeasure(f"nobody listens on port {port}")

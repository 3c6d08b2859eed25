"""Programs beside a herd: started on the loopback interface, found again by later commands, stopped by their process id.

Decides when a program runs: the process whose id was kept is there and began when it was kept. A process id alone may have been given to
another program since. Every wait is bounded.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.machine.birth import alive, began
from cluster.machine.local_node import closed, write_closed
from deployments.lifecycle.known import OperationError

HOST = "127.0.0.1"
START_S, STOP_S, KILL_S, PROBE_S = 60.0, 20.0, 5.0, 2.0
LAST_LINES = 5
LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Program:
    """One program that can be started."""

    name: str
    binaries: tuple[str, ...]
    """The names that it may have on the path."""
    ready: str
    """The path that answers 200 when it serves."""
    port: int
    """The one that it takes by default."""
    get: str
    """A sentence: how to get it."""

    @property
    def binary(self) -> str | None:
        """Finds it on this machine."""
        return next((found for name in self.binaries if (found := shutil.which(name))), None)


PROMETHEUS = Program(
    "prometheus", ("prometheus",), "/-/ready", 9090, "`apt-get install prometheus`, or https://prometheus.io/download with it on the PATH."
)
ALERTMANAGER = Program(
    "alertmanager",
    ("alertmanager", "prometheus-alertmanager"),
    "/-/ready",
    9093,
    "`apt-get install prometheus-alertmanager`, or https://prometheus.io/download with it on the PATH.",
)
GRAFANA = Program(
    "grafana", ("grafana", "grafana-server"), "/api/health", 3000, "https://grafana.com/grafana/download with its `bin` on the PATH."
)
PROGRAMS = (PROMETHEUS, ALERTMANAGER, GRAFANA)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A program as it should run."""

    command: Sequence[str]
    port: int
    files: Mapping[Path, str]
    """Its configuration, written before it starts; readable by this user alone."""

    @property
    def mark(self) -> str:
        """Returns a word that changes with the command and the files."""
        said = "\0".join((*self.command, *(f"{path}\0{text}" for path, text in self.files.items())))
        return hashlib.sha256(said.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Kept:
    """A program that was started, as its file has it."""

    pid: int
    began: float
    """Seconds since 1970."""
    port: int
    mark: str
    born: str = ""
    """Its birth, which no setting of the clock changes."""

    @property
    def address(self) -> str:
        """Returns the address that it listens at."""
        return f"http://{HOST}:{self.port}"


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the folder: two commands at once would start a program twice, and end each other's. A process that ends lets go of it.

    Raises:
        OperationError: another command has it.
    """
    closed(folder)
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OperationError("Another `herd monitor` starts or stops these programs just now. Wait until it has ended.") from None
    else:
        yield
    finally:
        os.close(file)


def running(folder: Path, program: Program) -> Kept | None:
    """Returns what is known of a program that runs; None where it does not."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        pid, second, port, mark, *born = (folder / f"{program.name}.pid").read_text(encoding="utf-8").split()
        kept = Kept(int(pid), float(second), int(port), mark, *born[:1])
        return kept if _process(kept) is not None else None
    return None


def _process(kept: Kept) -> psutil.Process | None:
    return alive(kept.pid, kept.began, kept.born)


def start(folder: Path, program: Program, wanted: Wanted) -> bool:
    """Starts a program, and waits until it serves; tells whether it had to. One that runs otherwise than wanted is started anew.

    Raises:
        OperationError: another program has its port, or it does not serve in time.
    """
    now, log = running(folder, program), folder / f"{program.name}.log"
    if now is not None and now.mark == wanted.mark:  # whoever started it may have ended before it served
        _wait(lambda: _process(now) is None, program, wanted.port, log)
        return False
    if now is not None:
        stop(folder, program)
    if _listens(wanted.port):
        raise OperationError(
            f"Another program listens on port {wanted.port}, where {program.name} should. Choose another one with "
            f"--{program.name}-port, or end that program."
        )
    closed(folder)
    for path, text in wanted.files.items():
        closed(path.parent)
        write_closed(path, text)
    with log.open("wb") as output:
        process = subprocess.Popen(
            list(wanted.command), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd=folder
        )
    try:
        second, born = began(psutil.Process(process.pid)).split()
        write_closed(folder / f"{program.name}.pid", f"{process.pid} {second} {wanted.port} {wanted.mark} {born}")
        _wait(lambda: process.poll() is not None, program, wanted.port, log)
    except BaseException:
        stop(folder, program)
        if process.poll() is None:  # nobody would find it again
            process.kill()
            process.wait(KILL_S)
        raise
    return True


def stop(folder: Path, program: Program) -> bool:
    """Stops a program that `start` started; tells whether it ran.

    Raises:
        OperationError: it does not end.
    """
    kept = running(folder, program)
    process = None if kept is None else _process(kept)
    if process is not None:
        for number, within_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILL_S)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(number)
            _, left = psutil.wait_procs([process], timeout=within_s)
            if not left:
                break
        else:
            raise OperationError(f"{program.name} (process {process.pid}) does not end. End it by hand.")
    (folder / f"{program.name}.pid").unlink(missing_ok=True)
    return process is not None


def serves(program: Program, port: int) -> bool:
    """Tells whether a program answers that it is ready."""
    import httpx

    try:
        return httpx.get(f"http://{HOST}:{port}{program.ready}", timeout=PROBE_S, trust_env=False).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _wait(ended: Callable[[], bool], program: Program, port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if ended():
            said = " ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:])
            raise OperationError(f"{program.name} ended at once: {said}. {log} has its output.")
        if serves(program, port):
            return
        time.sleep(0.1)
    raise OperationError(f"{program.name} does not serve within {START_S:.0f} s. {log} has its output.")


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=PROBE_S):
        return True
    return False

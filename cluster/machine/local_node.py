"""A Ray node of this machine's own: started for a herd with `ray.address: local`, and stopped with it.

Decides where its files are and which ports it takes. It has a folder and ports of its own, so it meets no other Ray on the machine, and
it is stopped by its process id, never by name.
"""

import contextlib
import hashlib
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster.machine.birth import alive, began
from cluster.machine.ray_output import is_hopeless, why_not_started
from configs.keys import ROOT, SERVING, VARIABLES, Purpose, WeakSecret, derived

#: Logical CPUs: an engine asks Ray for one or two, and a laptop with two cores must still hold a few small ones.
LOGICAL_CPUS = 64
#: In the environment of every process of the node.
MARK = "HERD_NODE"
#: The environment of the shell may have these of another cluster. The node's processes get keys, never the secret that these are made of.
NOT_FOR_THE_NODE = ("RAY_ADDRESS", "RAY_AUTH_TOKEN", ROOT)
START_S = 90.0
STOP_S = 60.0


class NodeError(RuntimeError):
    """Ray's node could not be started or stopped; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class LocalNode:
    """The files of one herd on this machine, and the Ray node that they describe."""

    state: Path
    """The herd's own folder."""

    @property
    def address(self) -> str | None:
        """Where the node's GCS listens, if the node runs."""
        process = self._process()
        return self._read("address") if process is not None else None

    def secret(self) -> str:
        """The secret that the herd's keys are made of, itself made when first asked for, readable by this user alone."""
        return self._kept("secret")

    def key(self, purpose: Purpose) -> str:
        """Makes the key for a purpose; for Ray, which has a token of its own here, that.

        Raises:
            NodeError: somebody has written a secret that can be guessed.
        """
        if purpose == "ray":
            return self.ray_token()
        try:
            return derived(self.secret(), purpose)
        except WeakSecret as error:
            raise NodeError(f"{self.state / 'secret'}: {error}, or remove the file and the herd makes one.") from error

    def ray_token(self) -> str:
        """Ray's own token, made when first asked for, readable by this user alone."""
        return self._kept("ray-token")

    def environment(self) -> dict[str, str]:
        """Returns the variables that the node's processes, and those that connect to them, need before they import Ray."""
        self.ray_token()
        return {
            # Ray then keeps to the loopback interface, as it does on machines that cannot be part of a cluster.
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            # Said outright: otherwise Ray takes a token or none by whether the user's home happens to have one at the moment.
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str((self.state / "ray-token").absolute()),
        }

    def _kept(self, name: str) -> str:
        given = self._read(name)
        if given is None:
            given = secrets.token_hex(32)
            self._write(name, given)
        return given

    def start(self, object_store_mib: int) -> str:
        """Starts the node, unless it runs; returns its address.

        Raises:
            NodeError: it did not come up.
        """
        running = self.address
        if running is not None:
            self._wait_until_up(running)
            return running
        self._clear()
        port = _free_port()
        process = self._spawn(port, object_store_mib)
        self._write("pid", f"{process.pid} {began(psutil.Process(process.pid))}")
        self._write("address", f"127.0.0.1:{port}")
        self._wait_until_up(f"127.0.0.1:{port}")
        return f"127.0.0.1:{port}"

    def stop(self) -> bool:
        """Stops the node and everything on it; whether there was one.

        Raises:
            NodeError: processes of it could not be ended.
        """
        process = self._process()
        if process is None:
            self._clear()
            return False
        family = [process, *process.children(recursive=True)]
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
        _, left = psutil.wait_procs(family, timeout=STOP_S)
        self._kill([*left, *self._strays()])
        self._clear()
        return True

    @property
    def temp(self) -> Path:
        """Ray's folder: short, for the paths of its sockets must stay below 108 bytes, and one for each state folder."""
        return self._temps / hashlib.sha256(str(self.state.absolute()).encode()).hexdigest()[:12]

    @property
    def _temps(self) -> Path:
        """The folder of all of this user's herds. Ray opens its own folders to every user, so this one above them is closed."""
        return Path(f"/tmp/llama-herd-{os.getuid()}")

    @property
    def log(self) -> Path:
        """The file with the output of `ray start`."""
        return self.state / "ray.log"

    def _spawn(self, port: int, object_store_mib: int) -> "subprocess.Popen[bytes]":
        command = [
            *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
            *("--node-ip-address", "127.0.0.1", "--port", str(port), "--temp-dir", str(self.temp)),
            *("--num-cpus", str(max(LOGICAL_CPUS, os.cpu_count() or 1)), "--object-store-memory", str(object_store_mib << 20)),
            *(
                "--ray-client-server-port",
                str(_free_port()),
                "--include-dashboard",
                "false",
                "--disable-usage-stats",
                "--min-worker-port",
                "0",
                "--max-worker-port",
                "0",
            ),
        ]
        closed(self.state)
        closed(self._temps)
        self.temp.mkdir(exist_ok=True, mode=0o700)
        with self.log.open("wb") as log:
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=self._environment()
            )

    def _environment(self) -> dict[str, str]:
        own = {
            MARK: str(self.temp),
            **{VARIABLES[purpose]: self.key(purpose) for purpose in SERVING},
            "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
            # Ray gives its workers a niceness of 15: engines would wait for whatever else the machine does, their own clients too.
            "RAY_worker_niceness": "0",
            # There is no other node for its work to move to, so there is nothing to wait for when it is told to stop.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        }
        given = {name: value for name, value in os.environ.items() if name not in NOT_FOR_THE_NODE}
        return given | self.environment() | own

    def _wait_until_up(self, address: str) -> None:
        """Also for a node that was started a moment ago by somebody else, or by a command that was interrupted."""
        deadline, said = time.monotonic() + START_S, ""
        while time.monotonic() < deadline:
            said = self.log.read_text(encoding="utf-8", errors="replace")
            process = self._process()
            if process is None:
                raise NodeError(_did_not_start(said, f"{self.log} has its output."))
            if is_hopeless(said):
                self._kill([process, *process.children(recursive=True)])  # it hears nothing while it waits
                self._clear()
                raise NodeError(_did_not_start(said, f"{self.log} has its output."))
            if "Ray runtime started" in said and _listens(address):
                return
            time.sleep(0.2)
        way_out = f"`herd down` clears it away; {self.log} has its output."
        raise NodeError(_did_not_start(said, way_out, f" within {START_S:.0f} s"))

    def _process(self) -> psutil.Process | None:
        """The node's process; a process id alone may have been given to another one since."""
        with contextlib.suppress(ValueError):
            number, second, *born = (self._read("pid") or "").split()
            return alive(int(number), float(second), *born[:1])
        return None

    def _strays(self) -> list[psutil.Process]:
        """Processes that the node started, whoever their parent is by now: each has inherited its mark."""
        return [one for one in psutil.process_iter() if _marked(one, str(self.temp))]

    def _kill(self, processes: list[psutil.Process]) -> None:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        _, left = psutil.wait_procs(processes, timeout=10)
        if left:
            raise NodeError(f"Processes of Ray did not end: {', '.join(str(process.pid) for process in left)}. End them by hand.")

    def _clear(self) -> None:
        for name in ("pid", "address"):
            (self.state / name).unlink(missing_ok=True)
        if self.temp.exists():
            closed(self._temps)  # somebody else's may lead to other folders
            shutil.rmtree(self.temp, ignore_errors=True)

    def _read(self, name: str) -> str | None:
        with contextlib.suppress(FileNotFoundError):
            return (self.state / name).read_text(encoding="utf-8").strip() or None
        return None

    def _write(self, name: str, text: str) -> None:
        closed(self.state)
        write_closed(self.state / name, text)


def write_closed(path: Path, text: str) -> None:
    """Writes a file that only this user can read."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def closed(folder: Path) -> None:
    """Makes a folder that no other user can read or change, or closes the one that is there.

    Raises:
        NodeError: there is something that is not a folder, or belongs to another user.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except FileExistsError:
        raise NodeError(f"{folder} is not a folder. Remove it.") from None
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise NodeError(f"{folder} is a link, or belongs to another user, who could change what runs here. Remove it, or ask its owner to.")
    if stat.S_IMODE(found.st_mode) & 0o077:
        folder.chmod(0o700)


def _did_not_start(said: str, more: str, within: str = "") -> str:
    why = why_not_started(said)
    return f"Ray did not start{within}{f': {why}' if why else ''}. {more}"


def _marked(process: psutil.Process, mark: str) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.environ().get(MARK) == mark
    return False


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=2):
        return True
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

"""Fake hosts on this machine: each has a network, processes, a host name, a home and an sshd of its own.

Decides how they are joined: a bridge in the namespace of one more host, the operator's, and nothing in the machine's own network. All are
child processes of the test, which the kernel ends with it, and their namespaces end with them: a test that is killed leaves a folder of
pytest's. The file system is shared, so one installed environment serves every host, and so is a /dev/shm of their own, through which
vLLM's engines on CPU exchange tensors; temporary files are each host's own.
"""

import contextlib
import ctypes
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import psutil

from tests.processes import words

T = TypeVar("T")
NETWORK = "10.77.0"
COMMANDS = ("ip", "nsenter", "rsync", "setpriv", "ssh", "ssh-keygen", "sshd", "unshare")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
NAMESPACES = ("unshare", "--net", "--pid", "--mount", "--uts", "--fork", "--mount-proc", "--kill-child")
START_S = 60.0
CLONE_NEWNET = 0x40000000

#: What a host does first: its own name, its own place for what machines share by chance, its own home.
BOOT = """
set -e
hostname "$1"
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/tmp
mount --bind "$2/tmp" /run/tmp
mount --bind "$2/lib" /var/lib
mount --bind "$2/passwd" /etc/passwd
ip link set lo up
"""
SWITCH = """
mount -t tmpfs tmpfs /dev/shm
ip link add lan type bridge
ip addr add "$3" dev lan
ip link set lan up
"""
#: Its own user knows the others, as an operator's does.
SSH = """Host *
  StrictHostKeyChecking no
  UserKnownHostsFile /dev/null
  LogLevel ERROR
  BatchMode yes
"""
SSHD = 'exec /usr/sbin/sshd -D -e -f "$2/../sshd_config"'


def missing() -> str | None:
    """Why this machine cannot have fake hosts; none where it can."""
    if os.getuid() != 0:
        return "fake hosts need root"
    absent = [command for command in COMMANDS if shutil.which(command, path=PATH) is None]
    if absent:
        return f"{', '.join(absent)} not installed (Debian: apt-get install iproute2 openssh-client openssh-server rsync util-linux)"
    probe = "ip link add probe type bridge && ip link add one type veth peer name two && mount -t tmpfs tmpfs /run"
    tried = subprocess.run([*NAMESPACES, "sh", "-c", probe], env={"PATH": PATH}, capture_output=True, text=True, timeout=30, check=False)
    return None if tried.returncode == 0 else f"this machine lends no namespaces: {tried.stderr.strip()[-200:]}"


@dataclass(frozen=True)
class Host:
    """A running fake host."""

    name: str
    address: str
    own: Path
    """Its folder: its home, its temporary files and Ray's, what its sshd said."""
    process: "subprocess.Popen[bytes]"
    init: int
    """Its process 1, by its number here."""

    def namespace(self, kind: str) -> str:
        """What tells its namespace of this kind (`net`, `pid`) from others'."""
        return os.readlink(f"/proc/{self.init}/ns/{kind}")

    def processes(self) -> list[psutil.Process]:
        """All of its processes but its first, and those of the ssh sessions that it serves."""
        found = [one for one in psutil.process_iter() if one.pid != self.init and namespace_of(one.pid, "pid") == self.namespace("pid")]
        return [one for one in found if not words(one).startswith("sshd")]

    def listening(self) -> set[int]:
        """The TCP ports that something on it listens on."""
        lines = [line for name in ("tcp", "tcp6") for line in Path(f"/proc/{self.init}/net/{name}").read_text("ascii").splitlines()[1:]]
        return {int(fields[1].rpartition(":")[2], 16) for fields in map(str.split, lines) if fields[3] == "0A"}


def namespace_of(pid: int, kind: str) -> str | None:
    """A process's namespace; none where it has just ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/{kind}")
    except OSError:
        return None


class Hosts:
    """An operator's host, and those of a cluster. To be closed."""

    def __init__(
        self, folder: Path, count: int, environment: Mapping[str, str], own: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    ) -> None:
        """Starts them; returns when each one's sshd answers.

        Args:
            folder: for their files; removed when they are closed.
            count: hosts beside the operator's.
            environment: what every shell on them has in its environment.
            own: what the shells of one host have in it besides, by its name.

        Raises:
            RuntimeError: one did not come up; its log's end is told.
        """
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.key = folder / "key"
        self.user = f"fake-hosts-{secrets.token_hex(4)}"
        self._environment = {**environment, "LOGNAME": self.user, "TMPDIR": "/run/tmp"}
        self._own = own
        self._all: list[Host] = []
        self._prepare()
        try:
            self.operator = self._start("operator", f"{NETWORK}.1", SWITCH)
            self._inside = ThreadPoolExecutor(8, initializer=_enter, initargs=(self.operator.init,))
            self._answers(self.operator)  # its bridge and its mounts are there
            self.cluster = [self._start(f"dgx{number}", f"{NETWORK}.{10 + number}") for number in range(1, count + 1)]
            for host in self.cluster:
                self._plug_in(host)
                self._answers(host)
        except BaseException:
            self.close()
            raise

    def _prepare(self) -> None:
        for kind in ("key", "hostkey"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / kind)], check=True, timeout=30)
        settings = {
            "HostKey": self.folder / "hostkey",
            "AuthorizedKeysFile": self.folder / "key.pub",
            "PermitRootLogin": "prohibit-password",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
        }
        (self.folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()), encoding="utf-8")

    def _start(self, name: str, address: str, more: str = "") -> Host:
        own = self.folder / name
        for part in ("home/.ssh", "tmp", "lib"):
            (own / part).mkdir(parents=True, exist_ok=True)
        variables = self._environment | dict(self._own.get(name, {}))
        exports = "".join(f"export {key}='{value}'\n" for key, value in variables.items())
        (own / "home/.bashrc").write_text(exports, encoding="utf-8")
        (own / "home/.ssh/config").write_text(f"{SSH}  IdentityFile {self.key}\n", encoding="utf-8")
        (own / "passwd").write_text(f"root:x:0:0:root:{own / 'home'}:/bin/bash\n{_users()}", encoding="utf-8")
        # The operator's mounts are the hosts' too: that is how they come to share a /dev/shm.
        joined = ["nsenter", f"--mount=/proc/{self._all[0].init}/ns/mnt"] if self._all else []
        dies_with_us = ["setpriv", "--pdeathsig", "KILL"]
        boot = ["bash", "-c", f"{BOOT}{more}{SSHD}", "boot", name, str(own), f"{address}/24"]
        with (own / "log").open("wb") as log:
            process = subprocess.Popen(
                [*joined, *dies_with_us, *NAMESPACES, *boot], env={"PATH": PATH}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        host = Host(name, address, own, process, _first_process(process, own / "log"))
        self._all.append(host)
        return host

    def power_off(self, host: Host) -> None:
        """Takes a host's power away: all of its processes at once. Its disk stays."""
        host.process.kill()
        host.process.wait(timeout=30)
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.wait_procs([psutil.Process(host.init)], timeout=30)
        self._all.remove(host)

    def power_on(self, host: Host) -> Host:
        """The same host again, under its name and address, with what was on its disk; returns when its sshd answers."""
        again = self._start(host.name, host.address)
        self.cluster[self.cluster.index(host)] = again
        self._plug_in(again)
        self._answers(again)
        return again

    def plug(self, host: Host, state: str) -> None:
        """Takes a host off the network, or puts it on again: `down` or `up`."""
        self._ip(self.operator, "ip", "link", "set", host.name, state)

    def _plug_in(self, host: Host) -> None:
        """Joins it to the operator's bridge."""
        card = "02:00:" + ":".join(f"{int(part):02x}" for part in host.address.split("."))  # the same after a reboot: others remember it
        plug = ("ip", "link", "add", host.name, "type", "veth", "peer", "name", "eth0", "address", card, "netns", str(host.init))
        self._ip(self.operator, *plug)
        self._ip(self.operator, "ip", "link", "set", host.name, "master", "lan", "up")
        self._ip(host, "ip", "addr", "add", f"{host.address}/24", "dev", "eth0")
        self._ip(host, "ip", "link", "set", "eth0", "up")

    def _ip(self, host: Host, *command: str) -> None:
        net = f"--net=/proc/{host.init}/ns/net"
        subprocess.run(["nsenter", net, *command], env={"PATH": PATH}, check=True, timeout=30)

    def _answers(self, host: Host) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and host.process.poll() is None:
            try:
                self.inside(lambda: socket.create_connection((host.address, 22), timeout=2).close())
            except (OSError, BrokenExecutor):  # the latter where the host has ended before a thread is in its network
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"{host.name} did not come up: {_end(host.own / 'log')}")

    def inside(self, ask: Callable[[], T]) -> T:
        """What a function finds that runs in the hosts' network, on a thread of its own."""
        return self._inside.submit(ask).result()

    def run(self, *command: str, within_s: float, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Runs a command on the operator's host, in the folder of all files, with the environment of its shells."""
        into = ["nsenter", f"--target={self.operator.init}", "--net", "--pid", "--mount", "--uts", f"--wd={self.folder}"]
        shell = ["bash", "-c", 'source ~/.bashrc; exec "$@"', "shell", *command]
        environment = {"PATH": PATH, "HOME": str(self.operator.own / "home"), "COLUMNS": "200", "NO_COLOR": "1"}
        return subprocess.run(
            [*into, *shell], env=environment, input=stdin, capture_output=True, text=True, timeout=within_s, check=False, errors="replace"
        )

    def ssh(self, host: Host, command: str, within_s: float) -> "subprocess.CompletedProcess[str]":
        """Runs a shell's command on a host, over ssh from the operator's."""
        return self.run("ssh", f"root@{host.address}", command, within_s=within_s)

    def close(self) -> None:
        """Ends every host with all of its processes, and removes every trace."""
        if hasattr(self, "_inside"):
            self._inside.shutdown(wait=False, cancel_futures=True)
        for host in reversed(self._all):
            host.process.kill()
        for host in list(self._all):
            self.power_off(host)
        shutil.rmtree(self.folder, ignore_errors=True)
        # Ray keeps its ssh connections there, whatever its own folder is.
        shutil.rmtree(f"/tmp/ray_ssh_{sha256(self.user.encode()).hexdigest()[:10]}", ignore_errors=True)


def _users() -> str:
    """Everybody but root, sshd's own user among them."""
    lines = Path("/etc/passwd").read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("root:"))


def _first_process(process: "subprocess.Popen[bytes]", log: Path) -> int:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        children = psutil.Process(process.pid).children()
        if children and namespace_of(children[0].pid, "pid") != namespace_of(os.getpid(), "pid"):
            return children[0].pid
        time.sleep(0.02)
    process.kill()
    process.wait(timeout=30)
    raise RuntimeError(f"a fake host did not start: {_end(log)}")


def _end(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")[-500:]


def _enter(pid: int) -> None:
    """Takes this thread into a process's network."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{pid}/ns/net", encoding="ascii") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "the hosts' network cannot be entered")

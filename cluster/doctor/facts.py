"""The facts that are read of a node, and the findings about it.

Decides the words: facts go in, findings come out. Facts are read by `cluster.machine.read_node`, and judged by `cluster.doctor.gpu_checks`,
`cluster.doctor.host_checks` and `cluster.doctor.compare_nodes`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cluster.catalogue.hardware import GIB, Fabric, cluster_of
from cluster.planner.engine_groups import only_prefills, pools
from cluster.planner.herd_fit import NoShape, chosen, known_cluster
from configs.schema import Config, Model

#: PCIe 5.0 x16, both directions together: what joins GPUs faster is NVLink.
PCIE_BYTES_S = 128e9


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    NOT_CHECKED = "not checked"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of one node: what was seen, and what to do about it."""

    check: str
    level: Level
    seen: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class GpuState:
    """One GPU, as the driver reports it. None: this GPU or this driver does not say."""

    index: int
    name: str
    memory_mib: int
    uncorrectable_errors: int = 0
    """ECC errors since the driver was loaded or the GPU was reset; what was before is in its remapped rows."""
    sram_worn: bool = False
    """More uncorrectable SRAM errors in its life than NVIDIA accepts."""
    remap_pending: bool = False
    remap_failed: bool = False
    recovery: str | None = None
    """The step that the driver asks for: "Reset", "Reboot", "Drain P2P", "Drain and Reset"."""
    recovered: bool = False
    """The driver says that nothing has to be done, whatever errors there were."""
    bus: str = ""
    """PCI address, as the kernel's log has it: 0000:3b:00."""
    used_mib: int = 0
    mig: bool | None = None
    """The GPU is divided into several (Multi-Instance GPU)."""
    ecc: bool | None = None
    """Memory errors are found and mended."""
    fabric_state: str | None = None
    fabric_status: str | None = None
    width: int | None = None
    """PCIe lanes in use."""
    most_width: int | None = None
    slowdowns: tuple[str, ...] = ()
    """Why the hardware holds its clocks down right now."""


@dataclass(frozen=True, slots=True)
class GpuReport:
    """All GPUs of a node."""

    driver: str
    cuda: str
    """The newest CUDA that the driver runs; empty for AMD's."""
    gpus: tuple[GpuState, ...]
    amd: bool = False
    """The GPUs are AMD's: `amd-smi` says less than `nvidia-smi`."""


@dataclass(frozen=True, slots=True)
class Xid:
    """An error of a GPU, or of an NVSwitch, in the kernel's log."""

    code: int
    device: str
    age_s: float
    text: str
    switch: bool = False


@dataclass(frozen=True, slots=True)
class DiagnosedTest:
    """A test of NVIDIA's own diagnosis (`dcgmi diag`) that did not pass."""

    name: str
    said: str
    severity: int | None = None
    """DCGM's number for the worst of its warnings; None from versions before 4."""


@dataclass(frozen=True, slots=True)
class RdmaPort:
    """A port of an RDMA device."""

    name: str
    active: bool
    gbit_s: float
    link: str = ""
    """The kernel's word for what the port speaks: InfiniBand, Ethernet, or Unspecified for EFA."""
    opens: bool | None = None
    """A program on this node, in its container, may open the port's device. None: the kernel has no device file for it."""


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """The facts about a node. None: it cannot be read."""

    host: str
    versions: Mapping[str, str] = field(default_factory=dict)
    report: GpuReport | None = None
    """None: there is no driver of NVIDIA's or AMD's, or it does not answer."""
    driver_error: str | None = None
    """The words of `nvidia-smi` or `amd-smi` where they gave no report."""
    libcuda: str = ""
    """The newest CUDA of the libcuda that programs load, which a package for compatibility replaces; empty: there is none."""
    diagnosis: tuple[DiagnosedTest, ...] | None = None
    """The tests of `dcgmi diag -r 1` that did not pass; None where it is not installed, or not answered."""
    links: tuple[tuple[float, ...], ...] = ()
    """GB/s of each NVLink of each GPU; 0 where it is down."""
    xids: tuple[Xid, ...] | None = None
    ports: tuple[RdmaPort, ...] = ()
    peer_memory: bool = False
    """Network cards and GPUs exchange without the host's memory: by nvidia_peermem, or by the open kernel modules' DMA-BUF."""
    driver_options: Mapping[str, str] = field(default_factory=dict)
    """The options that NVIDIA's driver was loaded with, by the names of /proc/driver/nvidia/params; empty where it does not say."""
    clock_synchronised: bool | None = None
    cache: str = ""
    """The folder that weights are kept in."""
    cache_free_bytes: int = 0
    shm_bytes: int = 0
    open_files: int | None = None
    locked_bytes: int | None = None
    missing_checkpoints: tuple[str, ...] = ()
    interface: str | None = None
    """The network interface that has the node's address."""
    ray_asks_for_token: bool | None = None
    """None: the node was read without Ray."""

    @property
    def has_gpus(self) -> bool:
        """Whether the driver shows any."""
        return self.report is not None and bool(self.report.gpus)


@dataclass(frozen=True, slots=True)
class Expected:
    """The config's words about its nodes."""

    gpus: int
    memory_gib: float
    """Of one GPU, as torch sees it."""
    nvlink: bool
    gpu: str | None = None
    """The name of the GPU, as the catalogue has it; None for one that the config describes."""
    fabric: Fabric | None = None
    """None: no engine leaves its node, and none hands its KV cache over, so no network card for RDMA is missed."""
    gpus_drive_cards: bool = False
    """GPUs of an engine send to other nodes by themselves, past the CPU: DeepEP over several nodes does."""


def expected(config: Config) -> Expected | None:
    """Returns what `hardware` promises, and whether engines need RDMA between nodes; None where the config does not say."""
    hardware = config.hardware
    if hardware is None:
        return None
    node = cluster_of(hardware).node
    leaving = [pool for pool in pools(_settled(config).models) if hardware.nodes != 1 and _leaves_its_node(pool, node.gpus)]
    return Expected(
        node.gpus,
        node.gpu.memory_gib,
        nvlink=node.gpu.link_bytes_s > PCIE_BYTES_S,
        gpu=None if hardware.custom_gpu is not None else node.gpu.name,
        fabric=node.fabric if leaving else None,
        gpus_drive_cards=any((pool.parallel.all_to_all or "").startswith("deepep") for pool in leaving),
    )


def _settled(config: Config) -> Config:
    """Returns a config with the shapes that `herd up` will choose; as it is where there are none."""
    try:
        return chosen(config, known_cluster(config))
    except NoShape:
        return config


def _leaves_its_node(pool: Model, gpus_per_node: int) -> bool:
    """Tells whether an engine's ranks, or its KV cache, go to another node. `parallel: auto` for which there is no shape may."""
    handed_over = pool.prefill is not None or only_prefills(pool)
    return handed_over or pool.parallel.auto or pool.parallel.gpus > gpus_per_node


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level of several findings; a check that was not made is no worse than one that went well."""
    found = {finding.level for finding in findings}
    return next((level for level in (Level.FAIL, Level.WARN) if level in found), Level.OK)


def gib(count: float) -> str:
    """Bytes as people read them."""
    return f"{count / GIB:,.0f} GiB" if count >= 10 * GIB else f"{count / GIB:.2g} GiB"


def names(addresses: Mapping[str, str]) -> dict[str, str]:
    """Returns a name for each node, by id: its address, and the beginning of its id where several have the same."""
    known = list(addresses.values())
    return {node: address if known.count(address) == 1 else f"{address}/{node[:6]}" for node, address in addresses.items()}

"""Whether a node's network cards carry what engines send to other nodes: ports, rates, device files, locked memory.

Decides what is missed. Where no engine leaves its node, nothing is; where the config does not say, it is a warning: an RDMA device may be
any server's Ethernet card. How NCCL chooses: any active verbs device, InfiniBand, RoCE or EFA (its documentation of NCCL_IB_HCA).
"""

from collections.abc import Iterator, Sequence

from cluster.doctor.facts import Expected, Finding, Level, NodeFacts, RdmaPort, gib

RDMA = "RDMA"
CABLES = "look at cables, switch and `ibstat`; InfiniBand needs a subnet manager"
#: Options of NVIDIA's driver: their names and values in /proc/driver/nvidia/params, and what a file of /etc/modprobe.d has.
GPU_DRIVEN = (
    ("EnableStreamMemOPs", "1", "NVreg_EnableStreamMemOPs=1"),
    ("RegistryDwords", "PeerMappingOverride=1", 'NVreg_RegistryDwords="PeerMappingOverride=1;"'),
)
#: A port that the kernel shows at a tenth less is of the same kind.
LEAST_RATE = 0.9


def network_findings(facts: NodeFacts, expected: Expected | None) -> Iterator[Finding]:
    """Yields everything about the network cards of one node.

    Args:
        facts: what was read.
        expected: what the config promises; None where it does not say.
    """
    missed = _level(expected)
    if facts.ports:
        yield from _ports(facts, expected, missed)
        yield from _devices(facts, missed)
        yield from _locked(facts, missed)
        yield from _driven_by_gpus(facts, expected)
    elif expected is not None and expected.fabric is not None:
        least = expected.fabric.ports
        seen = f"no RDMA device{f'; this machine has {least} ports' if least else ': engines talk to other nodes by TCP, which is slow'}"
        way_out = "load the card's driver; see `ibstat`, `lspci` and, on AWS, `fi_info -p efa`"
        yield Finding(RDMA, Level.FAIL if least else Level.WARN, seen, way_out)


def _level(expected: Expected | None) -> Level:
    """Returns how bad it is if a card cannot be used."""
    if expected is None:
        return Level.WARN
    return Level.OK if expected.fabric is None else Level.FAIL


def full_rate(ports: Sequence[RdmaPort]) -> list[RdmaPort]:
    """Returns the active ports that are as fast as the fastest one that speaks the same."""
    active = [port for port in ports if port.active]
    return [port for port in active if port.gbit_s >= LEAST_RATE * max(one.gbit_s for one in active if one.link == port.link)]


def _ports(facts: NodeFacts, expected: Expected | None, missed: Level) -> Iterator[Finding]:
    active, down = ([port for port in facts.ports if port.active is up] for up in (True, False))
    if not active:
        unused = ": no engine of this config needs one" if missed is Level.OK else ""
        yield _finding(missed, f"no port is active ({_named(down)}){unused}", CABLES)
        return
    rates = sorted({port.gbit_s for port in active})
    at = f"{rates[0]:g} Gbit/s" if len(rates) == 1 else f"{rates[0]:g} to {rates[-1]:g} Gbit/s"
    idle = f", {len(down)} down ({_named(down)})" if down else ""
    seen = f"{len(active)} port{'s' if len(active) > 1 else ''} active at {at}{idle}"
    fabric = expected.fabric if expected else None
    if fabric is not None and fabric.ports:
        there = [port for port in active if port.gbit_s >= LEAST_RATE * fabric.gbit_s]
        if len(there) < fabric.ports:
            at_least = f" at {fabric.gbit_s:g} Gbit/s" if fabric.gbit_s else ""
            yield Finding(RDMA, Level.FAIL, f"{seen}; this machine has {fabric.ports}{at_least}", CABLES)
            return
    yield from _rates(seen, active, enough=missed is Level.OK or (fabric is not None and fabric.ports > 0))
    if facts.has_gpus and not facts.peer_memory and not all(port.name.startswith("efa") for port in active):
        way_out = "`modprobe nvidia_peermem`, or use the driver's open kernel modules, which give NCCL DMA-BUF"
        yield Finding("GPUDirect", Level.WARN, "nvidia_peermem is not loaded", way_out)


def _rates(seen: str, active: Sequence[RdmaPort], enough: bool) -> Iterator[Finding]:
    """Doubts a machine that is not known so well: a port that came up at a lower rate, or one that is for storage."""
    fast = full_rate(active)
    slow = [port for port in active if port not in fast]
    if slow and not enough:
        way_out = f"{CABLES}; leave it out of NCCL_IB_HCA if it is not for GPUs"
        yield Finding(RDMA, Level.WARN, f"{seen}; slower than the others: {_named(slow)}", way_out)
    else:
        yield Finding(RDMA, Level.OK, seen)


def _devices(facts: NodeFacts, missed: Level) -> Iterator[Finding]:
    """The kernel shows the host's cards in every container; only opening one tells whether NCCL can."""
    closed = [port for port in facts.ports if port.active and port.opens is False]
    if closed and missed is not Level.OK:
        way_out = "give the container --device=/dev/infiniband; without it NCCL talks by TCP, and DeepEP and NIXL do not start"
        yield Finding("RDMA devices", missed, f"cannot be opened: {_named(closed)}", way_out)


def _locked(facts: NodeFacts, missed: Level) -> Iterator[Finding]:
    """RDMA pins what it reads and writes."""
    if facts.locked_bytes is not None and missed is not Level.OK and any(port.active for port in facts.ports):
        way_out = "`ulimit -l unlimited` before `ray start`; for Docker --ulimit=memlock=-1:-1"
        yield Finding("locked memory", missed, f"at most {gib(facts.locked_bytes)}, and RDMA must pin its buffers", way_out)


def _driven_by_gpus(facts: NodeFacts, expected: Expected | None) -> Iterator[Finding]:
    """GPUs ring the card's doorbell themselves only where the driver maps it for them (DeepEP, docs/nvshmem.md)."""
    if expected is None or not expected.gpus_drive_cards or not facts.driver_options:
        return
    lacking = [text for name, value, text in GPU_DRIVEN if value not in facts.driver_options.get(name, "")]
    if lacking:
        way_out = f"`options nvidia {' '.join(lacking)}` in a file of /etc/modprobe.d, then reboot"
        yield Finding(
            "DeepEP", Level.WARN, "the driver does not let GPUs drive network cards, which DeepEP over several nodes needs", way_out
        )


def _finding(level: Level, seen: str, way_out: str) -> Finding:
    return Finding(RDMA, level, seen, "" if level is Level.OK else way_out)


def _named(ports: Sequence[RdmaPort]) -> str:
    return ", ".join(port.name for port in ports)

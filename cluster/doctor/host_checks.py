"""Whether the rest of a node may serve: clock, disk, shared memory, limits, files; and everything about one node together.

Decides the findings about one node without its GPUs and network cards. What only GPUs need is at most a warning on a node that has none.
"""

from collections.abc import Iterator

from cluster.catalogue.hardware import GIB
from cluster.doctor.facts import Expected, Finding, Level, NodeFacts, gib
from cluster.doctor.gpu_checks import gpu_findings
from cluster.doctor.network_checks import network_findings

#: NCCL takes up to about 10 MiB of /dev/shm per GPU and peer, Ray's object store a third of the memory; Docker's default is 64 MiB.
LEAST_SHM_BYTES, GOOD_SHM_BYTES = 1 * GIB, 10 * GIB
#: Ray's documentation asks for 65,536 open files; a replica with a thousand streams and its engine need a few thousand.
LEAST_OPEN_FILES, GOOD_OPEN_FILES = 4096, 65_536
#: Ray's logs, compiled kernels and what a download leaves half-done.
LEAST_FREE_BYTES = 10 * GIB


def node_findings(facts: NodeFacts, expected: Expected | None, weights_bytes: float = 0.0, idle: bool = False) -> tuple[Finding, ...]:
    """Everything that one node can be judged by on its own.

    Args:
        facts: what was read.
        expected: what the config promises of the GPUs; none where it does not say.
        weights_bytes: of the largest checkpoint that may have to be downloaded.
        idle: no engine of Ray's has GPUs there, so memory in use is somebody else's.
    """
    for_gpus = facts.has_gpus or expected is not None
    return (*gpu_findings(facts, expected, idle), *network_findings(facts, expected), *_host(facts, for_gpus, weights_bytes))


def _host(facts: NodeFacts, for_gpus: bool, weights_bytes: float) -> Iterator[Finding]:
    yield _clock(facts)
    yield _disk(facts, weights_bytes)
    yield from _checkpoints(facts)
    yield _shm(facts, Level.FAIL if for_gpus else Level.WARN)
    yield _open_files(facts)


def _clock(facts: NodeFacts) -> Finding:
    if facts.clock_synchronised is None:
        return Finding("clock", Level.NOT_CHECKED, "the kernel does not say whether it is synchronised")
    if not facts.clock_synchronised:
        return Finding("clock", Level.WARN, "not synchronised", "start chrony or systemd-timesyncd")
    return Finding("clock", Level.OK, "synchronised")


def _disk(facts: NodeFacts, weights_bytes: float) -> Finding:
    free = f"{gib(facts.cache_free_bytes)} free in {facts.cache}"
    if facts.cache_free_bytes < LEAST_FREE_BYTES:
        return Finding("disk", Level.FAIL, free, "make room, or set HERD_CACHE to a larger disk")
    if facts.cache_free_bytes < weights_bytes:
        way_out = "make room, or set HERD_CACHE to a larger disk; no matter if the weights are there already"
        return Finding("disk", Level.WARN, f"{free}; the largest checkpoint takes {gib(weights_bytes)}", way_out)
    return Finding("disk", Level.OK, free)


def _checkpoints(facts: NodeFacts) -> Iterator[Finding]:
    if facts.missing_checkpoints:
        seen = f"not on this node: {', '.join(facts.missing_checkpoints)}"
        yield Finding("checkpoints", Level.FAIL, seen, "copy or mount them at the same place on every node")


def _shm(facts: NodeFacts, worst: Level) -> Finding:
    size, way_out = f"{gib(facts.shm_bytes)} of /dev/shm", "give the container --shm-size or --ipc=host, or remount /dev/shm larger"
    if facts.shm_bytes < LEAST_SHM_BYTES:
        return Finding("shared memory", worst, size, way_out)
    if facts.shm_bytes < GOOD_SHM_BYTES:
        return Finding("shared memory", Level.WARN, size, way_out)
    return Finding("shared memory", Level.OK, size)


def _open_files(facts: NodeFacts) -> Finding:
    if facts.open_files is None:
        return Finding("open files", Level.OK, "no limit")
    seen, way_out = f"at most {facts.open_files:,}", f"`ulimit -n {GOOD_OPEN_FILES}` before `ray start`"
    level = Level.FAIL if facts.open_files < LEAST_OPEN_FILES else Level.WARN if facts.open_files < GOOD_OPEN_FILES else Level.OK
    return Finding("open files", level, seen, "" if level is Level.OK else way_out)

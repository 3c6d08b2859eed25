"""Which nodes all-reduce with which, and what their results say about each node.

Decides the order: rounds in which every node has at most one partner, so that a round's pairs run at once and do not share a link.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from cluster.doctor.facts import Finding, Level

Name = TypeVar("Name")

#: A pair slower than this part of the usual one has something between it.
SLOW = 0.5
#: With fewer pairs nobody knows what is usual.
LEAST_PAIRS = 3
#: Of what a network card can do, NCCL reaches nine tenths with GPUDirect, and far less where it goes through the host's memory.
LEAST_OF_CARD = 0.5
CHECK = "all-reduce"
#: As torch, NCCL and CUDA say that a GPU has no memory left: an engine has it, which is no fault of the node.
_NO_ROOM = re.compile(r"out of memory|OutOfMemory|MemoryAllocation", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PairResult:
    """One all-reduce between two nodes."""

    nodes: tuple[str, str]
    backend: str
    gbyte_s: float | None = None
    """Bytes of the buffer by seconds, on the slowest of the pair's GPUs; for two ranks that is what crosses the wire each way."""
    error: str | None = None

    @property
    def had_no_room(self) -> bool:
        """Whether there was no memory for the test, beside an engine that runs."""
        return self.error is not None and _NO_ROOM.search(self.error) is not None

    @property
    def failed(self) -> bool:
        """Whether something is the matter between the two."""
        return self.error is not None and not self.had_no_room


def rounds(names: Sequence[Name], most: int | None = None) -> list[list[tuple[Name, Name]]]:
    """Every pair once, in as few rounds as can be: the circle method. With `most`, only the first so many rounds."""
    if len(names) < 2:
        return []
    seats: list[Name | None] = [*names, *([None] if len(names) % 2 else [])]
    found = []
    for _ in range(len(seats) - 1):
        halves = zip(seats[: len(seats) // 2], reversed(seats[len(seats) // 2 :]), strict=True)
        found.append([(one, other) for one, other in halves if one is not None and other is not None])
        seats = [seats[0], seats[-1], *seats[1:-1]]
    return found[:most]


def pair_findings(results: Sequence[PairResult], card_gbyte_s: Mapping[str, float]) -> dict[str, tuple[Finding, ...]]:
    """Judges each node by all results together.

    A node that fails with everybody is sick; one that fails with some may only have met those.

    Args:
        results: of all pairs.
        card_gbyte_s: by node, what its fastest RDMA port carries; NCCL's results are held against it.
    """
    nodes = dict.fromkeys(node for result in results for node in result.nodes)
    pairs = Counter(node for result in results if not result.had_no_room for node in result.nodes)
    failed = Counter(node for result in results if result.failed for node in result.nodes)
    usual = _usual(results)
    return {node: tuple(_of(node, results, failed[node] == pairs[node], usual, card_gbyte_s.get(node, 0.0))) for node in nodes}


def _usual(results: Iterable[PairResult]) -> dict[str, float]:
    """By backend, the median; none where there are too few. NCCL over a card and gloo through the kernel are not to be compared."""
    rates: dict[str, list[float]] = {}
    for result in results:
        if result.gbyte_s is not None:
            rates.setdefault(result.backend, []).append(result.gbyte_s)
    return {backend: median(said) for backend, said in rates.items() if len(said) >= LEAST_PAIRS}


def _of(node: str, results: Sequence[PairResult], always: bool, usual: Mapping[str, float], card: float) -> Iterator[Finding]:
    mine = [(next(one for one in result.nodes if one != node), result) for result in results if node in result.nodes]
    bad = [(partner, result.error) for partner, result in mine if result.failed]
    if bad:
        partners = ", ".join(partner for partner, _ in bad)
        way_out = "look at the cables and the firewall between them; NCCL_DEBUG=INFO in the environment of `ray start` tells more"
        yield Finding(CHECK, Level.FAIL if always else Level.WARN, f"fails with {partners}: {bad[0][1]}", way_out)
    if any(result.had_no_room for _, result in mine):
        way_out = "try it while no engine runs there, or with a little less gpu_memory_utilization"
        yield Finding(CHECK, Level.NOT_CHECKED, "no GPU memory for it beside the engine that runs", way_out)
    rates = [
        _Rate(result.gbyte_s, _floor(result.backend, usual, card), partner, result.backend)
        for partner, result in mine
        if result.gbyte_s is not None
    ]
    if rates:
        yield _slowest(rates)


@dataclass(frozen=True, slots=True)
class _Rate:
    gbyte_s: float
    floor: float
    partner: str
    backend: str


def _floor(backend: str, usual: Mapping[str, float], card: float) -> float:
    return max(SLOW * usual.get(backend, 0.0), LEAST_OF_CARD * card if backend == "nccl" else 0.0)


def _slowest(rates: Sequence[_Rate]) -> Finding:
    """The one that is too slow; where none is, the slowest that counts: NCCL's, if there is one."""
    low = [rate for rate in rates if rate.gbyte_s < rate.floor]
    told = min(low or rates, key=lambda rate: (rate.backend != "nccl", rate.gbyte_s))
    seen = f"{told.gbyte_s:.2f} GB/s" + (f" with {told.partner}" if len(rates) > 1 else "") + f" ({told.backend})"
    if not low:
        return Finding(CHECK, Level.OK, seen)
    way_out = "look at NCCL_IB_HCA, GPUDirect, PCIe and the link's error counters (`ibqueryerrors`, `ethtool -S`)"
    return Finding(CHECK, Level.WARN, f"{seen}; half of what is usual here would be {told.floor:.2f}", way_out)

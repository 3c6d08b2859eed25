"""The cluster as a gateway reads it for its metrics: nodes, GPUs, replicas that start, events.

Decides which of them are counted as what.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.policy.records.starts import Start
from monitoring.labels import PLACING, Health, Use

#: A node that died counts as dead for so long. It may have been replaced by one with another address, which nobody can tell.
DEAD_S = 3600.0


@dataclass(frozen=True, slots=True)
class Node:
    """A node in Ray's table, which keeps dead ones for a while."""

    id: str
    address: str
    name: str
    """Its hostname."""
    alive: bool = True
    draining: bool = False
    """It gets no new work and is left."""
    told_to_end: bool = False
    """It is dead because somebody ended it."""
    metrics_port: int = 0
    """The port at which Ray shows the node's metrics; 0 where it shows none."""
    gpus: float = 0.0
    free_gpus: float = 0.0
    """GPUs that Ray has not given away."""


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """All that is read at one time."""

    nodes: tuple[Node, ...] = ()
    starting: Mapping[str, int] = field(default_factory=dict)
    """By model, replicas that Ray has been asked for and that do not take requests yet."""
    starts: tuple[Start, ...] = ()
    """The starts of these that have begun, and have not ended."""
    events: Mapping[str, int] = field(default_factory=dict)
    """By kind, events since the first reading."""


class Deaths:
    """Remembers when nodes were seen to have died. Nodes that were dead at the first look died at a time that nobody knows: they count as
    long gone."""

    def __init__(self) -> None:
        self._seen: dict[str, float] | None = None

    def seen(self, nodes: Sequence[Node], now_s: float) -> int:
        """Returns how many nodes have died within `DEAD_S`, were not told to, and have not come back."""
        dead = [node for node in nodes if not node.alive]
        if self._seen is None:
            self._seen = {node.id: now_s - DEAD_S for node in dead}
        before = self._seen
        self._seen = {node.id: before.get(node.id, now_s) for node in dead}
        there = {node.address for node in nodes if node.alive}
        lately = [node for node in dead if now_s - self._seen[node.id] < DEAD_S and not node.told_to_end]
        return len({node.address for node in lately} - there)


def health(nodes: Sequence[Node], dead: int) -> dict[tuple[str, ...], float]:
    """Returns how many nodes there are by their health, `dead` of them dead."""
    draining = sum(node.alive and node.draining for node in nodes)
    return {(Health.ALIVE,): sum(node.alive for node in nodes) - draining, (Health.DRAINING,): draining, (Health.DEAD,): dead}


def gpus(nodes: Sequence[Node]) -> dict[tuple[str, ...], float]:
    """Returns the GPUs of living nodes that Ray has given away, and those that it has not."""
    there = [node for node in nodes if node.alive]
    free = sum(min(node.free_gpus, node.gpus) for node in there)
    return {(Use.USED,): sum(node.gpus for node in there) - free, (Use.FREE,): free}


class Placing:
    """Remembers since when replicas of a model wait for room."""

    def __init__(self) -> None:
        self._since_s: dict[str, float] = {}

    def seen(self, facts: ClusterFacts, now_s: float) -> None:
        """Takes in a reading. A replica that is being started and has not begun waits for room."""
        begun = {model: len(_of(facts, model)) for model in facts.starting}
        waiting = [model for model, starting in facts.starting.items() if starting > begun[model]]
        self._since_s = {model: self._since_s.get(model, now_s) for model in waiting}

    def phases(self, facts: ClusterFacts, now_s: float) -> dict[tuple[str, ...], float]:
        """Returns for how long the longest running start of each model has been in its phase, by model and phase, and for how long a
        replica of it has waited for room.

        Args:
            facts: the last reading.
            now_s: seconds since 1970.
        """
        found: dict[tuple[str, ...], float] = {(model, PLACING): now_s - since for model, since in self._since_s.items()}
        for model in facts.starting:
            begun = [start for start in _of(facts, model) if start.phases]
            if begun:
                phase, since = max(begun, key=lambda start: now_s - start.began).phases[-1]
                found[model, phase] = max(0.0, now_s - since)
        return found


def _of(facts: ClusterFacts, model: str) -> list[Start]:
    """Returns the running starts of a model: the newest ones, as many as there are replicas that start. Older ones were killed."""
    starts = sorted((start for start in facts.starts if start.model == model), key=lambda start: start.began)
    return starts[max(0, len(starts) - facts.starting[model]) :]

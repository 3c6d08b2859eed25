"""The cluster among a gateway's metrics: replicas by state, starts by phase, nodes, GPUs and events.

Decides how long a reading is good for. A reading may take long, so it is done in a thread, and no request and no page waits for one.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from types import MappingProxyType

import structlog

from deployments.gateway.replicas.loops import end
from deployments.gateway.replicas.roster import Roster
from deployments.policy.monitoring.cluster_facts import ClusterFacts, Deaths, Node, Placing, gpus, health
from deployments.policy.routing.types import ReplicaState
from monitoring.counts import Labels
from monitoring.export import Meter
from monitoring.labels import EVENTS as KINDS
from monitoring.labels import Replica
from monitoring.metrics import EVENTS, GPUS, NODES

ReadCluster = Callable[[Sequence[str]], ClusterFacts]
"""Returns what the cluster tells, for these models. It may take long, and raise."""

PERIOD_S = 10.0
#: After so many periods without a reading nothing is shown of the last one: it was true then.
GOOD_FOR = 6
_STATES = MappingProxyType(
    {
        ReplicaState.READY: Replica.READY,
        ReplicaState.LEAVING: Replica.DRAINING,
        ReplicaState.SICK: Replica.SICK,
        ReplicaState.DEAD: Replica.DEAD,
    }
)


class ClusterFigures:
    """Reads the cluster, from its making until `stop`. It needs a running event loop."""

    def __init__(self, read: ReadCluster | None, roster: Roster, meter: Meter, period_s: float = PERIOD_S) -> None:
        """Args:
        read: asks the cluster. Called in a thread. None: nobody is asked, and only the roster is shown.
        roster: the replicas that this gateway knows.
        meter: shows what is known.
        period_s: between two readings.
        """
        self._roster, self._meter, self._period_s = roster, meter, period_s
        self._facts, self._read_s = ClusterFacts(), -GOOD_FOR * period_s
        self._deaths, self._placing, self._dead = Deaths(), Placing(), 0
        self._log = structlog.get_logger("herd.cluster")
        self._task = None if read is None else asyncio.get_running_loop().create_task(self._loop(read))
        if read is not None:
            for kind in KINDS:  # from 0, so that the first event of a kind is an increase
                meter.count(EVENTS, kind, by=0)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Returns the living nodes of the last reading, however old it is: while Ray's head is away they go on."""
        return tuple(node for node in self._facts.nodes if node.alive)

    @property
    def alive(self) -> bool:
        """It still reads."""
        return self._task is None or not self._task.done()

    def show(self) -> None:
        """Shows what is known now."""
        meter, roster = self._meter, self._roster
        meter.ready((model, roster.ready(model)) for model in roster.models)
        meter.slow((model, roster.slow(model)) for model in roster.models)
        facts = self._facts if time.monotonic() - self._read_s < GOOD_FOR * self._period_s else None
        meter.replicas(self._replicas(facts))
        if facts is None:
            for metric in (NODES, GPUS):
                meter.replace(metric, {})
            meter.starting({})
            return
        meter.starting(self._placing.phases(facts, time.time()))
        meter.replace(NODES, health(facts.nodes, self._dead))
        meter.replace(GPUS, gpus(facts.nodes))
        for kind, count in facts.events.items():
            meter.show(EVENTS, kind, value=count)

    def _replicas(self, facts: ClusterFacts | None) -> dict[Labels, float]:
        counts: dict[Labels, float] = {}
        for model in self._roster.models:
            states = Counter(view.state for view in self._roster.replicas(model))
            counts |= {(model, str(shown)): states[state] for state, shown in _STATES.items()}
            if facts is not None:
                counts[model, str(Replica.STARTING)] = facts.starting.get(model, 0)
        return counts

    async def stop(self) -> None:
        """Reads no more."""
        await end(() if self._task is None else (self._task,))

    async def _loop(self, read: ReadCluster) -> None:
        while True:
            try:
                self._take(await asyncio.to_thread(read, self._roster.models))
            except Exception as error:  # noqa: BLE001 (whatever Ray raises while its head is away: it is asked again)
                self._log.debug("cluster_unknown", error=type(error).__name__)
            await asyncio.sleep(self._period_s)

    def _take(self, facts: ClusterFacts) -> None:
        self._facts, self._read_s = facts, time.monotonic()
        self._dead = self._deaths.seen(facts.nodes, self._read_s)
        self._placing.seen(facts, time.time())

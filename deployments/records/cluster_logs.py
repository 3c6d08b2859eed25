"""The log lines of all nodes of a Ray cluster: one small actor on each, which reads that node's files. Needs a connection to Ray.

Decides how a node that does not answer is told: by its name, beside the lines of the others. Ray's dashboard is not needed.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.doctor.facts import names
from deployments.policy.records.log_lines import Line, Query, merged
from deployments.ray_calls.nodes import living
from deployments.records.node_logs import NodeLogs

#: A new process of Ray's on a node that is busy with the start of an engine.
ANSWER_S = 60.0


class ClusterLogs:
    """The readers of some nodes."""

    def __init__(self, readers: dict[str, Any]) -> None:
        """Args:
        readers: an actor for each node, by the node's name.
        """
        self._readers = readers

    @property
    def nodes(self) -> Sequence[str]:
        """Returns the names of the nodes that are read."""
        return tuple(self._readers)

    def read(self, query: Query) -> tuple[list[Line], list[str]]:
        """Returns the lines of all nodes, oldest first, and the names of the nodes that did not answer; those are asked no more."""
        asked = {name: reader.read.remote(query) for name, reader in self._readers.items()}
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S) if asked else None
        answers, silent = [], []
        for name, reference in asked.items():
            try:
                answers.append(ray.get(reference, timeout=0.1))
            except RayError:
                silent.append(name)
                self._readers.pop(name)
        return merged(answers), silent


@contextlib.contextmanager
def cluster_logs(node: str = "") -> Iterator[ClusterLogs]:
    """Reads logs for a while.

    Args:
        node: the name, address or beginning of the id of the one node to read; empty: all.
    """
    found = living()
    called = names({one.id: one.address for one in found})
    wanted = {one.id: called[one.id] for one in found if not node or node in (called[one.id], one.address) or one.id.startswith(node)}
    actor = ray.remote(NodeLogs)
    readers = {
        name: actor.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(identity, soft=False)).remote(None, name)
        for identity, name in wanted.items()
    }
    try:
        yield ClusterLogs(dict(readers))
    finally:
        for reader in readers.values():
            with contextlib.suppress(RayError):
                ray.kill(reader)

"""Prometheus' HTTP service discovery: every page of metrics of the herd, with the job that it belongs to and the node that it is on.

Decides the labels. A target that nobody knows any more is not listed, so Prometheus forgets it at its next look.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from configs.addresses import in_url
from configs.monitoring import Monitoring
from deployments.policy.monitoring.cluster_facts import Node
from deployments.policy.routing.types import ReplicaView

Group = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Herd:
    """The herd whose pages are listed."""

    name: str = "herd"
    monitoring: Monitoring = field(default_factory=Monitoring)
    engine_labels: Mapping[str, str] = field(default_factory=dict)
    """Labels by which Prometheus asks engines as they want to be asked."""


def groups(herd: Herd, engines: Iterable[ReplicaView], gateways: Iterable[Mapping[str, Any]], nodes: Sequence[Node]) -> list[Group]:
    """Returns the groups of targets.

    Args:
        herd: whose they are.
        engines: the replicas that are known, ready or not.
        gateways: where each gateway shows its metrics: `host`, `port` and `node`.
        nodes: the nodes that live.
    """
    names = {node.address: node.name for node in nodes}
    found = [
        _group(herd, "engine", names.get(one.host, one.host), (one.host, one.port), model=one.model, replica=one.id, **herd.engine_labels)
        for one in engines
    ]
    found += [_group(herd, "gateway", one["node"], (one["host"], one["port"])) for one in gateways]
    for node in nodes:
        found += [_group(herd, job, node.name, (node.address, port)) for job, port in _of_node(node, herd.monitoring)]
    return found


def _of_node(node: Node, monitoring: Monitoring) -> list[tuple[str, int]]:
    ports = [
        ("ray", node.metrics_port),
        ("node", monitoring.node_exporter_port),
        ("dcgm", monitoring.dcgm_exporter_port if node.gpus else None),
    ]
    return [(job, port) for job, port in ports if port]


def _group(herd: Herd, job: str, node: str, address: tuple[str, int], **more: str) -> Group:
    host, port = address
    return {"targets": [f"{in_url(host)}:{port}"], "labels": {"job": job, "node": node, "cluster": herd.name, **more}}

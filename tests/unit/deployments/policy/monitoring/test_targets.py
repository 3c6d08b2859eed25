"""`policy.monitoring.targets`: what Prometheus is told to ask."""

from configs.monitoring import Monitoring
from deployments.policy.monitoring.cluster_facts import Node
from deployments.policy.monitoring.targets import Herd, groups
from deployments.policy.routing.types import ReplicaState, ReplicaView

ENGINE = ReplicaView("scout#1", "scout", "10.0.0.1", 4000, ReplicaState.READY, 0)
GATEWAY = {"host": "10.0.0.1", "port": 5000, "node": "dgx-1"}
WITH_GPUS = Node("1", "10.0.0.1", "dgx-1", metrics_port=6000, gpus=8)
HEAD = Node("2", "10.0.0.2", "head", metrics_port=6001)


def test_every_page_is_listed_with_its_job_and_node() -> None:
    herd = Herd("prod", Monitoring(node_exporter_port=9100, dcgm_exporter_port=9400), {"__scheme__": "https"})
    prod = {"cluster": "prod"}
    assert groups(herd, [ENGINE], [GATEWAY], [WITH_GPUS, HEAD]) == [
        {
            "targets": ["10.0.0.1:4000"],
            "labels": {"job": "engine", "node": "dgx-1", "model": "scout", "replica": "scout#1", "__scheme__": "https", **prod},
        },
        {"targets": ["10.0.0.1:5000"], "labels": {"job": "gateway", "node": "dgx-1", **prod}},
        {"targets": ["10.0.0.1:6000"], "labels": {"job": "ray", "node": "dgx-1", **prod}},
        {"targets": ["10.0.0.1:9100"], "labels": {"job": "node", "node": "dgx-1", **prod}},
        {"targets": ["10.0.0.1:9400"], "labels": {"job": "dcgm", "node": "dgx-1", **prod}},
        {"targets": ["10.0.0.2:6001"], "labels": {"job": "ray", "node": "head", **prod}},
        {"targets": ["10.0.0.2:9100"], "labels": {"job": "node", "node": "head", **prod}},
    ]


def test_exporter_that_the_config_does_not_name_is_not_listed() -> None:
    assert [group["labels"]["job"] for group in groups(Herd(), [], [], [WITH_GPUS, HEAD])] == ["ray", "ray"]
    assert groups(Herd(), [], [], [Node("3", "10.0.0.3", "quiet")]) == []


def test_node_that_is_not_known_is_named_by_its_address() -> None:
    (group,) = groups(Herd(), [ENGINE], [], [])
    assert group["labels"]["node"] == "10.0.0.1"


def test_address_of_ipv6_stands_in_brackets() -> None:
    (group,) = groups(Herd(), [], [{"host": "fd00::1", "port": 5000, "node": "dgx-1"}], [])
    assert group["targets"] == ["[fd00::1]:5000"]

"""`configs.cross_checks` and the cross checks of `cluster.planner.config_problems`: sections that contradict each other."""

from typing import Any

import pytest
import yaml

from cluster.planner.config_problems import problems
from configs.cross_checks import FIRST_WORKER_PORT, LAST_WORKER_PORT, RAYS_PORTS, doubts
from configs.load import ConfigError, parse
from tests.unit.machines import ROOT
from tests.unit.samples import MODEL

AWS = {
    "region": "us-east-2",
    "zone": "us-east-2a",
    "machine": "p5en.48xlarge",
    "ami": "ami-0123456789abcdef0",
    "subnet": "subnet-1",
    "security_group": "sg-1",
    "workers": 2,
}
GCP = {
    "project": "p",
    "zone": "us-central1-a",
    "machine": "a3-ultragpu-8g",
    "source_image": "i",
    "subnetwork": "s",
    "nccl_folder": "/n",
    "nccl_profile": "/n/p.sh",
    "workers": 2,
}
HOSTS = {"head": "10.0.0.11", "workers": ["10.0.0.12", "10.0.0.13"]}


def found(**sections: Any) -> dict[str, str]:
    """The problems of a config with these sections, by path."""
    try:
        parse(yaml.safe_dump({"models": [MODEL], **sections}), "herd.yaml", problems)
    except ConfigError as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}


def of_hosts(**hosts: Any) -> dict[str, str]:
    return found(cluster={"onprem": HOSTS | hosts})


@pytest.mark.parametrize("address", ["dgx-01", "dgx-01.example.com", "fd00::11", "2001:db8::1", "192.168.7.1"])
def test_host_may_be_called_by_a_name_or_an_ipv6_address(address: str) -> None:
    assert of_hosts(head=address, workers=["10.0.0.12"]) == {}


@pytest.mark.parametrize("address", ["999.0.0.1", "10.0.0", "1.2.3.4.5", "::g", "fd00::1::2"])
def test_address_that_cannot_be_is_refused(address: str) -> None:
    assert "cluster.onprem.head" in of_hosts(head=address)
    assert "cluster.onprem.workers[0]" in of_hosts(workers=[address])


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "::"])
def test_address_of_no_host_is_refused(address: str) -> None:
    assert of_hosts(head=address)["cluster.onprem.head"] == f"{address} is no host's address"


def test_loopback_is_refused_where_there_are_others() -> None:
    for address in ("127.0.0.1", "localhost", "::1"):
        assert "each host's own" in of_hosts(head=address)["cluster.onprem.head"]
        assert of_hosts(head=address, workers=[]) == {}


def test_host_is_named_once_and_the_head_is_not_among_the_workers() -> None:
    told = of_hosts(workers=["10.0.0.11", "10.0.0.12", "10.0.0.12"])
    assert told["cluster.onprem.workers[0]"].startswith("10.0.0.11 is cluster.onprem.head already")
    assert told["cluster.onprem.workers[2]"].startswith("10.0.0.12 is cluster.onprem.workers[1] already")
    assert len(told) == 2


@pytest.mark.parametrize(("nodes", "fits"), [(1, False), (2, True), (3, True), (4, False)])
def test_number_of_nodes_is_held_against_the_hosts(nodes: int, fits: bool) -> None:
    told = found(cluster={"onprem": HOSTS}, hardware={"node": "dgx-h100", "nodes": nodes})
    assert told == ({} if fits else {"hardware.nodes": f"is {nodes}, but cluster.onprem names 2 or 3 that can have GPUs"})
    alone = found(cluster={"onprem": {"head": "10.0.0.11"}}, hardware={"node": "dgx-h100", "nodes": 1})
    assert alone == {}


@pytest.mark.parametrize(("section", "site"), [("aws", AWS), ("gcp", GCP), ("kuberay", {"workers": 2})])
def test_number_of_nodes_is_held_against_the_workers_of_a_cloud(section: str, site: dict[str, Any]) -> None:
    told = found(cluster={section: site}, hardware={"gpu": "H100" if section == "kuberay" else "H200", "nodes": 3})
    assert told == {"hardware.nodes": f"is 3, but cluster.{section} names 2 that can have GPUs"}
    assert found(cluster={section: site}, hardware={"gpu": "H100" if section == "kuberay" else "H200", "nodes": 2}) == {}


def test_machine_of_a_cloud_is_held_against_hardware_and_accelerator() -> None:
    told = found(cluster={"aws": AWS}, hardware={"node": "dgx-h100"}, models=[MODEL | {"accelerator": "H100"}])
    assert told["hardware.node"] == "has 8×H100, but cluster.aws.machine p5en.48xlarge has 8×H200"
    assert told["models[0].accelerator"].startswith("is H100, but cluster.aws.machine p5en.48xlarge has 8×H200")
    assert found(cluster={"aws": AWS}, hardware={"node": "p5en.48xlarge"}, models=[MODEL | {"accelerator": "H200"}]) == {}
    assert found(cluster={"gcp": GCP}, hardware={"gpu": "H100", "gpus_per_node": 4}).keys() == {"hardware.gpu"}
    own = {"name": "X", "memory_gib": 80, "bandwidth_gb_s": 1, "bf16_tflops": 1}
    assert found(cluster={"gcp": GCP}, hardware={"custom_gpu": own}) == {}, "its name is no product's"


def test_accelerator_is_held_against_hardware() -> None:
    told = found(hardware={"node": "dgx-h200"}, models=[MODEL | {"accelerator": "H20"}])
    assert told["models[0].accelerator"] == "is H20, but hardware has 8×H200: Ray would never find a place for it"
    assert found(hardware={"gpu": "H100-NVL"}, models=[MODEL | {"accelerator": "H100"}]) == {}, "Ray calls both H100"
    assert found(hardware={"node": "mi300x-8"}, models=[MODEL | {"accelerator": "MI300X"}]) == {}
    assert found(models=[MODEL | {"accelerator": "H100"}]) == {}


@pytest.mark.parametrize(
    ("region", "zone", "fits"),
    [
        ("us-east-2", "us-east-2a", True),
        ("us-west-2", "us-west-2-lax-1a", True),
        ("us-east-2", "us-west-9z", False),
        ("us-east-2", "us-east-2", False),
        ("us-east-1", "us-east-12a", False),
    ],
)
def test_zone_is_in_the_region(region: str, zone: str, fits: bool) -> None:
    assert ("cluster.aws.zone" in found(cluster={"aws": AWS | {"region": region, "zone": zone}})) != fits


@pytest.mark.parametrize(("ami", "fits"), [("ami-12345678", True), ("hello", False), ("ami-123", False), ("i-0123456789abcdef0", False)])
def test_image_of_aws_has_its_form(ami: str, fits: bool) -> None:
    assert ("cluster.aws.ami" in found(cluster={"aws": AWS | {"ami": ami}})) != fits


@pytest.mark.parametrize(
    ("port", "fits"), [(8000, True), (6379, False), (8265, False), (10_001, False), (10_002, False), (19_999, False), (20_000, True)]
)
def test_port_that_ray_takes_is_refused_on_a_cluster(port: int, fits: bool) -> None:
    for sections in ({"cluster": {"onprem": HOSTS}}, {"ray": {"address": "auto"}}):
        assert ("gateway.port" in found(gateway={"port": port}, **sections)) != fits
    assert found(gateway={"port": port}) == {}, "a Ray of the herd's own takes other ports"


@pytest.mark.parametrize("exporter", ["node_exporter_port", "dcgm_exporter_port"])
@pytest.mark.parametrize(("port", "fits"), [(9100, True), (8265, False), (52365, False), (10_500, False), (20_000, True)])
def test_exporters_have_no_port_of_rays(exporter: str, port: int, fits: bool) -> None:
    assert (f"monitoring.{exporter}" in found(monitoring={exporter: port}, cluster={"onprem": HOSTS})) != fits
    assert found(monitoring={exporter: port}) == {}


def test_two_listeners_of_a_node_have_two_ports() -> None:
    told = found(gateway={"port": 9100}, monitoring={"node_exporter_port": 9100, "dcgm_exporter_port": 9100})
    both = "9100 is gateway.port already, and a port of a node has one listener"
    assert told == {"monitoring.node_exporter_port": both, "monitoring.dcgm_exporter_port": both}
    told = found(monitoring={"node_exporter_port": 9400, "dcgm_exporter_port": 9400})
    assert told.keys() == {"monitoring.dcgm_exporter_port"}
    assert found(gateway={"port": 9101}, monitoring={"node_exporter_port": 9100, "dcgm_exporter_port": 9400}) == {}


@pytest.mark.parametrize(
    ("host", "fits"),
    [
        ("0.0.0.0", True),
        ("::", True),
        ("fd00::1", True),
        ("node-1.example.com", True),
        ("localhost", True),
        ("http://0.0.0.0", False),
        ("0.0.0.0:8000", False),
        ("[::]", False),
        ("300.0.0.1", False),
        ("my host", False),
        ("10.0.0", False),
    ],
)
def test_gateway_listens_at_an_address_or_a_name(host: str, fits: bool) -> None:
    assert ("gateway.host" in found(gateway={"host": host})) != fits


@pytest.mark.parametrize(("port", "fits"), [("0", False), ("1", True), ("65535", True), ("65536", False), ("99999", False)])
def test_redis_has_a_port_that_can_be(port: str, fits: bool) -> None:
    assert ("cluster.redis" in found(cluster={"onprem": HOSTS, "redis": f"10.0.0.20:{port}"})) != fits


def test_firewall_table_has_the_ports_that_a_config_is_checked_against() -> None:
    page = (ROOT / "cluster" / "README.md").read_text(encoding="utf-8")
    for port in (*RAYS_PORTS, f"{FIRST_WORKER_PORT} to {LAST_WORKER_PORT}"):
        assert f"\n| {port} |" in page


@pytest.mark.parametrize(
    ("region", "fits"),
    [
        ("us-east-2", True),
        ("us-gov-west-1", True),
        ("ap-southeast-2", True),
        ("eusc-de-east-1", True),
        ("nonsens", False),
        ("us-east", False),
    ],
)
def test_region_of_aws_is_called_as_regions_are(region: str, fits: bool) -> None:
    assert ("cluster.aws.region" in found(cluster={"aws": AWS | {"region": region, "zone": f"{region}a"}})) != fits


def test_redis_is_not_where_rays_own_gcs_listens() -> None:
    assert "cluster.redis" in found(cluster={"onprem": HOSTS, "redis": "10.0.0.11:6379"})
    assert found(cluster={"onprem": HOSTS, "redis": "10.0.0.20:6379"}) == {}


@pytest.mark.parametrize(("written", "tokens"), [("1M", 1_048_576), ("128K", 131_072), ("8192", 8192), (8192, 8192)])
def test_context_is_written_as_people_say_it(written: object, tokens: int) -> None:
    scout = {"id": "s", "kind": "llama-4-scout", "checkpoint": "x", "context_tokens": written}
    assert parse(yaml.safe_dump({"models": [scout]}), "herd.yaml", problems).models[0].context_tokens == tokens


def test_context_that_is_no_number_is_refused_with_the_way_to_write_it() -> None:
    assert found(models=[MODEL | {"context_tokens": "many"}]) == {
        "models[0].context_tokens": "'many' is not a number of tokens; write 131072, 128K or 1M"
    }


def doubted(**sections: Any) -> dict[str, str]:
    return dict(doubts(parse(yaml.safe_dump({"models": [MODEL], **sections}), "herd.yaml", problems)))


@pytest.mark.parametrize(
    ("command", "doubtful"), [("echo hunter2hunter2", True), ("printf hunter2", True), ("echo $SECRET", False), ("cat /s", False)]
)
def test_secret_that_stands_in_the_file_is_doubted(command: str, doubtful: bool) -> None:
    assert ("cluster.secret_command" in doubted(cluster={"secret_command": command, "onprem": HOSTS})) == doubtful


@pytest.mark.parametrize(("host", "doubtful"), [("0.0.0.0", True), ("10.0.0.11", True), ("127.0.0.1", False), ("::1", False)])
def test_gateway_that_answers_other_machines_without_a_key_is_doubted(host: str, doubtful: bool) -> None:
    assert ("gateway.host" in doubted(gateway={"host": host})) == doubtful


def test_tensor_parallel_group_that_is_larger_than_a_node_is_refused_unless_asked_for() -> None:
    wide = MODEL | {"accelerator": "H100", "parallel": {"tensor": 8}}
    small = {"gpu": "H100", "gpus_per_node": 4, "nodes": 2}
    assert found(hardware=small, models=[wide])["models[0].parallel.tensor"].startswith("8 GPUs are more than a node's 4")
    assert found(hardware=small, models=[MODEL | {"accelerator": "H100", "parallel": {"tensor": 8, "across_nodes": True}}]) == {}
    assert found(models=[wide]) == {}
    apart = MODEL | {"accelerator": "H100", "prefill": {"parallel": {"tensor": 8}}}
    assert "models[0].prefill.parallel.tensor" in found(hardware=small, models=[apart])


def test_wait_for_a_start_must_end_before_the_answer_must() -> None:
    limits, on_demand = {"total_s": 600}, MODEL | {"scaling": {"min_replicas": 0}}
    refused = found(gateway={"limits": limits}, models=[on_demand])
    assert "its answer must end within total_s (600 s)" in refused["gateway.limits.start_wait_s"]
    assert found(gateway={"limits": limits | {"start_wait_s": 599}}, models=[on_demand]) == {}
    assert found(gateway={"limits": limits}) == {}, "no model starts on demand"


@pytest.mark.parametrize(
    ("endpoint", "doubt"),
    [
        ("http://collector:4318/v1/traces", None),
        ("https://otlp.example.com/otlp/v1/traces", None),
        ("http://collector:4318/v1/metrics", "collectors take spans at a path that ends with /v1/traces"),
        ("http://collector:4317/v1/traces", "port 4317 is gRPC's"),
    ],
)
def test_collector_that_most_likely_takes_no_spans_is_doubted(endpoint: str, doubt: str | None) -> None:
    told = doubted(gateway={"tracing": {"endpoint": endpoint}})
    assert doubt in told["gateway.tracing.endpoint"] if doubt else told == {}

"""The AWS cluster file in Ray's own AWS provider, against moto's AWS: what `ray up` would ask for, and what would come of it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.client import BaseClient
from moto import mock_aws
from ray.autoscaler._private.aws.config import bootstrap_aws
from ray.autoscaler._private.aws.node_provider import AWSNodeProvider
from ray.autoscaler._private.util import prepare_config

from tests.unit.machines import ROOT

FILE = ROOT / "cluster/ray/aws.yaml"
REGION, ZONE, PROFILE = "us-east-2", "us-east-2a", "herd-node"


def of_site(site: dict[str, str]) -> str:
    """The file, with the ids of an account."""
    text = FILE.read_text(encoding="utf-8")
    for example, real in site.items():
        assert example in text
        text = text.replace(example, real)
    return text


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """An account with what the file names; what each of its ids is there."""
    monkeypatch.setenv("HOME", str(tmp_path))  # Ray keeps the key pair that it makes there
    for name, value in {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": REGION}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / ".ssh").mkdir()
    with mock_aws():
        ec2 = boto3.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24", AvailabilityZone=ZONE)["Subnet"]["SubnetId"]
        group = ec2.create_security_group(GroupName="herd", Description="herd", VpcId=vpc)["GroupId"]
        boto3.client("iam").create_instance_profile(InstanceProfileName=PROFILE)
        image = ec2.describe_images()["Images"][0]["ImageId"]
        yield {"subnet-0123456789abcdef0": subnet, "sg-0123456789abcdef0": group, "ami-0123456789abcdef0": image}


@pytest.fixture
def actions(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What has been asked of AWS, as IAM calls it."""
    asked: set[str] = set()
    ask = BaseClient._make_api_call

    def noted(client: BaseClient, operation: str, params: Any) -> Any:
        asked.add(f"{client.meta.service_model.signing_name}:{operation}")
        return ask(client, operation, params)

    monkeypatch.setattr(BaseClient, "_make_api_call", noted)
    return asked


def test_policy_of_the_page_allows_what_ray_asks_and_no_more(site: dict[str, str], actions: set[str]) -> None:
    actions.clear()  # the account's own setting up
    asked = bootstrap_aws(prepare_config(yaml.safe_load(of_site(site))))
    provider = AWSNodeProvider(asked["provider"], asked["cluster_name"])
    tags = {"ray-cluster-name": asked["cluster_name"]}
    for kind in asked["available_node_types"].values():
        provider.create_node(kind["node_config"], tags, 1)
    (node, *_) = nodes = provider.non_terminated_nodes(tags)
    provider.set_node_tags(node, {"ray-node-status": "up-to-date"})
    provider.internal_ip(node)
    provider.terminate_nodes(nodes)
    (text,) = re.findall(r"```json\n(\{\n  \"Version\".*?)```", (ROOT / "cluster/README.md").read_text(encoding="utf-8"), re.DOTALL)
    allowed = {action for one in json.loads(text)["Statement"] for action in one["Action"]}
    assert allowed == actions | {"iam:PassRole"}, "AWS asks for this one where machines get a profile; it is no call of its own"


def test_rays_provider_takes_the_file_and_aws_the_machines(site: dict[str, str]) -> None:
    asked: dict[str, Any] = bootstrap_aws(prepare_config(yaml.safe_load(of_site(site))))
    provider, requests = AWSNodeProvider(asked["provider"], asked["cluster_name"]), []
    events = provider.ec2_fail_fast.meta.client.meta.events
    events.register("provide-client-params.ec2.RunInstances", lambda params, **_: requests.append(params))
    for kind in asked["available_node_types"].values():
        provider.create_node(kind["node_config"], {"ray-cluster-name": asked["cluster_name"]}, 1)
    found = boto3.client("ec2").describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}])
    machines = {one["InstanceType"]: one for reservation in found["Reservations"] for one in reservation["Instances"]}
    assert machines.keys() == {"m7i.2xlarge", "p5en.48xlarge"}
    assert {one["ImageId"] for one in machines.values()} == {site["ami-0123456789abcdef0"]}
    assert {one["SubnetId"] for one in machines.values()} == {site["subnet-0123456789abcdef0"]}
    assert not any("InstanceLifecycle" in one for one in machines.values()), "on demand, not spot"
    assert {one["IamInstanceProfile"]["Arn"].rpartition("/")[2] for one in machines.values()} == {PROFILE}
    assert {one["MetadataOptions"]["HttpTokens"] for one in machines.values()} == {"required"}
    (worker,) = [one for one in requests if one["InstanceType"] == "p5en.48xlarge"]  # moto forgets these
    assert worker["Placement"]["GroupName"] == "herd"
    assert worker["BlockDeviceMappings"][0]["Ebs"]["Throughput"] == 1000

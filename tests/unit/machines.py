"""Inventories of machines for tests, and what `herd cluster emit` makes of them."""

from importlib.metadata import version
from pathlib import Path
from typing import Any

from cluster.provision.aws import aws
from cluster.provision.gcp import gcp
from cluster.provision.ray_up import onprem
from configs.inventory import Inventory
from tests.unit.command_line import invoke

ROOT = Path(__file__).parents[2]
HOSTS = {"head": "10.0.0.1", "workers": ["10.0.0.2", "10.0.0.3"]}
AWS = {
    "region": "us-east-2",
    "zone": "us-east-2a",
    "machine": "p5.48xlarge",
    "ami": "ami-0123456789abcdef0",
    "subnet": "subnet-1",
    "security_group": "sg-1",
}
GCP = {
    "project": "p",
    "zone": "us-central1-a",
    "machine": "a3-ultragpu-8g",
    "source_image": "i",
    "subnetwork": "s0",
    "gpu_subnetworks": ["s1", "g0", "g1"],
    "nccl_folder": "/usr/local/gib",
    "nccl_profile": "/usr/local/gib/scripts/set_nccl_env.sh",
}


def emit(*words: str) -> Any:
    return invoke(["cluster", "emit", *words])


def built(folder: Path) -> None:
    """Leaves what `make wheel` leaves in a folder, each file empty."""
    (folder / "dist").mkdir()
    for name in (f"dist/llama_herd-{version('llama-herd')}-py3-none-any.whl", "constraints-gpu.txt"):
        (folder / name).touch()


def inventory(**fields: Any) -> Inventory:
    return Inventory.model_validate(fields)


def of_hosts(**fields: Any) -> dict[str, Any]:
    given = inventory(onprem=HOSTS, **fields)
    assert given.onprem is not None
    return onprem("herd", given, given.onprem)


def of_aws(shared: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    given = inventory(aws=AWS | fields, **(shared or {}))
    assert given.aws is not None
    return aws("herd", given, given.aws)


def of_gcp(shared: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    given = inventory(gcp=GCP | fields, **(shared or {}))
    assert given.gcp is not None
    return gcp("herd", given, given.gcp)

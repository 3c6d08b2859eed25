"""Inventories of machines for tests, and what `herd cluster emit` makes of them."""

from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from cluster.provision.ray_up import onprem
from configs.inventory import Inventory
from deployments.commands.main import app

ROOT = Path(__file__).parents[2]
HOSTS = {"head": "10.0.0.1", "workers": ["10.0.0.2", "10.0.0.3"]}


def emit(*words: str) -> Any:
    return CliRunner().invoke(app, ["cluster", "emit", *words])


def inventory(**fields: Any) -> Inventory:
    return Inventory.model_validate(fields)


def of_hosts(**fields: Any) -> dict[str, Any]:
    given = inventory(onprem=HOSTS, **fields)
    assert given.onprem is not None
    return onprem("herd", given, given.onprem)

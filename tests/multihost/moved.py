"""A shipped config on the fake hosts: what is laid over it so that its machines are theirs, and nothing else of it is another.

Decides what a config without machines of one's own gets for them: the image, the folders and the secret's place that a shipped on-prem
config has. Pure.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cluster.catalogue.hardware import Node, cluster_of
from cluster.doctor.facts import expected
from cluster.planner.config_problems import problems
from cluster.planner.engine_groups import pools
from cluster.planner.herd_fit import chosen, known_cluster
from configs.load import read
from configs.schema import Config, Model

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted(CONFIGS.glob("*.yaml"))
#: A config that has no machines gets what this one says of them.
ONPREM = CONFIGS / "maverick-2xdgx-onprem.yaml"
CLOUDS = ("aws", "gcp", "kuberay")
#: Hosts of a config that does not say how many: a head, and another that joins it.
HOSTS = 2
SITE = "/var/lib/herd"


@dataclass(frozen=True)
class Moved:
    """A shipped config, and its machines on the fake hosts."""

    path: Path
    config: Config
    """With every shape chosen."""

    @property
    def hosts(self) -> int:
        """The head among them."""
        hardware = self.config.hardware
        return hardware.nodes if hardware is not None and hardware.nodes is not None else HOSTS

    @property
    def node(self) -> Node | None:
        """The kind of each host; none where it has no GPU."""
        return None if self.config.hardware is None else cluster_of(self.config.hardware).node

    @property
    def examined(self) -> bool:
        """Whether its nodes examine themselves. Where engines reach other hosts by RDMA, ours have no card, and would be sick."""
        promised = expected(self.config)
        return promised is None or promised.fabric is None

    @property
    def engines(self) -> tuple[Model, ...]:
        """What starts at once: a pool of engines each."""
        return pools(self.config.models)

    @property
    def bundles(self) -> int:
        """Of all engines that start at once, one for each worker."""
        return sum(pool.scale.min_replicas * pool.parallel.gpus for pool in self.engines)

    @property
    def small(self) -> frozenset[str]:
        """Small checkpoints that its hosts must have."""
        return frozenset(one.checkpoint.removeprefix("small:") for one in self.config.models if one.checkpoint.startswith("small:"))


def moved(path: Path) -> Moved:
    """Reads a shipped config."""
    config = read(path, problems)
    return Moved(path, chosen(config, known_cluster(config)))


def overlay(of: Moved, addresses: list[str], key: str, redis: str, environment: str) -> dict[str, Any]:
    """Returns what to lay over a config, as `-f` takes it.

    Args:
        of: the config.
        addresses: of the hosts, the head's first.
        key: the private key that opens them.
        redis: the address of the site's Redis.
        environment: the folder of this machine's packages, which the image has not.
    """
    site = of.config.cluster
    given = {} if site is not None else _machines()
    mounts = given.get("mounts", list(site.mounts if site is not None else ()))
    here = {
        "ssh_user": "root",
        "ssh_key": key,
        "mounts": [*dict.fromkeys([*mounts, SITE, environment])],
        "onprem": {"head": addresses[0], "workers": addresses[1:]},
        **({} if of.examined else {"preflight": False}),
        **({} if site is None or site.redis is None else {"redis": redis}),
        **({} if site is None or site.onprem is not None else _of_cloud(of)),
    }
    unreached = {} if of.config.ray.address != "local" else {"ray": {"address": "auto"}, "gateway": {"host": "0.0.0.0"}}
    return {"cluster": given | here, **unreached}


def _machines() -> dict[str, Any]:
    shipped = yaml.safe_load(ONPREM.read_text(encoding="utf-8"))["cluster"]
    return {name: shipped[name] for name in ("image", "mounts", "secret_command")}


def _of_cloud(of: Moved) -> dict[str, Any]:
    """A cloud's store of secrets is not here: its secrets are files of the hosts. Its machines are taken away."""
    site = of.config.cluster
    secrets = {} if site is None else {name: {"command": None, "file": secret_file(name)} for name in site.secrets}
    here = [name for name in CLOUDS if getattr(site, name) is not None]
    return {"secret_command": _machines()["secret_command"], "secrets": secrets, **dict.fromkeys(here)}


def secret_file(name: str) -> str:
    """Where a host has a secret."""
    return f"{SITE}/{name.lower()}"

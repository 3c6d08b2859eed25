"""A gateway's own pages, as the commands read them.

Decides where the key to them comes from: a local herd's own folder, or the environment of the cluster's Ray, to which a command is
connected.
"""

from functools import lru_cache
from typing import Any

from cluster.machine.local_node import LocalNode
from configs.addresses import on_loopback
from configs.load import environment
from configs.schema import Config
from deployments.lifecycle.own_certificate import trust

Replicas = dict[str, list[dict[str, Any]]]
"""By model, what a gateway's page says of each replica that it knows."""

#: A worker process may have to start.
ANSWER_S = 60.0


def roster(endpoint: str, config: Config, node: LocalNode) -> Replicas:
    """Asks a gateway for the replicas that it knows, by model; empty while no gateway answers. Needs a connection to the herd's Ray.

    Raises:
        ray.exceptions.RayError: the cluster does not tell the key to the page.
    """
    models: Replicas = page(endpoint, config, node).get("models", {})
    return models


def page(endpoint: str, config: Config, node: LocalNode) -> dict[str, Any]:
    """Asks a gateway for its page of status; empty while no gateway answers. Needs a connection to the herd's Ray.

    Raises:
        ray.exceptions.RayError: the cluster does not tell the key to the page.
    """
    import httpx

    try:
        answer = httpx.get(f"{endpoint}/-/status", headers=authorization(config, node), timeout=5, verify=trust(config.gateway.tls))
        told: dict[str, Any] = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError):  # no JSON, or no text at all
        return {}
    return told


def authorization(config: Config, node: LocalNode) -> dict[str, str]:
    """Gives the header that a herd's pages ask for; none where they ask for none. Needs a connection to the herd's Ray.

    Raises:
        ray.exceptions.RayError: the cluster does not answer.
    """
    if on_loopback(config.gateway.host):
        return {}
    key = node.key("pages") if config.ray.address == "local" else _of_the_cluster(config.ray.address)
    return {"authorization": f"Bearer {key}"}


@lru_cache(maxsize=8)
def _of_the_cluster(address: str) -> str:
    """Asks a process of the cluster at `address`, whose environment has the key."""
    import ray

    asked = ray.remote(_own).options(num_cpus=0, max_retries=0).remote()
    key: str = ray.get(asked, timeout=ANSWER_S)
    return key


def _own() -> str:
    return environment().key("pages").get_secret_value()

"""The cluster file of `ray up` for hosts of one's own, and the sections that every provider's file has.

Decides what is said outright because Ray's defaults are not ours: its set-up installs a nightly build, its dashboard listens on all
interfaces, its second autoscaler never lets a worker of one's own hosts join. `cluster.provision.aws` and `gcp` have the clouds' machines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cluster.doctor.facts import Expected
from cluster.provision import containers, disks, ray_start
from cluster.provision.ray_start import Start
from configs.inventory import Inventory, OnPrem

AUTOSCALER = {"RAY_enable_autoscaler_v2": "0"}


def onprem(name: str, inventory: Inventory, hosts: OnPrem, promised: Expected | None = None) -> dict[str, Any]:
    """For hosts that are there already; `promised` are the GPUs of each, where the config says."""
    start = replace(_host_start(inventory, hosts, promised), place=" ".join(hosts.workers), flags=' --node-ip-address="$HERD_NODE_IP"')
    if ":" in hosts.head:
        start = replace(start, head='"[$RAY_HEAD_IP]"')
    return {
        "cluster_name": name,
        "provider": {"type": "local", "head_ip": hosts.head, "worker_ips": list(hosts.workers)},
        "max_workers": len(hosts.workers),
        **shared(inventory, hosts.environment, host_options(inventory, hosts)),
        "head_start_ray_commands": ray_start.head(inventory, name, head_start(inventory, hosts, promised)),
        "worker_start_ray_commands": ray_start.worker(inventory, start),
    }


def host_options(inventory: Inventory, hosts: OnPrem) -> tuple[str, ...]:
    """Returns the options of `docker run` on one's own hosts, by `ray up` and by systemd alike."""
    shown = () if disks.is_shown(inventory, hosts.cache) else (disks.volume(hosts.cache),)
    return (*containers.rdma(inventory), *shown)


def head_start(inventory: Inventory, hosts: OnPrem, promised: Expected | None) -> Start:
    """Returns how the head of one's own hosts starts, by `ray up` and by systemd alike."""
    start = _host_start(inventory, hosts, promised)
    return replace(start, place=hosts.head, environment={**AUTOSCALER, **start.environment}, flags=f" --node-ip-address={hosts.head}")


def _host_start(inventory: Inventory, hosts: OnPrem, promised: Expected | None) -> Start:
    """A host without a container keeps what its user's home has."""
    if inventory.image is None:
        return Start(environment=hosts.environment, promised=promised)
    return Start(
        before=(disks.kept(hosts.cache, "cluster.onprem.cache"),),
        usual=disks.environment(hosts.cache),
        environment=hosts.environment,
        promised=promised,
    )


def shared(
    inventory: Inventory, environment: Mapping[str, str], options: Sequence[str] = (), worker_options: Sequence[str] = ()
) -> dict[str, Any]:
    """Returns the sections of login, container, files and set-up; `options` are `docker run`'s on every node of this provider."""
    key = {} if inventory.ssh_key is None else {"ssh_private_key": inventory.ssh_key}
    return {
        "auth": {"ssh_user": inventory.ssh_user, **key},
        **containers.docker(inventory, options, worker_options),
        "file_mounts": ray_start.file_mounts(inventory),
        "initialization_commands": [],
        "setup_commands": ray_start.setup(inventory, environment),
    }


def cloud_worker(environment: Mapping[str, str], before: tuple[str, ...], promised: Expected | None) -> Start:
    """Returns how a worker of a cloud starts: its address is the one that reaches the head, its weights are on the machine's disk."""
    return Start(
        '--to "$RAY_HEAD_IP"',
        before=before,
        usual=disks.environment(disks.FOLDER),
        environment=environment,
        flags=' --node-ip-address="$HERD_NODE_IP"',
        promised=promised,
    )


def node_types(head: dict[str, Any], worker: dict[str, Any], workers: int) -> dict[str, Any]:
    """Returns the two kinds of machines of a cloud."""
    gpu = worker | {"min_workers": workers, "max_workers": workers}
    return {"available_node_types": {"head": head, "gpu": gpu}, "head_node_type": "head"}

"""The container of a node: the `docker` section of `ray up`'s files, and the same container for the head's systemd unit.

Decides which rights a container has: to lock memory, which RDMA needs, and the devices that NCCL and NVSHMEM open. A folder of devices that
is mounted as a volume can be seen and not opened.
"""

import shlex
from collections.abc import Sequence
from typing import Any

from configs.inventory import Inventory

#: The name of the nodes' container, where Ray runs in one.
NAME = "herd"
UNLOCKED = ("--ulimit=memlock=-1:-1", "--ulimit=nofile=65536:65536", "--cap-add=IPC_LOCK")
INFINIBAND = "--device=/dev/infiniband"
#: `ray up` hands options to the host's shell as they are.
WHERE_THERE = f"$(test -d /dev/infiniband && echo {INFINIBAND})"


def rdma(inventory: Inventory) -> tuple[str, ...]:
    """Returns the option for RDMA devices on hosts that the config does not know: a head without cards may be among them."""
    if inventory.rdma is None:
        return (WHERE_THERE,)
    return (INFINIBAND,) if inventory.rdma else ()


def options(inventory: Inventory, own: Sequence[str] = ()) -> list[str]:
    """Returns the options of `docker run` on every node, as words for a shell."""
    return [
        *UNLOCKED,
        *own,
        *(f"--device={device}" for device in inventory.devices),
        *(f"--volume={folder}:{folder}" for folder in inventory.mounts),
        *map(shlex.quote, inventory.run_options),
    ]


def docker(inventory: Inventory, own: Sequence[str], workers: Sequence[str]) -> dict[str, Any]:
    """Returns the section for Ray; empty for nodes without a container."""
    if inventory.image is None:
        return {}
    return {
        "docker": {
            "image": inventory.image,
            "container_name": NAME,
            "pull_before_run": inventory.pull_before_run,
            "run_options": options(inventory, own),
            "worker_run_options": list(workers),
        }
    }

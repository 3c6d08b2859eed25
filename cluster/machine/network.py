"""Finds the address that a node has in its cluster, and the network interface with it, for gloo, NCCL and vLLM.

Decides nothing about other nodes. Each library would choose by itself: gloo the address of the host's name (127.0.1.1 on Ubuntu), vLLM the
default route, NCCL the first interface that is up. On a host with several networks these are different ones.
"""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psutil

#: Any port: nothing is sent to it.
PORT = 9


class NoInterface(RuntimeError):
    """This node has no such address; the message says what it has."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is in the cluster's network."""

    address: str
    interface: str

    @property
    def variables(self) -> dict[str, str]:
        """Returns the variables that bring every library of an engine onto this network."""
        return {
            "HERD_NODE_IP": self.address,
            "VLLM_HOST_IP": self.address,
            "GLOO_SOCKET_IFNAME": self.interface,
            "NCCL_SOCKET_IFNAME": self.interface,
            "TP_SOCKET_IFNAME": self.interface,
        }


def of_any(candidates: Sequence[str], own: Mapping[str, str] | None = None) -> Place:
    """Finds the one of several hosts' addresses that this node has.

    Args:
        candidates: addresses of the cluster's hosts.
        own: the interface of each address of this node. Default: as the kernel says.

    Raises:
        NoInterface: this node has none of them.
    """
    own = addresses() if own is None else own
    for address in candidates:
        if address in own:
            return Place(address, own[address])
    raise NoInterface(f"this node has none of the addresses {', '.join(candidates)}; its own are {', '.join(sorted(own)) or 'none'}")


def towards(other: str, own: Mapping[str, str] | None = None) -> Place:
    """Finds the address from which this node reaches another one.

    Args:
        other: the other node's address, or name.
        own: as in `of_any`.

    Raises:
        NoInterface: there is no way to the other node.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((other, PORT))  # of UDP: chooses a route, and sends nothing
        except OSError as error:
            raise NoInterface(f"this node has no way to {other}: {error}") from error
        address: str = probe.getsockname()[0]
    return of_any([address], own)


def addresses() -> dict[str, str]:
    """Returns the interface of each IPv4 address of this node. An alias (eth0:1) is of its interface."""
    found = psutil.net_if_addrs().items()
    return {one.address: name.partition(":")[0] for name, several in found for one in several if one.family == socket.AF_INET}

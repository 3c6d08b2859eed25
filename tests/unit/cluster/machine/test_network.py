"""The address and the interface that a node has in its cluster."""

import pytest

from cluster.machine.network import NoInterface, Place, addresses, of_any, towards

OWN = {"127.0.0.1": "lo", "192.168.1.7": "eno1", "10.0.0.12": "bond0"}


def test_node_finds_its_own_among_the_clusters_addresses() -> None:
    assert of_any(["10.0.0.11", "10.0.0.12"], OWN) == Place("10.0.0.12", "bond0")


def test_node_without_any_of_the_addresses_says_which_it_has() -> None:
    with pytest.raises(NoInterface, match=r"none of the addresses 10\.0\.0\.99; its own are 10\.0\.0\.12, 127\.0\.0\.1, 192\.168\.1\.7"):
        of_any(["10.0.0.99"], OWN)


def test_address_towards_another_node_is_that_of_the_route_to_it() -> None:
    assert towards("127.0.0.9") == Place("127.0.0.1", "lo")
    assert addresses()["127.0.0.1"] == "lo"


def test_node_without_a_way_to_another_one_says_so() -> None:
    with pytest.raises(NoInterface, match=r"no way to no\.such\.host\.invalid"):
        towards("no.such.host.invalid")


def test_every_library_gets_the_same_interface() -> None:
    assert Place("10.0.0.12", "bond0").variables == {
        "HERD_NODE_IP": "10.0.0.12",
        "VLLM_HOST_IP": "10.0.0.12",
        "GLOO_SOCKET_IFNAME": "bond0",
        "NCCL_SOCKET_IFNAME": "bond0",
        "TP_SOCKET_IFNAME": "bond0",
    }

"""Demands that fields of several sections make on each other, or that a field's form alone does not tell; and what is only doubtful.

Decides over a config that is well formed by itself. The figures of GPUs are `cluster.planner.config_problems`'s.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import AddressValueError

from configs.addresses import NO_ADDRESS, number, on_loopback
from configs.clouds import Aws
from configs.inventory import Inventory, OnPrem
from configs.schema import Config, Model

Found = tuple[str, str]
"""A field's path, and what is the matter with it."""

#: Ports that Ray itself takes on a node of a cluster, and the range that its workers take theirs from (`ray start --help`).
RAYS_PORTS = {6379: "its GCS", 8265: "its dashboard", 10001: "its clients", 52365: "its dashboard's agents"}
FIRST_WORKER_PORT, LAST_WORKER_PORT = 10_002, 19_999
#: Collectors take spans at this path, and those that come by gRPC at this port.
SPANS, GRPC_PORT = "/v1/traces", 4317
_AMI = re.compile(r"^ami-([0-9a-f]{8}|[0-9a-f]{17})$")
#: A command that prints its own words: nothing in it is looked up.
_LITERAL = re.compile(r"^\s*(echo|printf)\s[^$`]*$")


@dataclass(frozen=True, slots=True)
class Check:
    """Finds what the schema cannot judge: pairs of a field's path and a message."""

    of_model: Callable[[Model], Iterable[Found]]
    """Paths are inside the model."""
    of_config: Callable[[Config], Iterable[Found]]
    """Returns the demands of sections on each other that are not met; it is asked where each section is well formed."""


def cross_problems(config: Config) -> Iterator[Found]:
    """Yields each contradiction of a config."""
    yield from _listens(config)
    yield from _ports(config)
    yield from _start_wait(config)
    if config.cluster is not None and config.cluster.onprem is not None:
        yield from _hosts(config.cluster.onprem)
        yield from _redis(config.cluster, config.cluster.onprem)
    if config.cluster is not None and config.cluster.aws is not None:
        yield from _aws(config.cluster.aws)


def prints_its_own_words(command: str) -> bool:
    """Tells whether a command for a secret has the secret in it."""
    return _LITERAL.match(command) is not None


def doubts(config: Config) -> Iterator[Found]:
    """Yields what is allowed and most likely not meant."""
    if config.cluster is not None and prints_its_own_words(config.cluster.secret_command):
        yield (
            "cluster.secret_command",
            "prints a secret that stands in this file, and in each file that is made of it: let it read a file, or ask a store of secrets",
        )
    if not on_loopback(config.gateway.host):
        yield (
            "gateway.host",
            f"{config.gateway.host} answers every machine that reaches port {config.gateway.port}, without a key: keep the port inside "
            "your network, or behind a proxy that asks for one",
        )
    tracing = config.gateway.tracing
    if tracing is not None and not tracing.endpoint.endswith(SPANS):
        yield (
            "gateway.tracing.endpoint",
            f"{tracing.endpoint} is asked as it stands, and collectors take spans at a path that ends with {SPANS}",
        )
    if tracing is not None and re.match(rf"https?://[^/]*:{GRPC_PORT}/", tracing.endpoint):
        yield "gateway.tracing.endpoint", f"port {GRPC_PORT} is gRPC's, and spans are sent by HTTP, for which collectors have 4318"


def _listens(config: Config) -> Iterator[Found]:
    try:
        number(config.gateway.host)
    except AddressValueError:
        yield "gateway.host", f"{config.gateway.host!r} {NO_ADDRESS}"


def _ports(config: Config) -> Iterator[Found]:
    """Yields the listeners of a node of which two have one port, or which have a port of Ray's."""
    exporters = config.monitoring
    listeners = {
        "gateway.port": (config.gateway.port, 8000),
        "monitoring.node_exporter_port": (exporters.node_exporter_port, 9100),
        "monitoring.dcgm_exporter_port": (exporters.dcgm_exporter_port, 9400),
    }
    rays = config.cluster is not None or config.ray.address != "local"
    seen: dict[int, str] = {}
    for path, (port, usual) in listeners.items():
        if port is None:
            continue
        if rays and (whose := _of_ray(port)):
            yield path, f"{whose}; take another one, {usual} for instance"
        if port in seen:
            yield path, f"{port} is {seen[port]} already, and a port of a node has one listener"
        seen.setdefault(port, path)


def _of_ray(port: int) -> str | None:
    if port in RAYS_PORTS:
        return f"Ray has port {port} for {RAYS_PORTS[port]}"
    if FIRST_WORKER_PORT <= port <= LAST_WORKER_PORT:
        return f"Ray's workers take ports from {FIRST_WORKER_PORT} to {LAST_WORKER_PORT}, and one may have {port}"
    return None


def _start_wait(config: Config) -> Iterator[Found]:
    limits = config.gateway.limits
    if limits.start_wait_s >= limits.total_s and any(model.on_demand for model in config.models):
        yield (
            "gateway.limits.start_wait_s",
            f"a request may wait {limits.start_wait_s:g} s for a model with min_replicas: 0, and its answer must end within total_s "
            f"({limits.total_s:g} s): make the wait shorter, or total_s longer",
        )


def _hosts(hosts: OnPrem) -> Iterator[Found]:
    places = [("cluster.onprem.head", hosts.head), *((f"cluster.onprem.workers[{index}]", one) for index, one in enumerate(hosts.workers))]
    times = Counter(address for _, address in places)
    seen: dict[str, str] = {}
    for path, address in places:
        if wrong := _impossible(address, alone=not hosts.workers):
            yield path, f"{address} {wrong}"
        if times[address] > 1 and address in seen:
            yield path, f"{address} is {seen[address]} already; a host is named once, the head not among the workers"
        seen.setdefault(address, path)


def _impossible(address: str, alone: bool) -> str | None:
    """Returns what is wrong with a host's address; None for one that may be: IPv4, IPv6, or a name."""
    try:
        found = number(address)
    except AddressValueError:
        return NO_ADDRESS
    if found is not None and (found.is_unspecified or found.is_multicast):
        return "is no host's address"
    if not alone and on_loopback(address):
        return "is each host's own; write the address that the other hosts see"
    return None


def _redis(inventory: Inventory, hosts: OnPrem) -> Iterator[Found]:
    if inventory.redis is not None and inventory.redis == f"{hosts.head}:6379":
        yield "cluster.redis", "Ray's own GCS has port 6379 of the head; a Redis that is to outlive the head is on another machine"


def _aws(site: Aws) -> Iterator[Found]:
    if not re.fullmatch(rf"{re.escape(site.region)}(-[a-z]+-\d)?[a-z]", site.zone):
        yield "cluster.aws.zone", f"{site.zone} is in another region than {site.region}; a zone is called like {site.region}a"
    if not _AMI.match(site.ami):
        yield "cluster.aws.ami", f"{site.ami!r} is no image's id; it looks like ami-0123456789abcdef0"

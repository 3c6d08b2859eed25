"""Which herd a command is about, and the way into its Ray cluster.

Decides where a herd is looked for: what this user brought up stands in this user's folder, and what anybody brought up in a cluster stands
in the cluster. Sets what Ray reads in the environment, before it is imported.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cluster.machine.local_node import LocalNode, NodeError
from cluster.machine.ray_output import why_no_way_in
from configs.addresses import in_url
from configs.load import Environment, environment
from configs.schema import Config
from deployments.lifecycle.access import NoSecret, ray_here, ray_token
from deployments.lifecycle.memory import ALL, CONFIG, PLACES, InCluster, InFolder, Memory, memory_of
from deployments.progress import Say
from deployments.ray_calls.ray_guard import takes_no_token_of_ours

IS_IT_UP = "Is it up? `ray status` tells."
#: Ray tries an address at which nothing listens for minutes.
PROBE_S = 5.0
NO_HEAD = (
    "Is the head up? Its GCS also ends where Redis is away: start Redis first, then Ray on the head with the same command as before. "
    "Nodes and engines that run wait for it, and clients are served meanwhile."
)
NO_TOKEN = (
    "Set HERD_SECRET to the secret that the head was started with (or RAY_AUTH_TOKEN to its token), or run this as the head's user there."
)


ValuePlace = tuple[Any, str]
"""A value of a config, and where it comes from."""


class OperationError(RuntimeError):
    """A command cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Herd:
    """A herd, and its own folder on this machine."""

    folder: Path
    config: Config
    places: Mapping[str, ValuePlace] = field(default_factory=dict)
    """The place of each value that is no default, by its path, where the config was read just now."""

    @property
    def node(self) -> LocalNode:
        """Returns the Ray node that the herd owns, if it does."""
        return LocalNode(self.folder)

    @property
    def endpoint(self) -> str:
        """Returns the address at which clients on this machine reach the herd."""
        wanted = self.config.gateway
        host = in_url({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(wanted.host, wanted.host))
        return f"http{'s' if wanted.tls else ''}://{host}:{wanted.port}"

    @property
    def memory(self) -> Memory:
        """Returns the place where the herd is remembered for everybody who may change it. In a cluster it needs `connected`."""
        return memory_of(self.config, self.folder)

    def remember(self) -> None:
        """Keeps the config here, for later commands of this user, which must find the herd also while its cluster does not answer."""
        InFolder(self.folder).keep(CONFIG, self.config.model_dump_json())

    def remember_places(self) -> None:
        """Keeps the places of the config's values, for `herd config show` of this user."""
        InFolder(self.folder).keep(PLACES, json.dumps(dict(self.places)))

    def remembered_places(self) -> dict[str, ValuePlace]:
        """Returns the places of the config that this user brought up last; a value that has changed since has another place."""
        text = InFolder(self.folder).kept(PLACES)
        return {} if text is None else {path: (value, place) for path, (value, place) in json.loads(text).items()}

    def forget(self) -> None:
        """Removes what was kept here: the herd is down."""
        for name in ALL:
            InFolder(self.folder).forget(name)


def herd(environment: Environment, config: Config, places: Mapping[str, ValuePlace] = MappingProxyType({})) -> Herd:
    """Returns the herd of a config."""
    return Herd(environment.state / config.name, config, places)


def known(environment: Environment, name: str | None) -> Herd:
    """Returns the herd that is up under a name; without a name, the only one.

    This user brought it up, or the Ray cluster that this machine belongs to remembers it.

    Raises:
        OperationError: there is none, or there are several.
    """
    found = {path.parent.name: path for path in sorted(environment.state.glob(f"*/{CONFIG}"))}
    if name is None and len(found) > 1:
        raise OperationError(f"Several herds are up: {', '.join(found)}. Choose one with --name.")
    path = found.get(name) if name is not None else next(iter(found.values()), None)
    if path is not None:
        return Herd(path.parent, read_back(path.read_text(encoding="utf-8"), str(path)))
    config = _of_cluster(environment)
    if config is None or name not in (None, config.name):
        raise OperationError("No herd is up." if name is None else f"No herd named '{name}' is up.")
    return herd(environment, config)


def read_back(text: str, place: str) -> Config:
    try:
        return Config.model_validate_json(text)
    except ValueError as error:
        raise OperationError(f"{place} was written by another version of herd. Use the version that brought the herd up.") from error


def remembered(herd: Herd) -> Config:
    """Returns the config of what is up: another operator may have changed it. Needs `connected` for the herd of a cluster."""
    text = herd.memory.kept(CONFIG)
    return herd.config if text is None else read_back(text, "The herd's memory")


def _of_cluster(environment: Environment) -> Config | None:
    """Returns the config of the herd that another user brought up, or this one on a head that is gone; None if no Ray runs here.

    Raises:
        OperationError: a Ray runs here, and does not let this user in.
    """
    here = ray_here(environment)
    if here is None:
        return None
    if here.variables is None:
        raise OperationError(
            f"Ray runs here as {here.user}, and this user cannot know its token: run this as {here.user}, or set HERD_SECRET."
        )
    with _in_ray(here.address, here.variables, IS_IT_UP):
        text = InCluster().kept(CONFIG)
    return None if text is None else read_back(text, "The cluster's memory")


@contextlib.contextmanager
def connected(herd: Herd, say: Say, start: bool = False) -> Iterator[None]:
    """Connects to the herd's Ray cluster; with `start`, starts a node of the herd's own if there is none.

    Raises:
        OperationError: the cluster cannot be reached.
    """
    address = _address(herd, say, start)
    if herd.config.ray.address == "local":
        os.environ.pop("RAY_AUTH_TOKEN", None)  # another cluster's; it would go before the node's own
        os.environ.update(herd.node.environment())
    else:
        try:
            os.environ.update(ray_token(herd.config.cluster))
        except NoSecret as error:
            raise OperationError(str(error)) from error
    way_out = IS_IT_UP if herd.config.ray.address != "local" else "If it is still starting, ask again; else `herd down` clears it away."
    with _in_ray(address, {}, way_out):
        yield


@contextlib.contextmanager
def _in_ray(address: str, variables: Mapping[str, str], way_out: str) -> Iterator[None]:
    """Connects to a Ray cluster, with its token among `variables` or in the environment.

    Raises:
        OperationError: the cluster cannot be reached; ends with `way_out`.
    """
    os.environ.update(variables)
    _require_way_in(address, way_out)
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR", configure_logging=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise OperationError(f"Ray at {address} cannot be reached ({why_no_way_in(error)}). {way_out}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_way_in(address: str, way_out: str) -> None:
    """Looks whether anything listens where a Ray should be, and takes this program's token: Ray itself would try for a long time.

    `auto` is Ray's to find; it must be there where a node of it runs here.

    Raises:
        OperationError: nothing does, or it does not.
    """
    here = ray_here(environment()) if address == "auto" and "RAY_ADDRESS" not in os.environ else None
    host, _, port = (address if here is None else here.address).rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), PROBE_S).close()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise OperationError(f"No head of Ray listens at {host}:{port} ({why}). {NO_HEAD if way_out == IS_IT_UP else way_out}") from error
    if takes_no_token_of_ours(f"{host}:{port}"):
        raise OperationError(f"Ray at {host}:{port} refuses this program's token. {NO_TOKEN}")


def _address(herd: Herd, say: Say, start: bool) -> str:
    wanted = herd.config.ray.address
    if wanted != "local":
        return wanted
    running = herd.node.address
    if running is not None and not start:
        return running
    if not start:
        raise OperationError("The herd's Ray node is not running. `herd up` starts it.")
    say("Starting Ray on this machine" if running is None else "Ray is running")
    try:
        return herd.node.start(herd.config.ray.object_store_mib)
    except NodeError as error:
        raise OperationError(str(error)) from error

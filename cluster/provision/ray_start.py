"""The shell script that starts Ray on a node, the same for every provider of `ray up` and for the head's systemd unit.

Decides what a node's processes have in their environment, and in which order a node finds it out: its limits, its place in the network,
what the config says plainly, its secrets, and last what it finds out about itself. The herd's secret comes from the node: written down here
is how to ask for it. Only the keys that are made of it, Ray's own token among them, reach the processes.
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from cluster.doctor.facts import Expected
from cluster.doctor.quarantine import examination
from configs.inventory import Inventory
from configs.keys import PURPOSES, ROOT, in_shell
from configs.node_environment import REDIS_PASSWORD, Secret

PORT = 6379
#: A lost head may take that long to come back, which is a DGX that boots, or somebody who is woken: engines and gateways answer without it.
#: Ray's nodes give up after a minute by themselves, and end what runs on them.
RECONNECT_S = 3600
#: In the home of the user who installs: in /tmp another user of the node could have made the folder before, and changed what is installed.
WHEELS = "~/.herd/wheels"
#: vLLM hands all NCCL_… of an engine's first node on to its others, where the interface may have another name. It reads this file first.
NOT_HANDED_ON = '"${VLLM_CONFIG_ROOT:-${XDG_CONFIG_HOME:-$HOME/.config}/vllm}"'


@dataclass(frozen=True, slots=True)
class Start:
    """How the nodes of one provider and kind start, where they differ from others."""

    place: str | None = None
    """The words of `herd cluster interface` that find a node's own address; none for a node without engines."""
    before: tuple[str, ...] = ()
    """Further lines of shell, before the variables that a config names."""
    usual: Mapping[str, str] = field(default_factory=dict)
    """Variables that the config, the image or `docker run` may say otherwise: paths without blanks."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of the provider's own section."""
    flags: str = ""
    """Further ones of `ray start`."""
    promised: Expected | None = None
    """The GPUs that the node must have, where the config says."""
    head: str = "$RAY_HEAD_IP"
    """The head's address in a worker's shell, as Ray reads it before a port."""


def head(inventory: Inventory, name: str, start: Start) -> list[str]:
    """Returns the commands of the head of the herd `name`. The dashboard stays on the loopback interface: see `ray dashboard FILE`.

    `herd cluster start-head` takes a password for Redis, if there is one, from its input: `ray start` would put it into the arguments of
    its processes.
    """
    with_password = f'export -n {REDIS_PASSWORD}\nprintf %s "${REDIS_PASSWORD}" | herd cluster start-head'
    ray = with_password if inventory.redis is not None and inventory.redis_tls is None else "ray start --head"
    command = f"{ray} --port={PORT} --dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml --disable-usage-stats"
    own = (*_store(inventory, name), *_secrets(inventory.secrets))
    return _commands(inventory, start, own, command, examination(start.promised, head=True))


def worker(inventory: Inventory, start: Start) -> list[str]:
    """Returns the commands of every other node."""
    command = f"ray start --address={start.head}:{PORT} --disable-usage-stats"
    secrets = {name: secret for name, secret in inventory.secrets.items() if name != REDIS_PASSWORD}
    return _commands(inventory, start, _secrets(secrets), command, examination(start.promised, head=False))


def _store(inventory: Inventory, name: str) -> list[str]:
    """Returns the lines that say where the GCS keeps its state. Ray's variables for TLS name files and have no secret."""
    if inventory.gcs_folder is not None:
        return [f"export RAY_gcs_storage=rocksdb RAY_gcs_storage_path={inventory.gcs_folder}"]
    if inventory.redis is None:
        return []
    tls = inventory.redis_tls
    scheme = "" if tls is None else "rediss://"
    lines = [f"export RAY_REDIS_ADDRESS={scheme}{inventory.redis} RAY_external_storage_namespace={name}"]
    if tls is not None:
        lines.append(
            f"export RAY_REDIS_CA_CERT={tls.authority} RAY_REDIS_CLIENT_CERT={tls.certificate} RAY_REDIS_CLIENT_KEY={tls.key}",
        )
    return lines


def _commands(inventory: Inventory, start: Start, own: Iterable[str], command: str, examined: str) -> list[str]:
    """Returns what ends Ray, and the script. A node's labels must be known when its Ray starts: they do not change afterwards."""
    reconnect = f"export RAY_gcs_rpc_server_reconnect_timeout_s={RECONNECT_S}"
    lines = [
        *_limits(),
        *_network(start.place),
        *start.before,
        *(f'export {name}="${{{name}:-{value}}}"' for name, value in start.usual.items()),
        *exports(inventory.environment | dict(start.environment)),
        *keys(inventory),
        *own,
        *([reconnect] if inventory.outlives_its_head else []),
        *([examined] if inventory.preflight else []),
        command + start.flags + (' --labels="$HERD_LABELS"' if inventory.preflight else ""),
    ]
    return ["ray stop", "\n".join(lines) + "\n"]


def _limits() -> list[str]:
    """RDMA locks memory, of which a login may have 8 MiB on most machines. In a container `docker run` has raised the limit."""
    return [
        "ulimit -n 65536",
        'ulimit -l unlimited 2> /dev/null || sudo -n prlimit --pid "$BASHPID" --memlock=unlimited 2> /dev/null || '
        'echo "The limit of locked memory stays at $(ulimit -l) KiB" >&2',
    ]


def _network(place: str | None) -> list[str]:
    if place is None:
        return []
    return [
        "# This node's own address and interface, for gloo, NCCL and vLLM alike.",
        f'HERD_NETWORK="$(herd cluster interface {place})" || exit 1',
        'eval "$HERD_NETWORK"',
        f"mkdir -p {NOT_HANDED_ON}",
        f"echo '[\"NCCL_SOCKET_IFNAME\"]' > {NOT_HANDED_ON}/ray_non_carry_over_env_vars.json",
    ]


def exports(environment: Mapping[str, str]) -> list[str]:
    """Returns a line of shell for each variable, whose value stays as it is."""
    return [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]


def keys(inventory: Inventory) -> list[str]:
    """Returns lines that put a key for each purpose into the environment, and take the secret out of it; or end with a sentence."""
    return [
        "# The keys of the herd. The secret that they are made of is in no process of Ray's, in no file and in no argument.",
        f'{ROOT}="${{{ROOT}:-$({_inside(inventory.secret_command)})}}"',
        *in_shell(PURPOSES),
        "export RAY_AUTH_MODE=token",
        f"unset {ROOT}",
    ]


def _inside(command: str) -> str:
    """Returns a command as it may stand in `$(…)`: a comment or a document at its end would hide the bracket."""
    return f"{command}\n" if any(one in command for one in "#\\\n") else command


def _secrets(secrets: Mapping[str, Secret]) -> list[str]:
    """A container's user (1000 in Ray's images) may not read a file of root's, but may use `sudo`. So no user of the host reads it."""
    lines = []
    for name, secret in secrets.items():
        asked = _inside(secret.command) if secret.command else f"cat {secret.file} 2> /dev/null || sudo -n cat {secret.file}"
        lines += [
            f'{name}="${{{name}:-$({asked})}}"',
            f'test -n "${name}" || {{ echo "{name} is not known on this node: see cluster.secrets" >&2; exit 1; }}',
            *([f"export {name}"] if name != REDIS_PASSWORD else []),
        ]
    return lines


def file_mounts(inventory: Inventory) -> dict[str, str]:
    """Returns what goes to every node: the wheel, and the versions that it was tested with."""
    if inventory.wheel is None:
        return {}
    return {f"{WHEELS}/{_name(path)}": path for path in (inventory.wheel, inventory.constraints)}


def setup(inventory: Inventory, environment: Mapping[str, str]) -> list[str]:
    """Installs the wheel, with the config's variables (a proxy's address for instance). In a container the engine is there already."""
    if inventory.wheel is None:
        return []
    extra = "" if inventory.image is not None else "[gpu]"
    install = f"pip install --constraint {WHEELS}/{_name(inventory.constraints)} {WHEELS}/'{_name(inventory.wheel)}{extra}'"
    return ["\n".join([*exports(inventory.environment | dict(environment)), install])]


def _name(path: str) -> str:
    return path.rpartition("/")[2]

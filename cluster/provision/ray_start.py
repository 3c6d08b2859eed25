"""The shell commands that start Ray on a node, the same for every provider of `ray up`.

Decides what a node's processes have in their environment. The herd's secret comes from the node itself: what is written down here is how
to ask for it. Only the keys that are made of it, Ray's own token among them, reach the processes.
"""

from cluster.doctor.facts import Expected
from cluster.doctor.quarantine import examination
from configs.certificates import Certificates
from configs.inventory import Inventory
from configs.keys import PURPOSES, ROOT, in_shell

PORT = 6379
#: A lost head may take that long to come back, which is a DGX that boots, or somebody who is woken: engines and gateways answer without it.
#: Ray's nodes give up after a minute by themselves, and end what runs on them.
RECONNECT_S = 3600
#: In the home of the user who installs: in /tmp another user of the node could have made the folder before, and changed what is installed.
WHEELS = "~/.herd/wheels"


def secrets(inventory: Inventory) -> str:
    """Puts the keys of every purpose into the environment, and takes the secret out of it; or fails with a sentence."""
    asked = f'{ROOT}="${{{ROOT}:-$({inventory.secret_command})}}"'
    return f"{asked}; {in_shell(PURPOSES)} RAY_AUTH_MODE=token; unset {ROOT}"


def head(inventory: Inventory, name: str, flags: str, variables: str = "", promised: Expected | None = None) -> list[str]:
    """The head's commands. The dashboard stays on the loopback interface: `ray dashboard FILE` brings it here.

    Args:
        inventory: what all nodes share.
        name: the herd's.
        flags: further ones of `ray start`.
        variables: for the environment, as `NAME=value` words.
        promised: the GPUs that it has, if it has any.
    """
    store, password = "", ""
    if inventory.redis is not None:
        store = f"{_redis(inventory.redis, inventory.redis_tls)} RAY_external_storage_namespace={name}"
    if inventory.redis is not None and inventory.redis_tls is None:
        password = '${HERD_REDIS_PASSWORD:+ --redis-password="$HERD_REDIS_PASSWORD"}'
    if inventory.gcs_folder is not None:
        store = f"RAY_gcs_storage=rocksdb RAY_gcs_storage_path={inventory.gcs_folder}"
    start = f"ray start --head --port={PORT} --dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml"
    start = f"{start} --disable-usage-stats{flags}{password}"
    return _commands(inventory, (variables, store), start, examination(promised, head=True))


def _redis(address: str, tls: Certificates | None) -> str:
    """How Ray finds Redis; by its own variables, which name files and have no secret."""
    if tls is None:
        return f"RAY_REDIS_ADDRESS={address}"
    files = f"RAY_REDIS_CA_CERT={tls.authority} RAY_REDIS_CLIENT_CERT={tls.certificate} RAY_REDIS_CLIENT_KEY={tls.key}"
    return f"RAY_REDIS_ADDRESS=rediss://{address} {files}"


def worker(inventory: Inventory, variables: str = "", before: str = "", promised: Expected | None = None) -> list[str]:
    """The commands of every other node; `promised` are the GPUs that it must have."""
    start = f"ray start --address=$RAY_HEAD_IP:{PORT} --disable-usage-stats"
    return _commands(inventory, (variables,), start, examination(promised, head=False), before)


def _commands(inventory: Inventory, variables: tuple[str, ...], start: str, examined: str, before: str = "") -> list[str]:
    """What a node finds out about itself must be known when its Ray starts: Ray's labels do not change afterwards."""
    reconnect = f"RAY_gcs_rpc_server_reconnect_timeout_s={RECONNECT_S}" if inventory.outlives_its_head else ""
    exports = " ".join(filter(None, (*variables, reconnect)))
    steps = [secrets(inventory), before, exports and f"export {exports}", "ulimit -n 65536"]
    steps += [examined, f'{start} --labels="$HERD_LABELS"'] if inventory.preflight else [start]
    return ["ray stop", "; ".join(filter(None, steps))]


def file_mounts(inventory: Inventory) -> dict[str, str]:
    """What goes to every node: the wheel, and the versions that it was tested with."""
    if inventory.wheel is None:
        return {}
    return {f"{WHEELS}/{_name(path)}": path for path in (inventory.wheel, inventory.constraints)}


def setup(inventory: Inventory) -> list[str]:
    """Installs the wheel. In a container the engine is there already, and a node without one gets it too."""
    if inventory.wheel is None:
        return []
    extra = "" if inventory.image is not None else "[gpu]"
    return [f"pip install --constraint {WHEELS}/{_name(inventory.constraints)} {WHEELS}/'{_name(inventory.wheel)}{extra}'"]


def _name(path: str) -> str:
    return path.rpartition("/")[2]

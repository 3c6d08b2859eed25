"""The shell commands that start Ray on a node, the same for every provider of `ray up`.

Decides what a node's processes have in their environment. Secrets come from the node itself: what is written down here is how to
ask for them. Ray's own token is made of the herd's secret, so there is one secret to hand out.
"""

import hashlib

from configs.inventory import Inventory

PORT = 6379
#: A lost head may take that long to come back; Ray's nodes give up after a minute by themselves.
RECONNECT_S = 120
WHEELS = "/tmp/herd"


def secrets(inventory: Inventory) -> str:
    """Puts the herd's secret and Ray's token into the environment, or fails with a sentence."""
    return (
        f'export HERD_SECRET="${{HERD_SECRET:-$({inventory.secret_command})}}"; '
        'test -n "$HERD_SECRET" || { echo "HERD_SECRET is not known on this node: see secret_command" >&2; exit 1; }; '
        'export RAY_AUTH_MODE=token RAY_AUTH_TOKEN="$(printf %s "$HERD_SECRET" | sha256sum | cut -d \' \' -f 1)"'
    )


def token(secret: str) -> str:
    """Ray's token, as the above makes it of the herd's secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def head(inventory: Inventory, name: str, flags: str, variables: str = "") -> list[str]:
    """The head's commands. The dashboard stays on the loopback interface: `ray dashboard FILE` brings it here."""
    redis, password = "", ""
    if inventory.redis is not None:
        redis = f"RAY_REDIS_ADDRESS={inventory.redis} RAY_external_storage_namespace={name}"
        password = ' --redis-password="${HERD_REDIS_PASSWORD:-}"'
    start = f"ray start --head --port={PORT} --dashboard-host=127.0.0.1 --autoscaling-config=~/ray_bootstrap_config.yaml"
    return _commands(inventory, (variables, redis), f"{start} --disable-usage-stats{flags}{password}")


def worker(inventory: Inventory, variables: str = "", before: str = "") -> list[str]:
    """The commands of every other node."""
    return _commands(inventory, (variables,), f"ray start --address=$RAY_HEAD_IP:{PORT} --disable-usage-stats", before)


def _commands(inventory: Inventory, variables: tuple[str, ...], start: str, before: str = "") -> list[str]:
    reconnect = "" if inventory.redis is None else f"RAY_gcs_rpc_server_reconnect_timeout_s={RECONNECT_S}"
    exports = " ".join(filter(None, (*variables, reconnect)))
    steps = (secrets(inventory), before, exports and f"export {exports}", "ulimit -n 65536", start)
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
    return [f"pip install --constraint {WHEELS}/{_name(inventory.constraints)} '{WHEELS}/{_name(inventory.wheel)}{extra}'"]


def _name(path: str) -> str:
    return path.rpartition("/")[2]

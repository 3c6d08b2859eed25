"""Gets a command into a Ray cluster that was brought up from this project's files: such a cluster asks for a token.

Decides where the token comes from. It is made of the herd's secret, which the operator has set or a node of the cluster can print, so that
nobody has to hand out two. Changes nothing: the caller puts it where Ray looks.
"""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from cluster.machine.local_node import MARK
from configs.inventory import Inventory
from configs.keys import WeakSecret, derived
from configs.load import Environment, environment

SECRET_S = 60.0


class NoSecret(RuntimeError):
    """The herd's secret cannot be had here; the message says why and what to do."""


def ray_token(inventory: Inventory | None, given: Environment | None = None) -> dict[str, str]:
    """Returns the environment that Ray needs before it is imported; nothing if Ray's own token is set, or if there is no inventory.

    Raises:
        NoSecret: the config has an inventory, and the secret cannot be had here or can be guessed.
    """
    given = given or environment()
    if given.ray_token or inventory is None:
        return {}
    try:
        token = derived(root(inventory, given), "ray")
    except WeakSecret as error:
        raise NoSecret(f"{error}.") from error
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}


@dataclass(frozen=True, slots=True)
class RayHere:
    """The Ray that this machine is a node of."""

    address: str
    """Of its GCS."""
    user: str
    """The user whose processes it consists of."""
    variables: Mapping[str, str] | None
    """Returns the variables by which Ray lets a process in; None if this user cannot know it."""


def ray_here(given: Environment) -> RayHere | None:
    """Finds the Ray that this machine is a node of, without a config; None if it is of none.

    The token is the environment's, or made of the secret there, or the one in the environment of Ray's own process: the kernel shows it to
    the user that Ray runs as, and to root, who could read all of Ray's memory as well.
    """
    for process in psutil.process_iter(["name", "cmdline", "username", "environ"]):
        seen = process.info
        if seen["name"] != "raylet" or MARK in (seen["environ"] or {}):  # the mark: one herd's own, for which its folder is asked
            continue
        flags = dict(word.removeprefix("--").partition("=")[::2] for word in seen["cmdline"] or ())
        if address := flags.get("gcs_address") or flags.get("gcs-address"):
            return RayHere(address, str(seen["username"]), _token(seen["environ"], given))
    return None


def _token(of_ray: Mapping[str, str] | None, given: Environment) -> dict[str, str] | None:
    if given.ray_token:
        return {"RAY_AUTH_MODE": "token"}
    if given.secret is not None:
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": derived(given.secret.get_secret_value(), "ray")}
    if of_ray is None:
        return None
    return {name: of_ray[name] for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH") if name in of_ray}


def root(inventory: Inventory, given: Environment) -> str:
    """Finds the secret that all keys are made of.

    Raises:
        NoSecret: neither HERD_SECRET is set nor does the inventory's `secret_command` print it here.
    """
    return given.secret.get_secret_value() if given.secret is not None else _printed(inventory.secret_command)


def _printed(command: str) -> str:
    """Returns the command's output, as a node's shell has it in `$(…)`."""
    way_out = "Run this on a node of the cluster (`ray attach`), or set HERD_SECRET, or take the config's `cluster` section out."
    try:
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=SECRET_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise NoSecret(f"cluster.secret_command did not end within {SECRET_S:.0f} s. {way_out}") from error
    secret = done.stdout.rstrip("\n")
    if done.returncode != 0 or not secret:
        said = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode} and printed nothing"])[-1]
        raise NoSecret(f"cluster.secret_command does not print the herd's secret here: {said}. {way_out}")
    return secret

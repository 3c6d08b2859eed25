"""`herd secret`: the keys that are made of the herd's secret, for a shell that starts Ray and for Prometheus.

Decides where the secret is looked for, and which keys are printed. The secret itself is never printed.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.machine.local_node import NodeError
from cluster.scaling.config_problems import problems
from configs.inventory import Inventory
from configs.keys import PURPOSES, SERVING, VARIABLES, Purpose, WeakSecret, derived
from configs.load import environment, read
from deployments.commands.terminal import told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.access import NoSecret, root
from deployments.lifecycle.herd import Herd, OperationError


def secret(
    purpose: Annotated[
        str | None,
        typer.Argument(
            metavar="|".join(PURPOSES), help="Print only this key. Default: all keys, as an `export` for the shell that runs `ray start`."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A herd's YAML file. Default: the herd that is up.")] = None,
    env_file: Annotated[
        bool, typer.Option("--env-file", help="Print NAME=value lines for `kubectl create secret --from-env-file`, without Ray's token.")
    ] = False,
    name: Annotated[
        str | None, typer.Option("--name", help="The name of the herd (the config's `name`). It is needed if several are up.")
    ] = None,
) -> None:
    """Print keys that are made of the herd's secret.

    The secret is HERD_SECRET, or else the output of the config's `cluster.secret_command` on this machine.
    `eval "$(herd secret)"` before `ray start` gives Ray's processes the keys without the secret. `herd secret pages` prints the key
    that the gateways' own pages ask for (`/-/targets` for Prometheus).

    \b
    herd secret
    herd secret pages --config configs/maverick-2xdgx-onprem.yaml
    """
    if purpose is not None and purpose not in PURPOSES:
        raise typer.BadParameter(f"{purpose!r} is none of {', '.join(PURPOSES)}", param_hint="purpose")
    with told(OperationError, NodeError):
        given = environment()
        try:
            if given.secret is not None:
                keys = _derived(given.secret.get_secret_value())
            else:
                keys = _of(operate.known(given, name) if config is None else operate.herd(given, read(config, problems)))
        except (NoSecret, WeakSecret) as error:
            raise OperationError(str(error)) from error
    for one in keys:
        if one == purpose:
            sys.stdout.write(f"{keys[one]}\n")
            return
    if env_file:
        sys.stdout.writelines(f"{VARIABLES[one]}={keys[one]}\n" for one in SERVING)
        return
    words = " ".join(f"{VARIABLES[one]}={key}" for one, key in keys.items())
    sys.stdout.write(f"export {words} RAY_AUTH_MODE=token; unset HERD_SECRET\n")


def _of(herd: Herd) -> dict[Purpose, str]:
    if herd.config.ray.address == "local":
        return {purpose: herd.node.key(purpose) for purpose in PURPOSES}
    return _derived(root(herd.config.cluster or Inventory(), environment()))


def _derived(secret: str) -> dict[Purpose, str]:
    return {purpose: derived(secret, purpose) for purpose in PURPOSES}

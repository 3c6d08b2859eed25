"""`herd restart`: makes a model's engines anew, one after the other, or one of them."""

import time
from typing import Annotated

import typer

from cluster.provision.start_time import start_limit_s
from configs.load import environment
from deployments.commands.changing.rolling import Asked, Detach, DryRun, Force, ModelName, WithinS, by_hand
from deployments.commands.changing.steps import steps
from deployments.commands.terminal import Name, out, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.changing import declared, one_replica
from deployments.lifecycle.herd import OperationError


def restart(  # noqa: PLR0913 (an option each)
    model: ModelName,
    replica: Annotated[
        str | None,
        typer.Option(help="Only the replica with this id, or the only one whose id begins so. The others take its requests meanwhile."),
    ] = None,
    name: Name = None,
    within_s: WithinS = None,
    force: Force = False,
    dry_run: DryRun = False,
    detach: Detach = False,
) -> None:
    """Make a model's engines anew, one after the other: a new one first where there is room. Answers under way are finished.

    \b
    herd restart scout
    herd restart scout --replica x1y2
    """
    if replica is None:
        by_hand(declared.order("restart", model=model), Asked(name, within_s, force, dry_run, detach))
        return
    if dry_run or detach:
        raise typer.BadParameter("cannot be combined with --dry-run or --detach", param_hint="--replica")
    started = time.monotonic()
    with steps() as say, told(OperationError, interrupted="The replica goes all the same, and Ray Serve starts another one."):
        herd = operate.known(environment(), name)
        with operate.connected(herd, lambda _: None):
            one_replica.replace(herd, model, replica, say, within_s or start_limit_s(herd.config))
    out.print(f"[green]Done[/green] in {time.monotonic() - started:.0f} s.")

"""`herd down`: takes a herd down."""

import time

from configs.load import environment
from deployments.commands.changing.steps import steps
from deployments.commands.terminal import STAYS, Name, out, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import OperationError


def down(name: Name = None) -> None:
    """Take a herd down. A Ray node that it started stops with it; a cluster that was there before stays.

    \b
    herd down
    herd down --name local
    """
    started = time.monotonic()
    with steps() as say, told(OperationError, interrupted=STAYS):
        operate.down(operate.known(environment(), name), say)
    out.print(f"[green]Down[/green] in {time.monotonic() - started:.0f} s.")

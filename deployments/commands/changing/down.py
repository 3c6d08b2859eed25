"""`herd down`: takes a herd down.

Decides whom it asks: a person at a terminal. Scripts are not asked, but a herd that somebody else has brought up must be named.
"""

import sys
import time
from typing import Annotated

import typer

from configs.load import environment
from deployments.commands.changing.steps import steps
from deployments.commands.terminal import STAYS, Name, err, out, put, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.changing import going_down
from deployments.lifecycle.herd import OperationError


def down(
    name: Name = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask. Without a terminal nothing is asked.")] = False,
) -> None:
    """Take a herd down. A Ray node that it started stops with it; a cluster that was there before stays.

    It says which herd that is, where, and how many requests are under way, and asks at a terminal. A herd that another user has brought up
    is taken down only with --name.

    \b
    herd down
    herd down --name local --yes
    """
    with told(OperationError, interrupted="The herd is still up."):
        herd = operate.known(environment(), name)
        put(err, going_down.sentence(herd, named=name is not None))
        if not yes and at_a_terminal() and not typer.confirm("Take it down?", err=True):
            raise OperationError("The herd is still up.")
    started = time.monotonic()
    with steps() as say, told(OperationError, interrupted=STAYS):
        operate.down(herd, say)
    out.print(f"[green]Down[/green] in {time.monotonic() - started:.0f} s.")


def at_a_terminal() -> bool:
    """Tells whether a person can be asked."""
    return sys.stdin.isatty()

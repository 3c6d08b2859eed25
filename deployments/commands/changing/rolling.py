"""Serves the commands that change a herd: each shows what it will do, has it done by a process of its own, and follows that.

Decides what Ctrl-C means: it interrupts the change that this command has begun, and leaves one that it only looks at alone.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from cluster.provision.start_time import start_limit_s
from configs.load import environment
from deployments.commands.changing.steps import steps
from deployments.commands.terminal import STAYS, out, put, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.changing import outlook, roll_lock, rolls, worker
from deployments.lifecycle.changing.rolls import LOG
from deployments.lifecycle.herd import Herd, OperationError, Terms
from deployments.policy.fleet.by_hand import Order
from deployments.policy.fleet.herd_diff import REFUSED, HerdDiff, lines
from deployments.progress import Say

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="The id or an alias of a model.")]
WithinS = Annotated[
    float | None,
    typer.Option(
        help="The longest wait for all models to answer, and for each replica of an upgrade, in seconds. Default: 900, and what the "
        "weights take over the config's disk.",
        min=1,
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Do it even if the planner expects too little memory or too few GPUs.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Only show what would change, and change nothing. Exit code 0: nothing, 2: something, 1: refused."),
]
Detach = Annotated[bool, typer.Option("--detach", help="Return at once. The change goes on; `herd up --attach` shows it.")]


def show(diff: HerdDiff) -> None:
    """Prints what a change would do."""
    for line in lines(diff):
        put(out, line, " " * 4)


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that all orders about the herd that is up have."""

    name: str | None
    within_s: float | None
    force: bool
    dry_run: bool
    detach: bool


def by_hand(order: Order, asked: Asked) -> None:
    """Shows what an order about the herd that is up will do, and has it done."""
    started = time.monotonic()
    with steps() as say, told(OperationError, interrupted=STAYS):
        herd = operate.known(environment(), asked.name)
        with operate.connected(herd, lambda _: None):
            herd = Herd(herd.folder, operate.remembered(herd))
            diff = outlook.of_order(herd, order, environment())
        show(diff)
        if asked.dry_run:
            raise typer.Exit(diff.code)
        if diff.code == REFUSED and not asked.force:
            raise OperationError("Nothing was changed. --force overrules the planner's arithmetic.")
        if diff.code:
            roll(herd, order, Terms(asked.within_s or start_limit_s(herd.config), asked.force), say, asked.detach)
    out.print(f"[green]Done[/green] in {time.monotonic() - started:.0f} s.")


def roll(herd: Herd, order: Order, terms: Terms, say: Say, detach: bool) -> None:
    """Has a process of its own carry out an order, and follows it; with `detach` only until it has begun.

    Raises:
        OperationError: another change is under way, or it did not come to a good end.
        KeyboardInterrupt: it was interrupted.
    """
    process = worker.start(herd, order, terms, roll_lock.of_folder(herd.folder))
    pid = process.pid
    with interrupting(pid) as handed_on:
        try:
            rolls.begun(herd.folder, pid)
        except OperationError:
            if handed_on.is_set():  # it had hardly begun
                raise KeyboardInterrupt from None
            raise
        if not detach:
            rolls.follow(lambda: rolls.begun(herd.folder, pid), lambda roll: roll.lives, say)
            return
    put(out, f"Under way as process {pid}. `herd up --attach` shows it, {herd.folder / LOG} has its output.")
    raise typer.Exit


@contextlib.contextmanager
def interrupting(pid: int) -> Iterator[threading.Event]:
    """Hands Ctrl-C on to the process of the change, which undoes what it has begun; a second one leaves it alone.

    Yields:
        An event that is set once it has been handed on.
    """
    handed_on = threading.Event()

    def hand_on(*_: object) -> None:
        handed_on.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)

    before = signal.signal(signal.SIGINT, hand_on)
    try:
        yield handed_on
    finally:
        signal.signal(signal.SIGINT, before)


def attach(herd: Herd, say: Say) -> None:
    """Shows the change of a herd that is under way until it has ended, wherever it is carried out.

    Raises:
        OperationError: none is under way, or it did not come to a good end.
    """
    here = rolls.running(herd.folder)
    if here is not None:
        rolls.follow(lambda: rolls.in_folder(herd.folder) or here, lambda roll: roll.lives, say)
        return
    if herd.config.ray.address == "local":
        raise OperationError("No change of the herd is under way.")
    with operate.connected(herd, say):
        roll = roll_lock.held()
        if roll is None:
            raise OperationError("No change of the herd is under way.")
        say(roll.words)
        rolls.follow(lambda: roll_lock.known(roll), lambda one: roll_lock.held() is not None or one.ended is not None, say)

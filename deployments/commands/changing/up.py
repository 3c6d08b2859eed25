"""`herd up`: brings a herd up, or changes a running one in place."""

import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.provision.start_time import start_limit_s
from cluster.scaling.config_problems import problems
from configs.cross_checks import doubts
from configs.load import environment, loaded
from deployments.commands.changing.diff import Only, compare
from deployments.commands.changing.rolling import Detach, DryRun, Force, WithinS, attach, roll
from deployments.commands.changing.steps import steps
from deployments.commands.describing.config_values import places
from deployments.commands.from_files import loaded_herd
from deployments.commands.terminal import STAYS, AsJson, More, Sets, files, out, told, warn
from deployments.lifecycle import herd as operate
from deployments.lifecycle.changing import declared, rolls
from deployments.lifecycle.herd import Herd, OperationError, Terms
from deployments.progress import Say

DEFAULT_CONFIG = Path(__file__).parents[3] / "configs" / "local.yaml"
GOES_ON = "The change goes on: `herd up --attach` shows it again."


def up(  # noqa: PLR0913 (an option each)
    config: Annotated[Path | None, typer.Argument(help="A herd's YAML file. Default: two small models on this machine.")] = None,
    more: More = None,
    sets: Sets = None,
    within_s: WithinS = None,
    force: Force = False,
    only: Only = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
    detach: Detach = False,
    attached: Annotated[
        bool, typer.Option("--attach", help="Change nothing, and show the change that is under way until it has ended.")
    ] = False,
) -> None:
    """Bring a herd up, or change a running one in place; returns when every model has answered.

    Only models that differ from the config are restarted, one after the other. Models that the config no longer names are removed. A
    change that does not come up is undone: the herd is then what it was before. A process of its own makes the change, so a terminal that
    is lost ends nothing. Models that were scaled, stopped or started by hand become as the file says.

    \b
    herd up
    herd up configs/scout-h100.yaml --within-s 1800
    herd up configs/herd.yaml --dry-run
    """
    if as_json and not dry_run:
        raise typer.BadParameter("needs --dry-run", param_hint="--json")
    paths = files(config, more, DEFAULT_CONFIG)
    if dry_run:
        compare(paths, sets, only, as_json)
    if attached:
        _attach(paths if config or more or sets else [], sets)
        return
    started = time.monotonic()
    with steps() as say, told(OperationError, interrupted=STAYS):
        given = loaded(paths, sets or (), problems)
        herd = operate.planned(operate.herd(environment(), given.config, places(given)), force)
        for path, message in doubts(herd.config):
            warn(f"{path}: {message} ({given.where(path)})")
        _carried_out(herd, only, Terms(within_s or start_limit_s(herd.config), force), say, detach)
    _tell(herd, time.monotonic() - started)


def _carried_out(herd: Herd, only: str | None, terms: Terms, say: Say, detach: bool) -> None:
    """Has the file carried out, or follows the process that does so already."""
    order, other = declared.order("up", file=herd.config, model=only), rolls.running(herd.folder)
    if other is not None and (other.order.file, other.order.model) == (order.file, order.model):
        say(f"{other.words}: following it")
        attach(herd, say)
    else:
        if detach:  # this command has ended by then
            herd.remember_places()
        roll(herd, order, terms, say, detach)
    herd.remember_places()


def _attach(paths: list[Path], sets: list[str] | None) -> None:
    """Follows the change of the herd of these files; without files, of the one that is up."""
    with steps() as say, told(OperationError, interrupted=GOES_ON):
        attach(loaded_herd(paths, sets) if paths else operate.known(environment(), None), say)
    out.print("[green]Done[/green].")


def _tell(herd: Herd, seconds: float) -> None:
    first = herd.config.models[0]
    out.print(f"[green]Up[/green] in {seconds:.0f} s: [bold]{herd.endpoint}/v1[/bold] (no key needed)")
    out.print(f"Try it:  herd chat {(*first.aliases, first.id)[0]}      or:", markup=False)
    out.print(
        f"  curl {herd.endpoint}/v1/chat/completions -H 'content-type: application/json' \\\n"
        f'    -d \'{{"model": "{first.id}", "messages": [{{"role": "user", "content": "What is a llama?"}}]}}\'',
        markup=False,
        soft_wrap=True,
    )

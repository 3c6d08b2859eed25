"""`herd up`: brings a herd up, or changes a running one in place."""

import time
from pathlib import Path
from typing import Annotated

import typer

from cluster.planner.config_problems import problems
from cluster.provision.start_time import start_limit_s
from configs.cross_checks import doubts
from configs.load import environment, loaded
from deployments.commands.changing.steps import steps
from deployments.commands.describing.config_values import places
from deployments.commands.terminal import STAYS, More, Sets, files, out, told, warn
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import OperationError

DEFAULT_CONFIG = Path(__file__).parents[3] / "configs" / "local.yaml"


def up(
    config: Annotated[Path | None, typer.Argument(help="A herd's YAML file. Default: two small models on this machine.")] = None,
    more: More = None,
    sets: Sets = None,
    within_s: Annotated[
        float | None,
        typer.Option(
            help="The longest wait for all models to answer, and for each replica of an upgrade, in seconds. Default: 900, and what the "
            "weights take over the config's disk.",
            min=1,
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Start it even if the planner expects too little memory or too few GPUs.")] = False,
) -> None:
    """Bring a herd up, or change a running one in place; returns when every model has answered.

    Only models that differ from the config are restarted, one after the other. Models that the config no longer names are removed. A
    change that does not come up is undone: the herd is then what it was before.

    \b
    herd up
    herd up configs/scout-h100.yaml --within-s 1800
    """
    started = time.monotonic()
    with steps() as say, told(OperationError, interrupted=STAYS):
        given = loaded(files(config, more, DEFAULT_CONFIG), sets or (), problems)
        herd = operate.planned(operate.herd(environment(), given.config, places(given)), force)
        for path, message in doubts(herd.config):
            warn(f"{path}: {message} ({given.where(path)})")
        operate.up(herd, environment(), say, within_s or start_limit_s(herd.config))
    first = herd.config.models[0]
    out.print(f"[green]Up[/green] in {time.monotonic() - started:.0f} s: [bold]{herd.endpoint}/v1[/bold] (no key needed)")
    out.print(f"Try it:  herd chat {(*first.aliases, first.id)[0]}      or:", markup=False)
    out.print(
        f"  curl {herd.endpoint}/v1/chat/completions -H 'content-type: application/json' \\\n"
        f'    -d \'{{"model": "{first.id}", "messages": [{{"role": "user", "content": "What is a llama?"}}]}}\'',
        markup=False,
        soft_wrap=True,
    )

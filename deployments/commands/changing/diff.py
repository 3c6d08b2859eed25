"""`herd diff`: what `herd up` would change. Changes nothing."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from configs.load import environment
from deployments.commands.changing.rolling import show
from deployments.commands.from_files import loaded_herd
from deployments.commands.terminal import AsJson, More, Sets, files, told
from deployments.lifecycle.changing import declared, outlook
from deployments.lifecycle.herd import OperationError

Only = Annotated[str | None, typer.Option(metavar="MODEL", help="Only this model of the file; the others, and all else, stay as they are.")]


def diff(
    config: Annotated[Path | None, typer.Argument(help="A herd's YAML file.")] = None,
    more: More = None,
    sets: Sets = None,
    only: Only = None,
    as_json: AsJson = False,
) -> None:
    """Show what `herd up` with this file would do: fields that differ, and which engines are made anew, in which order.

    For each model it says how long it would be away. Exit code 0: nothing changes. 2: something does. 1: it is refused.

    \b
    herd diff configs/herd.yaml
    herd diff configs/herd.yaml --only scout --json
    """
    compare(files(config, more), sets, only, as_json)


def compare(paths: Sequence[Path], sets: Sequence[str] | None, only: str | None, as_json: bool) -> None:
    """Prints what a file would change, and ends with its exit code."""
    with told(OperationError):
        herd = loaded_herd(paths, sets)
        found = outlook.of_file(herd, declared.order("up", file=herd.config, model=only), environment())
        if as_json:
            sys.stdout.write(json.dumps(found.as_plain()) + "\n")
        else:
            show(found)
    raise typer.Exit(found.code)

"""`herd config show`: every value of a config, with its place; the herd's that is up, or what files amount to.

Decides which config is shown, and in which form. Values and lines are `deployments.commands.describing.config_values`'s.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from cluster.scaling.config_problems import problems
from configs.load import Loaded, as_yaml, environment, loaded
from configs.substitution import escaped
from deployments.commands.describing.config_values import Value, lines, place, values
from deployments.commands.terminal import AsJson, More, Name, Sets, files, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import Herd, OperationError

commands = typer.Typer(no_args_is_help=True, help="Look at configs.")
DEFAULT, IS_UP = "default", "the herd that is up"
HEADER = "# Made by `herd config show --yaml` of llama-herd {version}, from {sources}.\n"


@commands.callback()
def _commands() -> None:
    """Look at configs."""


@commands.command()
def show(  # noqa: PLR0913 (an option each)
    config: Annotated[Path | None, typer.Argument(help="A herd's YAML file. Default: the herd that is up.")] = None,
    more: More = None,
    sets: Sets = None,
    name: Name = None,
    defaults: Annotated[bool, typer.Option(help="Show defaults too.")] = True,
    as_json: AsJson = False,
    as_file: Annotated[
        bool,
        typer.Option("--yaml", help="Print one YAML file instead of all that were read, which `herd up` takes: for another machine."),
    ] = False,
) -> None:
    """Show every value of a config and where it comes from: a file and its line, --set, a variable of the environment, or a default.

    A secret that stands in the config is not shown, except by --yaml, which leaves commands as they are. The first is about the herd that
    is up, the second makes one file of prod.yaml and all that it extends.

    \b
    herd config show --no-defaults
    herd config show prod.yaml --yaml
    """
    if as_json and as_file:
        raise typer.BadParameter("--json and --yaml are answers of different forms: say one of them")
    with told(OperationError):
        if config is None and not more and not sets:
            herd = _running(name)
            shown, document, sources = herd.config, herd.config.model_dump(mode="json", exclude_defaults=True), [IS_UP]
            place_of = _place_of_running(herd.remembered_places())
        else:
            given = loaded(files(config, more), sets or (), problems)
            shown, document, sources = given.config, given.document, list(given.sources)
            place_of = _place_of_files(given)
    if as_file:
        header = HEADER.format(version=version("llama-herd"), sources=", ".join(sources))
        sys.stdout.write(header + as_yaml(escaped(document)))
        return
    every = [one for one in values(shown) if defaults or place_of(one) != DEFAULT]
    if as_json:
        told_values = [{"path": one.path, "value": one.value, "from": place_of(one)} for one in every]
        sys.stdout.write(json.dumps({"name": shown.name, "files": sources, "values": told_values}) + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines(every, place_of))


def _running(name: str | None) -> Herd:
    """Returns the herd that is up. One on a Ray node of its own is remembered in its folder, and Ray is not asked."""
    herd = operate.known(environment(), name)
    if herd.config.ray.address == "local":
        return replace(herd, config=operate.remembered(herd))
    with operate.connected(herd, lambda _: None):
        return replace(herd, config=operate.remembered(herd))


def _place_of_files(given: Loaded) -> Callable[[Value], str]:
    return lambda one: place(given, one) or DEFAULT


def _place_of_running(kept: Mapping[str, tuple[Any, str]]) -> Callable[[Value], str]:
    """Tells a value's place by what `herd up` kept, as long as the value is the same: it may have been changed since."""

    def told_of(one: Value) -> str:
        value, told_place = kept.get(one.path, (None, ""))
        if told_place and value == one.value:
            return told_place
        return DEFAULT if one.is_default else IS_UP

    return told_of

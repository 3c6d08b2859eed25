"""`herd config show`: every value of a config, with its place; the herd's that is up, or what files amount to.

Decides which config is shown, and in which form. Values and lines are `deployments.commands.describing.config_values`'s.
"""

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from cluster.planner.config_problems import problems
from configs.load import Loaded, as_yaml, environment, loaded
from configs.schema import Config
from configs.substitution import escaped
from deployments.commands.describing.config_values import Value, lines, values
from deployments.commands.terminal import AsJson, More, Name, Sets, files, told
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import OperationError

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

    A secret that stands in the config is not shown, except by --yaml, which leaves commands as they are.
    """
    if as_json and as_file:
        raise typer.BadParameter("--json and --yaml are answers of different forms: say one of them")
    with told(OperationError):
        if config is None and not more and not sets:
            text = _shown(_running(name), None, as_json, as_file, defaults)
        else:
            given = loaded(files(config, more), sets or (), problems)
            text = _shown(given.config, given, as_json, as_file, defaults)
    sys.stdout.write(text)


def _running(name: str | None) -> Config:
    """Returns the config of the herd that is up. One on a Ray node of its own is remembered in its folder, and Ray is not asked."""
    herd = operate.known(environment(), name)
    if herd.config.ray.address == "local":
        return operate.remembered(herd)
    with operate.connected(herd, lambda _: None):
        return operate.remembered(herd)


def _shown(config: Config, given: Loaded | None, as_json: bool, as_file: bool, defaults: bool) -> str:
    if as_file:
        sources = ", ".join(given.sources) if given is not None else IS_UP
        document = given.document if given is not None else config.model_dump(mode="json", exclude_defaults=True)
        return HEADER.format(version=version("llama-herd"), sources=sources) + as_yaml(escaped(document))
    place = _place(given)
    shown = [one for one in values(config) if defaults or place(one) != DEFAULT]
    if not as_json:
        return "".join(f"{line}\n" for line in lines(shown, place))
    told = [{"path": one.path, "value": one.value, "from": place(one)} for one in shown]
    return json.dumps({"name": config.name, "files": list(given.sources) if given is not None else None, "values": told}) + "\n"


def _place(given: Loaded | None) -> Callable[[Value], str]:
    if given is None:
        return lambda one: DEFAULT if one.is_default else IS_UP
    return lambda one: DEFAULT if one.is_default and one.path not in given.origins else given.where(one.path)

"""`herd validate`: whether a config is well formed, with every problem at once."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cluster.scaling.config_problems import problems
from configs.addresses import in_url
from configs.cross_checks import doubts
from configs.files import Source
from configs.load import ConfigError, loaded
from configs.schema import Model
from deployments.commands.terminal import WRONG_CONFIG, AsJson, More, Sets, files, out, put, refuse, warn


def validate(
    config: Annotated[Path | None, typer.Argument(help="A herd's YAML file. `-` is standard input.")] = None,
    more: More = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Check a config, and tell every problem at once, each by its field and the file and line that it comes from.

    Needs no GPU, no Ray and no vLLM.

    \b
    herd validate configs/scout-h100.yaml
    herd validate configs/herd.yaml -f prod.yaml --json
    herd validate -
    """
    paths = files(config, more)
    try:
        given = loaded(paths, sets or (), problems)
    except ConfigError as error:
        if as_json:
            found = [{"path": problem.path, "message": problem.message, "where": problem.where} for problem in error.problems]
            sys.stdout.write(json.dumps({"valid": False, "problems": found}) + "\n")
            raise typer.Exit(WRONG_CONFIG) from None
        refuse(error)
    herd = given.config
    doubtful = [{"path": path, "message": message, "where": given.where(path)} for path, message in doubts(herd)]
    if as_json:
        sys.stdout.write(json.dumps({"valid": True, "problems": [], "warnings": doubtful}) + "\n")
    else:
        for one in doubtful:
            warn(f"{one['path']}: {one['message']} ({one['where']})")
        served = ", ".join(f"{model.id} × {_count(model)}" for model in herd.models)
        name = " with ".join(Source.of(path).name for path in paths)
        put(
            out,
            Text.assemble((f"{name} is well formed.", "green"), f" It serves {served} at {in_url(herd.gateway.host)}:{herd.gateway.port}."),
        )


def _count(model: Model) -> str:
    """Returns how many replicas a model has: a number, or the range that it moves in."""
    least, most = model.scale.min_replicas, model.scale.max_replicas
    if model.stopped:
        return "0 (stopped)"
    return str(least) if least == most else f"{least} to {most}"

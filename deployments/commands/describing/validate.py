"""`herd validate`: whether a config is well formed, with every problem at once."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.planner.config_problems import problems
from configs.cross_checks import doubts
from configs.load import ConfigError, read
from deployments.commands.terminal import WRONG_CONFIG, AsJson, out, refuse, warn


def validate(
    config: Annotated[Path, typer.Argument(help="A herd's YAML file.")],
    as_json: AsJson = False,
) -> None:
    """Check a config, and tell every problem at once. Needs no GPU, no Ray and no vLLM.

    \b
    herd validate configs/scout-h100.yaml
    herd validate configs/herd.yaml --json
    """
    try:
        herd = read(config, problems)
    except ConfigError as error:
        if as_json:
            found = [{"path": problem.path, "message": problem.message} for problem in error.problems]
            sys.stdout.write(json.dumps({"valid": False, "problems": found}) + "\n")
            raise typer.Exit(WRONG_CONFIG) from None
        refuse(error)
    doubtful = [{"path": path, "message": message} for path, message in doubts(herd)]
    if as_json:
        sys.stdout.write(json.dumps({"valid": True, "problems": [], "warnings": doubtful}) + "\n")
    else:
        for one in doubtful:
            warn(f"{one['path']}: {one['message']}")
        served = ", ".join(f"{model.id} × {model.scale.min_replicas}" for model in herd.models)
        out.print(f"[green]{config} is well formed.[/green] It serves {served} at {herd.gateway.host}:{herd.gateway.port}.")

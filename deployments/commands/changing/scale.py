"""`herd scale`: changes a model's number of replicas."""

from typing import Annotated

import typer

from deployments.commands.changing.rolling import Asked, Detach, DryRun, Force, ModelName, WithinS, by_hand
from deployments.commands.terminal import Name
from deployments.lifecycle.changing import declared


def scale(  # noqa: PLR0913 (an option each)
    model: ModelName,
    replicas: Annotated[
        int,
        typer.Argument(
            help="The number of replicas; of a model with a range (`scaling`), the fewest: 0 lets it go to zero while nobody asks for it."
        ),
    ],
    most: Annotated[int | None, typer.Option("--max", help="The most replicas. Default: as the config says.")] = None,
    name: Name = None,
    within_s: WithinS = None,
    force: Force = False,
    dry_run: DryRun = False,
    detach: Detach = False,
) -> None:
    """Change a model's number of replicas, until `herd up` with a file takes it back.

    \b
    herd scale scout 3
    herd scale scout 2 --max 6
    """
    by_hand(declared.order("scale", model=model, replicas=replicas, most=most), Asked(name, within_s, force, dry_run, detach))

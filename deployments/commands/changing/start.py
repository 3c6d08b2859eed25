"""`herd start`: brings a stopped model back."""

from deployments.commands.changing.rolling import Asked, Detach, DryRun, Force, ModelName, WithinS, by_hand
from deployments.commands.terminal import Name
from deployments.lifecycle.changing import declared


def start(
    model: ModelName,
    name: Name = None,
    within_s: WithinS = None,
    force: Force = False,
    dry_run: DryRun = False,
    detach: Detach = False,
) -> None:
    """Start a model again that was stopped.

    \b
    herd start scout
    herd start scout --detach
    """
    by_hand(declared.order("start", model=model), Asked(name, within_s, force, dry_run, detach))

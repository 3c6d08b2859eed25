"""`herd stop`: takes a model's engines away."""

from deployments.commands.changing.rolling import Asked, Detach, DryRun, Force, ModelName, WithinS, by_hand
from deployments.commands.terminal import Name
from deployments.lifecycle.changing import declared


def stop(
    model: ModelName,
    name: Name = None,
    within_s: WithinS = None,
    force: Force = False,
    dry_run: DryRun = False,
    detach: Detach = False,
) -> None:
    """Stop a model: its engines go, its GPUs are free, and clients are told that it is stopped.

    It stays in the config, and `herd start` brings it back. Requests under way are finished first.

    \b
    herd stop scout
    herd stop scout --dry-run
    """
    by_hand(declared.order("stop", model=model), Asked(name, within_s, force, dry_run, detach))

"""`herd rollback`: goes back to the herd that was up before the present one."""

from deployments.commands.changing.rolling import Asked, Detach, DryRun, Force, WithinS, by_hand
from deployments.commands.terminal import Name
from deployments.lifecycle.changing import declared


def rollback(name: Name = None, within_s: WithinS = None, force: Force = False, dry_run: DryRun = False, detach: Detach = False) -> None:
    """Go back to the herd that last was up with another file, with the changes by hand that it had.

    A second rollback goes forward again.

    \b
    herd rollback --dry-run
    herd rollback
    """
    by_hand(declared.order("rollback"), Asked(name, within_s, force, dry_run, detach))

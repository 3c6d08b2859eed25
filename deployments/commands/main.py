"""`herd`: the operator's commands.

Decides which there are; each has a file of its own. Exit codes are in `deployments.commands.terminal`.
"""

import typer

from deployments.commands import cluster_emit as cluster_command
from deployments.commands.changing.diff import diff
from deployments.commands.changing.down import down
from deployments.commands.changing.restart import restart
from deployments.commands.changing.rollback import rollback
from deployments.commands.changing.scale import scale
from deployments.commands.changing.start import start
from deployments.commands.changing.stop import stop
from deployments.commands.changing.up import up
from deployments.commands.describing.validate import validate
from deployments.commands.doctor import doctor
from deployments.commands.looking.status import status
from deployments.commands.plan import plan
from deployments.commands.pull import pull
from deployments.commands.secret import secret
from deployments.commands.terminal import STAYS, interrupt
from deployments.commands.using.chat import chat
from deployments.commands.using.models import models

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Serves Meta's Llama herd on your own machines: one YAML file in, one OpenAI-compatible endpoint out.\n\n"
    "A first look, without a GPU: [bold]herd up[/bold], then [bold]herd chat smollm2[/bold], then [bold]herd down[/bold].",
)
for command in (
    *(plan, pull, doctor, status, secret, up, diff, down, scale, restart, stop, start, rollback),
    *(models, validate, chat),
):
    app.command()(command)
app.add_typer(cluster_command.commands, name="cluster")


def main() -> None:
    """Runs the command that the command line names."""
    try:
        app()
    except KeyboardInterrupt:
        interrupt(STAYS)

"""`herd`: the operator's commands.

Decides which there are; each has a file of its own. Exit codes are in `deployments.commands.terminal`.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from deployments.commands import cluster_emit as cluster_command
from deployments.commands.beside import monitor as monitor_command
from deployments.commands.changing.diff import diff
from deployments.commands.changing.down import down
from deployments.commands.changing.restart import restart
from deployments.commands.changing.rollback import rollback
from deployments.commands.changing.scale import scale
from deployments.commands.changing.start import start
from deployments.commands.changing.stop import stop
from deployments.commands.changing.up import up
from deployments.commands.describing import config as config_command
from deployments.commands.describing.init import init
from deployments.commands.describing.schema import schema
from deployments.commands.describing.support_bundle import support_bundle
from deployments.commands.describing.validate import validate
from deployments.commands.doctor import doctor
from deployments.commands.looking.events import events
from deployments.commands.looking.logs import logs
from deployments.commands.looking.status import status
from deployments.commands.looking.top.command import top
from deployments.commands.looking.why import why
from deployments.commands.plan import plan
from deployments.commands.pull import pull
from deployments.commands.secret import secret
from deployments.commands.simulating.simulate import simulate
from deployments.commands.terminal import STAYS, interrupt, out, reflowed
from deployments.commands.using.bench import bench
from deployments.commands.using.chat import chat
from deployments.commands.using.models import models
from deployments.commands.versions import versions

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
COMMANDS = (
    *(init, plan, simulate, pull, doctor),
    *(up, diff, scale, restart, stop, start, rollback, down),
    *(status, top, why, logs, events, models, chat, bench),
    *(validate, schema, secret, support_bundle),
)
for command in COMMANDS:
    app.command(help=reflowed(command.__doc__))(command)
app.add_typer(cluster_command.commands, name="cluster")
app.add_typer(config_command.commands, name="config")
app.add_typer(monitor_command.commands, name="monitor")


def _tell_version(asked: bool) -> None:
    if asked:
        out.print("\n".join(f"{name} {told}" for name, told in versions().items()), markup=False)
        raise typer.Exit


@app.callback()
def herd(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the versions of herd, Ray, vLLM, PyTorch, Python."),
    ] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="Print without colours, before or behind the command's name.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Print no steps, hints or warnings: answers and errors only. Also anywhere.")
    ] = False,
) -> None:
    """Serve Meta's Llama herd on your own machines: one YAML file in, one OpenAI-compatible endpoint out.

    A first look, without a GPU:

    \b
    herd up
    herd chat smollm2
    herd down
    """  # `deployments.__main__` has taken the last two already: the consoles were made by them


def main(words: Sequence[str]) -> None:
    """Runs the command that these words name."""
    try:
        app(words, prog_name="herd")
    except KeyboardInterrupt:
        interrupt(STAYS)

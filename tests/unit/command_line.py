"""`herd` in this process, with its tree of commands made once.

Typer makes the tree anew whenever its own runner is called, which takes longer than most of the commands that the tests run.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import click.testing
import typer

from deployments.commands.main import app


@cache
def commands() -> click.Command:
    """Makes the command that all others are in."""
    return typer.main.get_command(app)


def invoke(words: Sequence[str], stdin: str | None = None, env: Mapping[str, str | None] | None = None) -> click.testing.Result:
    """Runs a command line with this standard input and these changes of the environment; `None` takes a variable away."""
    return click.testing.CliRunner().invoke(commands(), list(words), input=stdin, env=env)

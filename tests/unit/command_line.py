"""`herd` in this process, with its tree of commands made once.

Typer's runner makes the tree anew for each call, which takes longer than most of the commands that the tests run.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pytest
import typer.testing

from deployments.commands.main import app as herd

#: Makes the tree of commands of an application, once.
made = cache(typer.main.get_command)


def invoke(words: Sequence[str], stdin: str | None = None, env: Mapping[str, str | None] | None = None, app: typer.Typer = herd) -> Any:
    """Runs a command line with this standard input and these changes of the environment; `None` takes a variable away."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", made)
        return typer.testing.CliRunner().invoke(app, list(words), input=stdin, env=env)

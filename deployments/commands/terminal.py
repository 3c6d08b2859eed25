"""Prints for the commands: answers on standard output, all else on standard error. Decides how a failure is told.

Exit codes: 0 done · 1 it could not be done · 2 the command line is wrong · 3 the config is wrong · 130 interrupted.
"""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from configs.problems import ConfigError

#: One console for each stream: a spinner on one knows of every line that is printed through it.
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

#: Options that several commands have.
Name = Annotated[str | None, typer.Option("--name", help="The name of the herd (the config's `name`). It is needed if several are up.")]
More = Annotated[
    list[Path] | None,
    typer.Option("--file", "-f", metavar="FILE", help="A YAML file that is laid over CONFIG and each file before it. `-`: standard input."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="A value that is laid over the files: models.scout.replicas=3. null removes a field."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]

STAYS = "Everything that was started stays: `herd up` goes on from there, `herd down` takes it away."
WRONG_CONFIG = 3
INTERRUPTED = 130


def files(config: Path | None, more: Iterable[Path] | None, default: Path | None = None) -> list[Path]:
    """Returns the files of a config in their order, or else the default.

    Raises:
        BadParameter: there is none.
    """
    found = [one for one in (config, *(more or ())) if one is not None] or ([default] if default is not None else [])
    if not found:
        raise typer.BadParameter("name a herd's YAML file", param_hint="CONFIG")
    return found


@contextlib.contextmanager
def told(*errors: type[Exception], interrupted: str = "") -> Iterator[None]:
    """Turns errors into one sentence and an exit code, without a stack trace.

    Args:
        errors: types whose messages say why and what to do.
        interrupted: a sentence for Ctrl-C about the state that is left, and how to go on.
    """
    try:
        yield
    except ConfigError as error:
        refuse(error)
    except errors as error:
        tell(str(error))
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        interrupt(interrupted)


def tell(sentence: str) -> None:
    """Prints a sentence about a failure on standard error."""
    err.print("[red]✗[/red] ", end="")
    err.print(sentence, markup=False, soft_wrap=True)


def warn(sentence: str) -> None:
    """Prints a sentence about something that works, and is most likely not meant, on standard error."""
    err.print("[yellow]![/yellow] ", end="")
    err.print(sentence, markup=False, soft_wrap=True)


def refuse(error: ConfigError) -> NoReturn:
    """Tells everything that is wrong with a config, by field."""
    err.print(f"[red]{escape(error.source)} cannot be used:[/red]", soft_wrap=True)
    for problem in error.problems:
        err.print(f"  [bold]{escape(problem.path or 'the file')}[/bold]: ", end="")
        err.print(problem.message, markup=False, soft_wrap=True, end=" " if problem.where else "\n")
        if problem.where:
            err.print(f"({problem.where})", markup=False, soft_wrap=True, style="dim")
    raise typer.Exit(WRONG_CONFIG) from None


def interrupt(sentence: str) -> NoReturn:
    """Ends a command after Ctrl-C."""
    err.print(f"\nInterrupted. {sentence}".rstrip(), markup=False)
    raise SystemExit(INTERRUPTED) from None

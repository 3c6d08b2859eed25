"""Prints for the commands: answers on standard output, all else on standard error. Decides how a failure is told.

Exit codes: 0 done · 1 it could not be done · 2 the command line is wrong · 3 the config is wrong · 130 interrupted. `herd diff` and
`--dry-run` end with 2 where something would change.
"""

import contextlib
from collections.abc import Iterator
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from configs.problems import ConfigError

#: One console for each stream: a spinner on one knows of every line that is printed through it.
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

#: Options that several commands have.
Name = Annotated[str | None, typer.Option("--name", help="The name of the herd (the config's `name`). It is needed if several are up.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, for scripts.")]

STAYS = "Everything that was started stays: `herd up` goes on from there, `herd down` takes it away."
WRONG_CONFIG = 3
INTERRUPTED = 130


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
    err.print(f"[red]{error.source} cannot be used:[/red]", soft_wrap=True)
    for problem in error.problems:
        err.print(f"  [bold]{problem.path or 'the file'}[/bold]: ", end="")
        err.print(problem.message, markup=False, soft_wrap=True)
    raise typer.Exit(WRONG_CONFIG) from None


def interrupt(sentence: str) -> NoReturn:
    """Ends a command after Ctrl-C."""
    err.print(f"\nInterrupted. {sentence}".rstrip(), markup=False)
    raise SystemExit(INTERRUPTED) from None

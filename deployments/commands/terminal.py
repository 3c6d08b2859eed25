"""Prints for the commands: answers on standard output, all else on standard error. Decides how a failure is told, and the exit codes."""

import contextlib
import inspect
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from configs.problems import ConfigError

#: `--quiet` anywhere on the command line sets it, as `--no-color` sets NO_COLOR, before this file is imported.
QUIET = "HERD_QUIET"
#: One console for each stream: a spinner on one knows of every line that is printed through it. Both heed NO_COLOR.
out, err = Console(highlight=False), Console(stderr=True, highlight=False)
#: Takes steps, hints and warnings: standard error, or nowhere if the command line has --quiet.
progress = Console(stderr=True, highlight=False, quiet=True) if os.environ.get(QUIET) else err

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
Url = Annotated[
    str | None,
    typer.Option(
        "--url", metavar="ADDRESS", help="The gateway's address, from any machine: http://host:8000. Default: the herd that is up."
    ),
]
Ca = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="With --url: trust the certificates in this file, and not those of this system.")
]

STAYS = "Everything that was started stays: `herd up` goes on from there, `herd down` takes it away."
FAILED = 1
WRONG_WORDS = 2
WRONG_CONFIG = 3
INTERRUPTED = 130
#: The same for every command; deployments/README.md has this table.
EXIT_CODES: Mapping[int, str] = MappingProxyType(
    {
        0: "It is done.",
        FAILED: "It could not be done, and standard error says why. `herd plan`: it does not fit. `herd doctor`: something is sick.",
        WRONG_WORDS: "The command line is wrong. A dry run of `herd up`: something would change.",
        WRONG_CONFIG: "The config is wrong, and standard error names every field.",
        INTERRUPTED: "Ctrl-C ended it.",
    }
)


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
        raise typer.Exit(FAILED) from None
    except KeyboardInterrupt:
        interrupt(interrupted)


def tell(sentence: str) -> None:
    """Prints a sentence about a failure on standard error."""
    err.print("[red]✗[/red] ", end="")
    err.print(sentence, markup=False, soft_wrap=True)


def warn(sentence: str) -> None:
    """Prints a sentence about something that works, and is most likely not meant, on standard error; nothing with --quiet."""
    progress.print("[yellow]![/yellow] ", end="")
    progress.print(sentence, markup=False, soft_wrap=True)


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


def reflowed(text: str | None) -> str:
    """Returns the help of a command, each paragraph in one line for the terminal to break; those that begin with \\b keep their lines."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(one if one.startswith("\b") else one.replace("\n", " ") for one in paragraphs)

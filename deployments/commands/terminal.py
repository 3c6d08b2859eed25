"""Prints for the commands: answers on standard output, all else on standard error. Decides how a failure is told, and the exit codes."""

import contextlib
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, NoReturn

import typer
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

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

#: Blanks before all lines but the first of a sentence behind a mark, and of one about a field.
BEHIND_A_MARK, BELOW_A_FIELD = " " * 2, " " * 4
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
    put(err, Text.assemble(("✗", "red"), f" {sentence}"), BEHIND_A_MARK)


def warn(sentence: str) -> None:
    """Prints a sentence about something that works, and is most likely not meant, on standard error; nothing with --quiet."""
    put(progress, Text.assemble(("!", "yellow"), f" {sentence}"), BEHIND_A_MARK)


def refuse(error: ConfigError) -> NoReturn:
    """Tells everything that is wrong with a config, by field."""
    put(err, Text(f"{error.source} cannot be used:", "red"))
    for problem in error.problems:
        where = (f" ({problem.where})", "dim") if problem.where else ""
        put(err, Text.assemble("  ", (problem.path or "the file", "bold"), f": {problem.message}", where), BELOW_A_FIELD)
    raise typer.Exit(WRONG_CONFIG) from None


def misused(error: Any) -> None:  # noqa: ANN401 (its type is Typer's own)
    """Tells what is wrong with a command line, and where its help is; the help itself stands where no word was given."""
    context, message = error.ctx, error.format_message()
    if context is not None and message:
        put(err, context.get_usage())
        put(err, f"Try '{context.command_path} --help' for help.")
    if message:
        tell(message)


def put(console: Console, text: Text | str, indent: str = "") -> None:
    """Prints a sentence, which may name paths, addresses and commands: a word is never broken, so that each can be copied.

    On a terminal its lines break between words only, and `indent` stands before all but the first. Elsewhere it is one line.
    """
    said = Text(text) if isinstance(text, str) else text
    if console.is_terminal:
        said = _in_lines(console, said, indent)
    console.print(said, soft_wrap=True)


def _in_lines(console: Console, said: Text, indent: str) -> Text:
    lines = []
    for paragraph in said.split("\n", allow_blank=True):
        parts = paragraph.divide(_breaks(paragraph.plain, console.width, cell_len(indent)))
        for number, part in enumerate(parts):
            part.rstrip()
            lines.append(Text(indent) + part if number else part)
    return Text("\n").join(lines)


def _breaks(text: str, width: int, indent: int) -> list[int]:
    """Returns where all lines but the first begin, each `indent` columns from the left. A longer word has a line of its own."""
    found, column = [], 0
    for word in re.finditer(r"\s*(\S+)", text):
        wide = cell_len(word[0])
        if column and column + wide > width and text[: word.start()].strip():
            found.append(word.start(1))
            column, wide = indent, cell_len(word[1])
        column += wide
    return found


def interrupt(sentence: str) -> NoReturn:
    """Ends a command after Ctrl-C."""
    put(err, f"\nInterrupted. {sentence}".rstrip())
    raise SystemExit(INTERRUPTED) from None


def reflowed(text: str | None) -> str:
    """Returns the help of a command, each paragraph in one line for the terminal to break; those that begin with \\b keep their lines."""
    paragraphs = inspect.cleandoc(text or "").split("\n\n")
    return "\n\n".join(one if one.startswith("\b") else one.replace("\n", " ") for one in paragraphs)

"""The help of every `herd` command: each word is explained in plain sentences, and examples show how it is typed."""

import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from deployments.commands.main import app
from tests.tools.test_schema_table import RIDDLE


def commands(command: Any, name: str = "herd") -> Iterator[tuple[str, Any]]:
    yield name, command
    for below, one in getattr(command, "commands", {}).items():
        yield from commands(one, f"{name} {below}")


COMMANDS = dict(commands(typer.main.get_command(app)))
PARAMETERS = [(name, one) for name, command in COMMANDS.items() for one in command.params if one.name != "help"]


def test_every_command_is_here() -> None:
    assert {"herd", "herd up", "herd plan", "herd cluster", "herd cluster emit"} <= COMMANDS.keys()
    assert len(PARAMETERS) > 40


#: Those that do something themselves, and do not only hold others.
LEAVES = [name for name, command in COMMANDS.items() if not hasattr(command, "commands")]
MOST_COLUMNS = 78


def parts(name: str) -> tuple[str, list[str]]:
    """Splits a command's help into its sentences and its examples, which are lines that begin as they are typed."""
    lines = [line.strip(" \b") for line in (COMMANDS[name].help or "").splitlines()]
    examples = [line for line in lines if line.startswith("herd ")]
    return " ".join(" ".join(line for line in lines if line not in examples).split()), examples


@pytest.mark.parametrize("name", LEAVES)
def test_help_of_a_command_has_two_examples_that_are_understood(name: str) -> None:
    examples = [line for line in parts(name)[1] if line == name or line.startswith(f"{name} ")]
    assert len(examples) >= 2, f"the help of `{name}` needs two lines that begin with `{name}`, in a paragraph that begins with \\b"
    for line in examples:
        COMMANDS[name].make_context(
            name, shlex.split(line.partition(" > ")[0])[len(name.split()) :]
        )  # raises where a word is not understood; runs nothing
        assert len(line) <= MOST_COLUMNS, "a terminal of 80 columns would break it"


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_explained_in_plain_sentences(name: str) -> None:
    text = parts(name)[0].removesuffix(":") + "." * parts(name)[0].endswith(":")
    assert text.endswith("."), text
    assert text[0].isupper(), text
    assert not RIDDLE.search(text), text


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS, ids=[f"{name} {one.name}" for name, one in PARAMETERS])
def test_word_of_the_command_line_is_explained_in_plain_sentences(name: str, parameter: Any) -> None:
    text = parameter.help
    assert text, f"{name} does not explain {parameter.name}"
    assert text.endswith("."), text
    assert text[0].isupper(), text
    assert not RIDDLE.search(text), text

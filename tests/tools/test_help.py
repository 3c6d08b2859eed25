"""The help of every `herd` command: each word of the command line is explained in plain sentences."""

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


@pytest.mark.parametrize("name", COMMANDS)
def test_command_is_explained_in_plain_sentences(name: str) -> None:
    text = " ".join((COMMANDS[name].help or "").split())
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

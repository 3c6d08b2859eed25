"""The project's pages: links, paths, commands and configs in them are those that exist, and lines are short."""

import re
from collections.abc import Iterable
from typing import Any

import pytest
import yaml

from cluster.planner.config_problems import problems
from configs.load import as_yaml, parse
from configs.schema import Config
from configs.schema_problems import fields_at
from deployments.__main__ import split
from deployments.commands.main import app
from tests.tools.documents import (
    NAMES,
    PAGES,
    ROOT,
    anchors,
    blocks,
    in_backticks,
    links,
    named_commands,
    prose,
    sentences_of_code,
    text_of,
    typed_commands,
)
from tests.unit.command_line import made

EACH = pytest.mark.parametrize("name", NAMES)
MOST_LINES_OF_THE_README = 130
MOST_COLUMNS = 120
#: Pages that tell what was: names of files and commands in it may be gone.
HISTORY = "CHANGELOG.md"
#: What a model of the config must have; fragments in the pages leave it out.
A_MODEL = {"id": "scout", "kind": "llama-4-scout", "checkpoint": "small:llama-4-scout-tiny", "context_tokens": 8192}


def test_pages_are_those_that_the_readme_names() -> None:
    named = {target.partition("#")[0] for target in links(text_of("README.md"))}
    generated = {"cluster/planner/POINTS.md"}  # the page on planning names it
    runbooks = {name for name in NAMES if name.startswith("monitoring/runbooks/")}  # the alerts name them
    assert {name for name in NAMES if name != "README.md"} - generated - runbooks <= named


def test_readme_has_at_most_130_lines() -> None:
    assert len(text_of("README.md").splitlines()) <= MOST_LINES_OF_THE_README


@EACH
def test_lines_of_prose_have_at_most_120_characters(name: str) -> None:
    lines = prose(text_of(name)).splitlines()
    assert [line for line in lines if len(line) > MOST_COLUMNS and not line.startswith("|") and "](" not in line] == []


@EACH
def test_link_leads_to_a_file_and_a_heading_that_exist(name: str) -> None:
    folder = (ROOT / name).parent
    for target in links(text_of(name)):
        path, _, anchor = target.partition("#")
        file = folder / path if path else ROOT / name
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), target


def missing(name: str, codes: Iterable[str]) -> list[str]:
    """Paths of files and folders of ours among what stands in backticks, as far as they do not exist."""
    rooms = {path.parent.name for folder in ("cluster", "deployments") for path in (ROOT / folder).glob("*/__init__.py")}
    ours = {"configs", "cluster", "deployments", "monitoring", "tests", *rooms}
    paths = [code for code in codes if " " not in code and (("/" in code and code.partition("/")[0] in ours) or code.endswith(".py"))]
    places = {ROOT, (ROOT / name).parent}

    def exists(path: str) -> bool:
        return any(next(place.glob(path.rstrip("/")), None) for place in places) or ("/" not in path and any_file_is_called(path))

    return [path for path in paths if not exists(path)]


def any_file_is_called(file: str) -> bool:
    return any(next((ROOT / folder).rglob(file), None) for folder in ("configs", "cluster", "deployments", "monitoring", "tests"))


@pytest.mark.parametrize("name", [name for name in NAMES if name != HISTORY])
def test_path_in_backticks_exists(name: str) -> None:
    assert missing(name, in_backticks(text_of(name))) == []


def test_path_that_has_moved_is_noticed() -> None:
    moved = ["deployments/app.py", "policy/field_table.py", "vllm_resume.py", "tests/hostile/x/*.py"]
    assert missing("README.md", [*moved, "/v1/models", "text/plain", "deployments/policy", "tests/hostile/*.py", "sizes.py"]) == moved


def field_exists(path: str) -> bool:
    *above, field = path.replace("[]", "").split(".")
    try:
        return field.isupper() or field in fields_at(Config, above)
    except (KeyError, AttributeError, IndexError):
        return False


@pytest.mark.parametrize("name", [name for name in NAMES if name != HISTORY])
def test_field_of_the_config_in_backticks_exists(name: str) -> None:
    named = [code.partition(":")[0] for code in in_backticks(text_of(name)) if code.startswith(("gateway.", "cluster."))]
    modules = {path for path in named if (ROOT / path.replace(".", "/")).with_suffix(".py").exists()}
    assert [path for path in named if path not in modules and not field_exists(path)] == []


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """Finds the command that the first words name; returns it with the other words, less those that hold for every command."""
    command: Any = made(app)
    words = split(words)[1]
    while hasattr(command, "commands") and not words[0].startswith("-"):
        name, *words = words
        assert name in command.commands, name
        command = command.commands[name]
    return command, words


@EACH
def test_command_in_a_shell_block_is_understood(name: str) -> None:
    for words in typed_commands(text_of(name)):
        command, arguments = command_of(words)
        if hasattr(command, "commands"):  # `herd --version`, which would print it
            assert {*arguments} <= {option for parameter in command.params for option in parameter.opts}, words
        else:
            command.make_context(command.name, arguments)  # raises where a word is not understood; runs nothing


@EACH
def test_command_in_the_text_has_these_options(name: str) -> None:
    for words in named_commands(text_of(name)):
        if words[0].isupper():  # stands for every command
            continue
        command, arguments = command_of(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word.partition("=")[0] for word in arguments if word.startswith("-") and word != "-"} <= known | {"--help"}, words


def named_in_code() -> list[tuple[str, list[str]]]:
    """The words behind `herd` of each command that a sentence of the code names, with its file."""
    folders = ("configs", "cluster", "monitoring", "deployments")
    files = [file for folder in folders for file in sorted((ROOT / folder).rglob("*.py"))]
    said = [(str(file.relative_to(ROOT)), text) for file in files for text in sentences_of_code(file)]
    alerts = [(file.name, file.read_text(encoding="utf-8")) for file in sorted((ROOT / "monitoring" / "alerts").glob("*.yml"))]
    return [(name, code.split()) for name, text in [*said, *alerts] for code in re.findall(r"`herd ([^`…]+)`", text)]


def test_command_that_the_code_tells_of_has_these_options() -> None:
    """Errors, hints, alerts and helps name commands; a person copies them."""
    named = named_in_code()
    assert len(named) > 100
    for name, words in named:
        if words[0] in ("COMMAND", "X") or words == ["monitor"]:
            continue
        command, arguments = command_of(words)
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word.partition("=")[0] for word in arguments if word.startswith("-") and word != "-"} <= known | {"--help"}, (name, words)


def test_pages_have_commands() -> None:
    typed = [words for page in PAGES for words in typed_commands(page.read_text(encoding="utf-8"))]
    assert {words[0] for words in typed} >= {"up", "plan", "pull", "doctor", "cluster", "secret", "status", "down"}
    assert ["doctor", "--node", "--labels", "--gpus", "8"] in typed, "also inside $(…)"


@EACH
def test_yaml_block_is_yaml_and_a_config_fits_the_schema(name: str) -> None:
    for block in blocks(text_of(name), "yaml"):
        given = yaml.safe_load(block)
        if given.keys() <= Config.model_fields.keys():
            models = [A_MODEL | model for model in given.get("models", [{}])]
            parse(as_yaml(given | {"models": models}), f"{name}: {block}", problems)

"""`configs.substitution`: variables of the environment in a config."""

from typing import Any

import pytest
import yaml

from configs.provenance import origins, plain
from configs.substitution import Filling, escaped, is_secret
from configs.yaml_text import document

ENVIRON = {"PORT": "8001", "DIR": "/models", "EMPTY": "", "HF_TOKEN": "hunter2", "LIKE": "${PORT}"}


def filled(value: Any) -> tuple[Any, list[str], dict[str, str]]:
    filling = Filling(ENVIRON, yaml.safe_load)
    found = filling.filled(document(yaml.safe_dump(value, sort_keys=False), "herd.yaml"))
    return plain(found), [str(one) for one in filling.problems], {path: str(one) for path, one in origins(found)}


def said(text: str) -> Any:
    found, problems, _ = filled({"name": text})
    return problems or found["name"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${DIR}/maverick", "/models/maverick"),
        ("${DIR}${DIR}", "/models/models"),
        ("${NONE:-/m}/x", "/m/x"),
        ("${EMPTY:-/m}", "/m"),
        ("${PORT:-1}", "8001"),
        ("${NONE:-}", ""),
        ("${EMPTY}", ""),
        ("${LIKE}", "${PORT}"),
        ("$$", "$"),
        ("$${PORT}", "${PORT}"),
        ("$$HOME/x", "$HOME/x"),
        ("costs 5$ or $6", "costs 5$ or $6"),
        ("a $HOME b", "a $HOME b"),
        ("{PORT}", "{PORT}"),
    ],
)
def test_variable_is_filled_in(text: str, value: str) -> None:
    assert said(text) == value


WAYS = "write ${NAME}, ${NAME:-default}, or $$ for a dollar (herd.yaml:1)"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${NONE}/x", "name: the variable NONE is not set: set it, or write ${NONE:-default} (herd.yaml:1)"),
        ("${}", f"name: ${{ begins no variable here; {WAYS}"),
        ("${1}", f"name: ${{ begins no variable here; {WAYS}"),
        ("${PORT", f"name: ${{ begins no variable here; {WAYS}"),
        ("${PORT:?no}", f"name: ${{ begins no variable here; {WAYS}"),
        ("$HOME/x", f"name: $HOME would be taken as it stands; {WAYS}"),
        ("$HOME", f"name: $HOME would be taken as it stands; {WAYS}"),
        (
            "${HF_TOKEN}",
            "name: ${HF_TOKEN} is a secret by its name, and a config is kept in plain text: put it under cluster.secrets (herd.yaml:1)",
        ),
    ],
)
def test_variable_that_cannot_be_filled_in_is_told_with_its_field(text: str, problem: str) -> None:
    assert said(text) == [problem]


def test_every_problem_is_told() -> None:
    assert len(filled({"name": "${A}${B}", "gateway": {"host": "${C}"}})[1]) == 3


def test_value_under_engine_gets_the_kind_that_yaml_gives_it() -> None:
    found, _, _ = filled({"models": [{"engine": {"a": "${PORT}", "b": "${PORT}0", "c": "$$", "d": {"e": "${X:-true}"}}}]})
    assert found["models"][0]["engine"] == {"a": 8001, "b": "80010", "c": "$", "d": {"e": True}}


def test_text_that_a_shell_or_a_model_reads_stays_as_it_is() -> None:
    document = {
        "cluster": {
            "secret_command": "cat ${SECRET_FILE} $$",
            "secrets": {"A": {"command": "${B}", "file": "/$$"}},
            "environment": {"A": "${B}"},
            "run_options": ["--label=$HOME"],
            "aws": {"environment": {"A": "${B}"}, "subnet": "$$"},
        },
        "models": [{"canary": {"prompt": "It costs ${X}", "answer": "$5"}}],
    }
    found, problems, _ = filled(document)
    document["cluster"]["aws"]["subnet"] = "$"  # type: ignore[index]
    assert (found, problems) == (document, [])


def test_place_says_which_variables_were_used() -> None:
    places = filled({"name": "${PORT}-${DIR}-${PORT}", "gateway": {"host": "${NONE:-h}", "port": "$$"}})[2]
    assert places["name"] == "herd.yaml:1 ($PORT, $DIR)"
    assert places["gateway.host"] == "herd.yaml:3 ($NONE unset)"
    assert places["gateway.port"] == "herd.yaml:4"


@pytest.mark.parametrize(("name", "secret"), [("HF_TOKEN", True), ("api_key", True), ("KEYS", False), ("TOKEN_FILE", False)])
def test_secret_is_known_by_its_last_word(name: str, secret: bool) -> None:
    assert is_secret(name) is secret


def test_escaped_document_is_read_as_it_was() -> None:
    document = {"name": "a$b", "cluster": {"secret_command": "x $$ ${Y}"}, "models": [{"id": "${", "n": 3}]}
    assert filled(escaped(document))[:2] == (document, [])

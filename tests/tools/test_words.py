"""Docstrings of the folders that have been put into plain words: they name their subject, and a function's begins with a verb."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.documents import FOLDERS, ROOT

#: The folders that are done. Others follow when they are touched.
PLAIN = ("configs", "deployments/commands", "deployments/lifecycle")
FILES = [path.relative_to(ROOT) for folder in PLAIN for path in sorted((ROOT / folder).glob("*.py"))]
#: A sentence that begins so is about an unnamed thing.
RIDDLE = re.compile(r"(?:^|[.:;] )(?:Who|What|Whoever|Whatever)\b")
VERB = re.compile(r"[A-Z][a-z]+s\b")


def documented(path: Path) -> Iterator[tuple[ast.AST, str]]:
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(node)):
            yield node, text


def is_a_command(node: ast.AST) -> bool:
    """A function whose docstring is the help of a `herd` command, which tells the user to do it."""
    return isinstance(node, ast.FunctionDef) and (
        any("command" in ast.unparse(one) or "callback" in ast.unparse(one) for one in node.decorator_list)
        or node.name in ("plan", "pull", "doctor", "secret", "status")
    )


@pytest.mark.parametrize("path", FILES, ids=str)
def test_no_sentence_of_a_docstring_begins_with_who_or_what(path: Path) -> None:
    assert [text for _, text in documented(path) if RIDDLE.search(" ".join(text.split()))] == []


@pytest.mark.parametrize("path", FILES, ids=str)
def test_docstring_of_a_function_begins_with_a_verb(path: Path) -> None:
    functions = [(node, text) for node, text in documented(path) if isinstance(node, ast.FunctionDef) and not is_a_command(node)]
    assert [text.splitlines()[0] for _, text in functions if not VERB.match(text)] == []


MODULE = re.compile(r"`((?:deployments|monitoring|policy)(?:\.[a-z_]+)+)(?:\.[A-Z]\w*)?`")
CODE = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def is_a_module(name: str) -> bool:
    """Tells whether a dotted name is a module or a folder, or something in one; `policy` is that of `deployments`."""
    places = [base.joinpath(*name.split(".")) for base in (ROOT, ROOT / "deployments")]
    return any(place.is_dir() or place.with_suffix(".py").exists() or place.parent.with_suffix(".py").exists() for place in places)


def test_module_that_a_file_names_exists() -> None:
    named = [(path, name) for path in CODE for name in MODULE.findall(path.read_text(encoding="utf-8"))]
    assert len(named) > 50
    assert [(str(path.relative_to(ROOT)), name) for path, name in named if not is_a_module(name)] == []

"""What no linter checks: how long files and functions are, what modules are called, and who reads the environment and YAML.

The import contracts are in `pyproject.toml`, under `[tool.importlinter]`.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("configs", "cluster", "deployments", "monitoring")
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
EACH = pytest.mark.parametrize("path", FILES, ids=str)

MOST_LINES = 400
MANY_LINES = 300
#: Files that may be over 300 lines, and why each is still one file.
LONG = {
    "configs/schema.py": "the only schema, so that an operator finds every field in one place",
    "deployments/lifecycle/herd.py": "the steps of every command, over one herd's state",
}
MOST_LINES_OF_A_FUNCTION = 50
MOST_FILES_OF_A_ROOM = 14
EMPTY_NAMES = ("util", "utils", "common", "manager", "helper", "helpers", "misc", "base", "core")

#: Who reads the environment or YAML beside `configs/load.py`, and why.
READERS = {
    "configs/load.py": "the one reader",
    "cluster/machine/environment.py": "runs before anything is installed, `configs` included",
    "cluster/machine/local_node.py": "hands its own environment on to Ray's processes, unread",
    "deployments/engine/replica.py": "sets what vLLM reads for one engine, and reads nothing",
    "deployments/lifecycle/herd.py": "sets what Ray reads when it is imported, and reads nothing",
}


def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def test_there_are_files() -> None:
    assert {path.parts[0] for path in FILES} == set(PACKAGES)


@EACH
def test_file_is_short(path: Path) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= MOST_LINES
    assert lines <= MANY_LINES or str(path) in LONG


@pytest.mark.parametrize("room", sorted({path.parent for path in FILES}), ids=str)
def test_room_has_few_files(room: Path) -> None:
    assert sum(path.parent == room for path in FILES) <= MOST_FILES_OF_A_ROOM or room == Path("configs")


@EACH
def test_functions_are_short(path: Path) -> None:
    functions = (node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    lines = {node.name: (node.end_lineno or node.lineno) - node.lineno + 1 for node in functions}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES_OF_A_FUNCTION}


@EACH
def test_name_says_something(path: Path) -> None:
    assert not set(path.with_suffix("").parts) & set(EMPTY_NAMES)


@EACH
def test_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(tree(path))


def reads(module: ast.Module) -> Iterator[str]:
    """What a module takes from outside its arguments: `os.environ`, `os.getenv`, YAML."""
    for node in ast.walk(module):
        match node:
            case ast.Attribute(value=ast.Name("os"), attr="environ" | "environb" | "getenv" | "getenvb" as name):
                yield f"os.{name}"
            case ast.ImportFrom(module="os", names=names):
                yield from (f"os.{one.name}" for one in names if one.name.startswith(("environ", "getenv")))
            case ast.Import(names=names):
                yield from (one.name for one in names if one.name.partition(".")[0] in ("yaml", "dotenv"))
            case ast.ImportFrom(module=str(name)) if name.partition(".")[0] in ("yaml", "dotenv"):
                yield name


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import os\nos.environ['A']", ["os.environ"]),
        ("import os\nprint(os.getenv('A'))", ["os.getenv"]),
        ("from os import environ, path", ["os.environ"]),
        ("import yaml", ["yaml"]),
        ("from yaml.loader import SafeLoader", ["yaml.loader"]),
        ("import os\nos.getpid()\ndef f(environ): return environ['A']", []),
    ],
)
def test_reader_is_recognised(code: str, found: list[str]) -> None:
    assert list(reads(ast.parse(code))) == found


def test_environment_and_yaml_are_read_in_one_place() -> None:
    assert {str(path) for path in FILES if any(reads(tree(path)))} == set(READERS)


#: The parts of a gateway's path of a request. Built anywhere else they would be another gateway than production's.
PARTS = frozenset({"Front", "Pipeline"})


def builds(module: ast.Module) -> bool:
    """Whether a module makes one of the gateway's parts."""
    return any(isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in PARTS for node in ast.walk(module))


def test_gateway_is_assembled_in_one_place_for_production_tests_and_benches() -> None:
    files = (*FILES, *(path.relative_to(ROOT) for path in (ROOT / "tests").rglob("*.py")))
    assert [str(path) for path in files if builds(tree(path))] == ["deployments/gateway/assembly.py"]

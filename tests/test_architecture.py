"""What no linter checks: how long files and functions are, what modules are called, who reads the environment and YAML, and which rooms
know the names that Ray, vLLM and uvicorn do not document.

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
}
MOST_LINES_OF_A_FUNCTION = 50
MOST_FILES_OF_A_ROOM = 14
EMPTY_NAMES = ("util", "utils", "common", "manager", "helper", "helpers", "misc", "base", "core")

#: The files that read the environment or YAML, and why.
READERS = {
    "configs/load.py": "the one reader of the environment, and writes YAML",
    "configs/yaml_text.py": "the one reader of YAML, for it",
    "cluster/machine/environment.py": "runs before anything is installed, `configs` included",
    "cluster/machine/venv.py": "is a part of it, and hands its own environment on to pip and uv",
    "cluster/machine/local_node.py": "hands its own environment on to Ray's processes, unread",
    "deployments/__main__.py": "sets what the consoles look for when they are made, and reads nothing",
    "deployments/commands/describing/bundle/sources.py": "looks for values that must not get into a bundle",
    "deployments/commands/terminal.py": "makes the consoles, before `configs` would have been imported for `herd plan`",
    "deployments/commands/using/benchmark/client.py": "hands its own environment on to vLLM's client, less a key",
    "deployments/engine/beginning.py": "sets what vLLM reads for one engine, and reads nothing",
    "deployments/engine/vllm/kept_starts.py": "sets what vLLM reads for its caches, and reads nothing",
    "deployments/lifecycle/known.py": "sets what Ray reads when it is imported, and reads nothing",
    "deployments/small_models/__init__.py": "sets what libraries read when they are imported, and reads nothing",
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


#: The rooms that know what the packages below us do not document; `tests/alone/test_seams_*.py` hold each name there.
SEAMS = {"ray": "deployments/ray_calls", "vllm": "deployments/engine/vllm", "uvicorn": "deployments/wire", "httptools": "deployments/wire"}
#: Files that know a private name beside them, and why.
PRIVATE_ELSEWHERE = {
    "cluster/machine/torchvision_mend.py": "torchvision's; it is copied into environments, where it imports nothing of ours"
}
#: Modules of Ray that are documented. What stands below others may move at any time.
OF_RAY = {
    "ray",
    "ray.exceptions",
    "ray.serve",
    "ray.serve.config",
    "ray.serve.exceptions",
    "ray.serve.handle",
    "ray.serve.llm",
    "ray.serve.schema",
    "ray.util",
    "ray.util.scheduling_strategies",
}


def private(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Yields the undocumented names that a module uses, each with the package that it is of; a foreign object's is of no package."""
    for node in ast.walk(module):
        match node:
            case ast.Import(names=names):
                yield from ((found, one.name) for one in names if (found := _package(one.name)))
            case ast.ImportFrom(module=str(name), names=names):
                yield from ((found, f"{name}.{one.name}") for one in names if (found := _package(name, one.name)))
            case ast.Attribute(attr=name) if name.startswith("__serve"):
                yield "ray", name
            case ast.Attribute(value=ast.Name("self" | "cls") | ast.Call(func=ast.Name("super"))):
                pass  # our own
            case ast.Attribute(attr=name) if name.startswith("_") and not name.startswith("__"):
                yield "", name


def _package(module: str, name: str = "") -> str | None:
    """The package whose undocumented names a module is a part of; None where it is none of these, or documented."""
    package = module.partition(".")[0]
    if package in ("vllm", "uvicorn", "httptools"):
        return package
    if any(part.startswith("_") and not part.startswith("__") for part in [*module.split("."), name]):
        return package
    return package if package == "ray" and module not in OF_RAY else None


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("from ray._raylet import GcsClient", [("ray", "ray._raylet.GcsClient")]),
        ("from ray.serve._private.common import ReplicaID", [("ray", "ray.serve._private.common.ReplicaID")]),
        ("from ray.serve.context import _get_global_client", [("ray", "ray.serve.context._get_global_client")]),
        ("from ray.serve.context import anything", [("ray", "ray.serve.context.anything")]),
        ("from ray.serve.llm.deployment import LLMServer", [("ray", "ray.serve.llm.deployment.LLMServer")]),
        ("import vllm", [("vllm", "vllm")]),
        ("import uvicorn.server", [("uvicorn", "uvicorn.server")]),
        ("from asyncio import _set_running_loop", [("asyncio", "asyncio._set_running_loop")]),
        ("def f(self): return self.engine._client", [("", "_client")]),
        ("def f(self, other): return other._client()._more", [("", "_client"), ("", "_more")]),
        ("def f(self): return self.__serve_build_asgi_app__()", [("ray", "__serve_build_asgi_app__")]),
        ("import ray\nfrom ray import serve\nfrom __future__ import annotations\ndef f(self): return self._own + super()._own", []),
    ],
)
def test_private_name_is_recognised(code: str, found: list[tuple[str, str]]) -> None:
    assert sorted(private(ast.parse(code))) == sorted(found)


@EACH
def test_private_names_of_others_stay_in_their_rooms(path: Path) -> None:
    module = tree(path)
    own = {node.name for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    of_tuples = {"_asdict", "_replace"}
    used = [(package, name) for package, name in private(module) if name not in own | of_tuples]
    rooms = tuple(SEAMS.values())
    away = [name for package, name in used if not str(path).startswith(SEAMS.get(package, rooms))]
    assert not away or str(path) in PRIVATE_ELSEWHERE


def test_linter_overlooks_private_names_in_these_rooms_only() -> None:
    overlooking = {str(path) for path in FILES if "noqa: SLF001" in (ROOT / path).read_text(encoding="utf-8")}
    assert {path for path in overlooking if not path.startswith(tuple(SEAMS.values()))} == set(PRIVATE_ELSEWHERE)


#: Attributes on the path of a request that are set from outside all the same, and why.
SET_FROM_OUTSIDE = {
    "deployments/wire/asgi_server.py self._server.should_exit": "uvicorn is stopped so",
    "deployments/wire/client/certificate.py context.minimum_version": "the ssl module's contexts are set up so",
    "deployments/wire/engine/tls.py context.minimum_version": "the ssl module's contexts are set up so",
    "deployments/wire/engine/tls.py context.check_hostname": "the ssl module's contexts are set up so",
    "deployments/wire/engine/tls.py context.verify_mode": "the ssl module's contexts are set up so",
}


def set_from_outside(module: ast.Module) -> Iterator[str]:
    """Attributes that are assigned of anything but `self`: control flow that no signature shows."""
    for node in ast.walk(module):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) != "self":
            yield ast.unparse(node)


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("relay.on_first = f", ["relay.on_first"]),
        ("self._place.left += 1", ["self._place.left"]),
        ("a, b.c = 1, 2", ["b.c"]),
        ("one.x: int = 3", ["one.x"]),
        ("self.x = self.y.z", []),
    ],
)
def test_attribute_set_from_outside_is_recognised(code: str, found: list[str]) -> None:
    assert list(set_from_outside(ast.parse(code))) == found


def test_no_attribute_is_set_from_outside_on_the_path_of_a_request() -> None:
    path = [one for one in FILES if one.parts[:2] in (("deployments", "gateway"), ("deployments", "wire"))]
    assert {f"{one} {name}" for one in path for name in set_from_outside(tree(one))} <= set(SET_FROM_OUTSIDE)

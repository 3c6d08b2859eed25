"""A plug-in of pytest that fails where the tests did not run every branch of the files that only decide.

`pytest tests/unit -p tests.tools.branches`. The files are those of `[tool.coverage.report]` in `pyproject.toml`, so that
`pytest tests/unit --cov` finds the same by a tracer, in three times the time. With `--marks FILE` the run judges nothing and writes
down what ran: `python -m tests.tools.branches FILE…` judges several runs together, each of which had a part of the tests.
"""

import json
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from tests.tools.branch_marks import RAN, marked
from tests.tools.marked_code import kept

ROOT = Path(__file__).parents[2]
#: For each file, whether the marks in it were reached.
Marks = dict[str, list[bool]]


def pure_files() -> list[Path]:
    """Returns the files that only decide."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["coverage"]["report"]["include"]
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern)})


class Marking:
    """Finds these files when they are imported, and has marks put into their code."""

    def __init__(self, files: list[Path]) -> None:
        self.ran: Marks = {}
        self._files = {str(path) for path in files}
        self._packages = {path.relative_to(ROOT).parts[0] for path in files}

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Finds a module as Python does, if it is in one of the files."""
        if name.partition(".")[0] not in self._packages:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.origin not in self._files:
            return None
        spec.loader = _Loader(name, spec.origin, self.ran)
        return spec


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, ran: Marks) -> None:
        super().__init__(name, path)
        self._ran = ran

    def get_code(self, fullname: str) -> CodeType:
        code, marks = kept(ROOT / "build" / "marked" / fullname, self.get_data(self.path), self.path)
        self._ran.setdefault(self.path, [False] * marks)
        return code

    def exec_module(self, module: ModuleType) -> None:
        code = self.get_code(module.__name__)
        vars(module)[RAN] = self._ran[self.path]
        exec(code, vars(module))


def add(ran: Marks, more: Mapping[str, Iterable[int]]) -> None:
    """Adds the marks that another process reached."""
    for path, others in more.items():
        others = list(others)
        before = ran.get(path, [False] * len(others))
        ran[path] = [one or bool(other) for one, other in zip(before, others, strict=True)]


def not_run(path: Path, ran: list[bool] | None) -> list[str]:
    """Returns what of a file did not run, in the order of its lines."""
    if ran is not None and all(ran):
        return []
    _, meanings = marked(path.read_text(encoding="utf-8"), str(path))
    missed = {meaning for meaning, done in zip(meanings, ran or [False] * len(meanings), strict=True) if not done}
    return sorted(missed, key=lambda one: (int(one.partition("->")[0]), one))


def missed_lines(files: list[Path], ran: Marks) -> list[str]:
    """Returns a line for each file that did not run in whole."""
    missed = {path: not_run(path, ran.get(str(path))) for path in files}
    return [f"{path.relative_to(ROOT)}: {', '.join(lines)}" for path, lines in missed.items() if lines]


class Branches:
    """Collects the marks of all processes of a run of tests, and fails it where one is missing, or writes them into a file."""

    def __init__(self, files: list[Path], into: Path | None = None) -> None:
        self._files = files
        self._into = into
        self._marking = Marking(files)
        self._missed: list[str] = []
        sys.meta_path.insert(0, self._marking)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Adds the marks of a worker."""
        add(self._marking.ran, getattr(node, "workeroutput", {}).get(RAN, {}))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hands a worker's marks on, writes them down, or fails a run whose tests passed."""
        worker: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if worker is not None:
            worker[RAN] = {path: bytes(ran) for path, ran in self._marking.ran.items()}
        elif self._into is not None:
            self._into.parent.mkdir(parents=True, exist_ok=True)
            self._into.write_text(json.dumps({path: [*map(int, ran)] for path, ran in self._marking.ran.items()}), encoding="utf-8")
        else:
            self._missed = missed_lines(self._files, self._marking.ran)
            if self._missed and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says which lines no test ran, and of which lines only one way was taken."""
        if self._into is None:
            for line in judgement(self._missed, len(self._files)):
                terminalreporter.write_line(line)


def judgement(missed: list[str], files: int) -> list[str]:
    """Returns what is said about lines that no test ran, or that there are none."""
    return ["Branches that no test runs:", *missed] if missed else [f"Every branch of {files} pure files is run."]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Lets a run write its marks down."""
    parser.addoption("--marks", type=Path, metavar="FILE", help="write down which branches ran, and judge nothing")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Puts marks into what is imported from here on, also by the `conftest.py` of a folder that the command names."""
    early_config.pluginmanager.register(Branches(pure_files(), early_config.known_args_namespace.marks), "branches")


def main(arguments: list[str]) -> int:
    """Judges runs by the marks that they wrote down."""
    ran: Marks = {}
    for argument in arguments:
        add(ran, json.loads(Path(argument).read_text(encoding="utf-8")))
    files = pure_files()
    missed = missed_lines(files, ran)
    print(*judgement(missed, len(files)), sep="\n")
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

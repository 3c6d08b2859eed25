"""A plug-in of pytest that fails where the tests did not run every branch of the files that only decide.

`pytest tests/unit -p tests.tools.branches`. The files are those of `[tool.coverage.report]` in `pyproject.toml`, so that
`pytest tests/unit --cov` finds the same by a tracer, in three times the time.
"""

import sys
import tomllib
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

from tests.tools.branch_marks import RAN, marked

ROOT = Path(__file__).parents[2]


def pure_files() -> list[Path]:
    """Returns the files that only decide."""
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["coverage"]["report"]["include"]
    return sorted({path for pattern in patterns for path in ROOT.glob(pattern)})


class Marking:
    """Finds these files when they are imported, and has marks put into their code."""

    def __init__(self, files: list[Path]) -> None:
        self.ran: dict[str, list[bool]] = {}
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
    def __init__(self, name: str, path: str, ran: dict[str, list[bool]]) -> None:
        super().__init__(name, path)
        self._ran = ran

    def get_code(self, fullname: str) -> CodeType:
        code, meanings = marked(self.get_data(self.path).decode(), self.path)
        self._ran.setdefault(self.path, [False] * len(meanings))
        return code

    def exec_module(self, module: ModuleType) -> None:
        code = self.get_code(module.__name__)
        vars(module)[RAN] = self._ran[self.path]
        exec(code, vars(module))


def not_run(path: Path, ran: list[bool] | None) -> list[str]:
    """Returns what of a file did not run, in the order of its lines."""
    if ran is not None and all(ran):
        return []
    _, meanings = marked(path.read_text(encoding="utf-8"), str(path))
    missed = {meaning for meaning, done in zip(meanings, ran or [False] * len(meanings), strict=True) if not done}
    return sorted(missed, key=lambda one: (int(one.partition("->")[0]), one))


class Branches:
    """Collects the marks of all processes of a run of tests, and fails it where one is missing."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files
        self._marking = Marking(files)
        self._missed: dict[Path, list[str]] = {}
        sys.meta_path.insert(0, self._marking)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Adds the marks of a worker."""
        for path, ran in getattr(node, "workeroutput", {}).get(RAN, {}).items():
            before = self._marking.ran.setdefault(path, [False] * len(ran))
            self._marking.ran[path] = [one or bool(other) for one, other in zip(before, ran, strict=True)]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Hands a worker's marks on, or fails a run whose tests passed."""
        worker: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
        if worker is not None:
            worker[RAN] = {path: bytes(ran) for path, ran in self._marking.ran.items()}
            return
        found = {path: not_run(path, self._marking.ran.get(str(path))) for path in self._files}
        self._missed = {path: lines for path, lines in found.items() if lines}
        if self._missed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says which lines no test ran, and of which lines only one way was taken."""
        if self._missed:
            terminalreporter.section("branches that no test runs")
        for path, lines in self._missed.items():
            terminalreporter.write_line(f"{path.relative_to(ROOT)}: {', '.join(lines)}")
        if not self._missed:
            terminalreporter.write_line(f"Every branch of {len(self._files)} pure files is run.")


def pytest_configure(config: pytest.Config) -> None:
    """Puts marks into what is imported from here on."""
    config.pluginmanager.register(Branches(pure_files()), "branches")

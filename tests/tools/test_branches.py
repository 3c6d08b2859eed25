"""The marks that find branches no test runs: they find what coverage.py's tracer finds, and fail a run of tests."""

import contextlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import coverage
import pytest

from tests.tools import branches
from tests.tools.branch_marks import RAN, marked
from tests.tools.branches import ROOT, Marking, not_run, pure_files
from tests.tools.marked_code import kept

#: One function for each construct, and a class; no line of theirs is run by the import alone.
SAMPLE = '''"""A module."""
from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

KEPT = []


class Shape(Protocol):
    """A class."""

    sides: int

    def area(self) -> float: ...


def decided(number):
    """Has a docstring."""
    if number > 5:
        return "large"
    elif number > 3:
        word = "middle"
    else:
        word = "small"
    if number == 3:
        word += "!"
    return word


def looped(numbers):
    for number in numbers:
        if number < 0:
            break
        if number == 0:
            continue
        KEPT.append(number)
    else:
        KEPT.append("all")
    for number in numbers:
        return number


def waited(number):
    while number:
        number -= 1
    while True:
        number += 1
        if number > 2:
            return number


def matched(value):
    match value:
        case int():
            kind = "whole"
        case str() if value:
            kind = "text"
        case [first, *_]:
            kind = first
    match value:
        case 1:
            return "one"
        case _:
            return "other"


def tried(value):
    global KEPT
    try:
        found = 1 / value
    except ZeroDivisionError:
        found = None
    except TypeError as error:
        raise ValueError(value) from error
    else:
        found += 1
    finally:
        KEPT = []
    with open(__file__) if value == 2 else open("/dev/null") as file:
        return found, file.read(0), [one for one in (1, 2) if one > 1] and (lambda: 3)()


@staticmethod
def decorated():
    return 1


async def awaited(many):
    async for one in many:
        yield one
'''
CALLS: dict[str, list[tuple[str, Any]]] = {
    "nothing": [],
    "one way each": [("decided", 7), ("looped", [1]), ("waited", 0), ("matched", 1), ("tried", 1)],
    "the other way": [("decided", 3), ("looped", []), ("waited", 2), ("matched", 1.5), ("tried", 0)],
    "several": [("decided", 4), ("decided", 2), ("looped", [0, -1, 3]), ("matched", ""), ("matched", [1]), ("tried", "a"), ("tried", 2)],
}


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.py"
    path.write_text(SAMPLE, encoding="utf-8")
    return path


def called(module: dict[str, Any], calls: list[tuple[str, Any]]) -> None:
    for name, argument in calls:
        with contextlib.suppress(ValueError):
            module[name](argument)


def missed_by_marks(path: Path, calls: list[tuple[str, Any]]) -> list[str]:
    code, meanings = marked(path.read_text(encoding="utf-8"), str(path))
    ran = [False] * len(meanings)
    module = {"__name__": "sample", "__file__": str(path), RAN: ran}
    exec(code, module)
    called(module, calls)
    return not_run(path, ran)


def missed_by_a_tracer(path: Path, calls: list[tuple[str, Any]]) -> dict[str, Any]:
    code = compile(path.read_text(encoding="utf-8"), str(path), "exec")
    module = {"__name__": "sample", "__file__": str(path)}
    tracer = coverage.Coverage(data_file=None, branch=True, include=[str(path)], config_file=False)
    with tracer.collect():
        exec(code, module)
        called(module, calls)
    report = path.with_suffix(".json")
    tracer.json_report(outfile=str(report))
    (found,) = json.loads(report.read_text())["files"].values()
    return dict(found)


@pytest.mark.parametrize("calls", CALLS.values(), ids=CALLS)
def test_marks_find_what_a_tracer_finds(sample: Path, calls: list[tuple[str, Any]]) -> None:
    """But for the lines of `case` and `except` themselves: where one is not reached, the first line below it did not run, either."""
    ours, theirs = missed_by_marks(sample, calls), missed_by_a_tracer(sample, calls)
    heads = {number for number, line in enumerate(SAMPLE.splitlines(), 1) if line.lstrip().startswith(("case ", "except "))}
    assert {int(one) for one in ours if "->" not in one} == {*theirs["missing_lines"]} - heads
    missed = [(begin, end) for begin, end in theirs["missing_branches"] if begin not in theirs["missing_lines"]]
    past = {int(one.removesuffix("->")) for one in ours if "->" in one} - {*theirs["missing_lines"]}
    assert {begin for begin, end in missed if end not in theirs["missing_lines"]} <= past <= {begin for begin, _ in missed}


def test_file_whose_branches_all_ran_has_nothing_missed(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text("def least(one, other):\n    if one < other:\n        return one\n    return other\n", encoding="utf-8")
    assert missed_by_marks(path, []) == ["2", "2->", "3", "4"]
    code, meanings = marked(path.read_text(encoding="utf-8"), str(path))
    ran = [False] * len(meanings)
    module: dict[str, Any] = {RAN: ran}
    exec(code, module)
    assert (module["least"](1, 2), not_run(path, ran)) == (1, ["2->", "4"])
    assert (module["least"](2, 1), not_run(path, ran)) == (1, [])


def test_files_that_are_measured_are_found_and_marked_where_python_finds_them() -> None:
    files = pure_files()
    assert ROOT / "cluster/planner/search.py" in files
    assert ROOT / "deployments/gateway/pipeline.py" not in files
    marking = Marking(files)
    found = marking.find_spec("cluster.planner", [str(ROOT / "cluster")])
    assert found is not None
    assert found.submodule_search_locations == [str(ROOT / "cluster/planner")]
    assert marking.find_spec("deployments.progress", [str(ROOT / "deployments")]) is None
    assert marking.find_spec("json") is None


def test_run_whose_tests_leave_branches_out_fails_and_names_them() -> None:
    """With a worker, as `-n` has them; its test runs all of one file and little of the others."""
    words = ("tests/unit/deployments/policy/queue/test_demand.py", "-p", "tests.tools.branches", "-n", "1", "-q")
    done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "\ncluster/planner/search.py: " in done.stdout
    assert "\ndeployments/policy/queue/demand.py: " not in done.stdout


def test_runs_that_have_a_part_of_the_tests_are_judged_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "sample.py"
    path.write_text("first = 1\nsecond = 2\n", encoding="utf-8")
    monkeypatch.setattr(branches, "ROOT", tmp_path)
    monkeypatch.setattr(branches, "pure_files", lambda: [path])
    parts = [tmp_path / name for name in ("one", "other")]
    for part, ran in zip(parts, ([1, 0], [0, 1]), strict=True):
        part.write_text(json.dumps({str(path): ran}), encoding="utf-8")
    assert branches.main([str(parts[0])]) == 1
    assert capsys.readouterr().out == "Branches that no test runs:\nsample.py: 2\n"
    assert branches.main([*map(str, parts)]) == 0
    assert capsys.readouterr().out == "Every branch of 1 pure files is run.\n"


def test_run_with_a_part_of_the_tests_writes_down_what_ran_and_judges_nothing(tmp_path: Path) -> None:
    words = ("tests/unit/deployments/policy/queue/test_demand.py", "-p", "tests.tools.branches", "--marks", str(tmp_path / "marks"), "-q")
    done = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == pytest.ExitCode.OK, done.stdout + done.stderr
    assert all(json.loads((tmp_path / "marks").read_text())[str(ROOT / "deployments/policy/queue/demand.py")])


def test_marked_code_is_kept_until_its_source_changes(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "sample"
    made = kept(file, b"one = 1\n", "sample.py")
    written = file.stat().st_mtime_ns
    assert kept(file, b"one = 1\n", "sample.py") == made
    assert file.stat().st_mtime_ns == written
    code, marks = kept(file, b"one = 1\ntwo = 2\n", "sample.py")
    assert (made[1], marks) == (1, 2)
    assert kept(file, b"one = 1\ntwo = 2\n", "sample.py") == (code, 2)
    assert [path.name for path in file.parent.iterdir()] == ["sample"]

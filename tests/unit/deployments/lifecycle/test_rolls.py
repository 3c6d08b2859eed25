"""The process of a change, seen from outside: its record, its lock, how it is followed, and that its end is always told."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pydantic import SecretStr

from configs.load import Environment
from deployments.lifecycle import herd as operate
from deployments.lifecycle.changing import going_down, roll_lock, rolls, worker
from deployments.lifecycle.changing.rolls import ROLL, Progress, Roll
from deployments.lifecycle.herd import Herd, OperationError
from deployments.lifecycle.memory import CONFIG, InFolder
from deployments.policy.fleet.by_hand import DeclaredHerd, Order
from tests.unit.samples import config

ORDER = Order(what="up", by="ann@head", at="2026-11-28T12:00:00Z", file=config())
SLEEPS = [sys.executable, "-c", "import time; time.sleep(60)"]


def roll(pid: int | None = None, **fields: Any) -> Roll:
    process = psutil.Process(pid)
    return Roll(order=ORDER, host="head", pid=process.pid, began=process.create_time(), **fields)


@pytest.fixture
def other() -> Iterator["subprocess.Popen[bytes]"]:
    """Another process, which changes the herd."""
    with subprocess.Popen(SLEEPS) as process:
        yield process
        process.kill()


def test_each_step_is_written_once_and_for_everybody(tmp_path: Path) -> None:
    progress, shared = Progress(tmp_path, roll()), InFolder(tmp_path / "shared")
    progress.also_in(shared, "lock", "01")
    for step in ("Deploying", "Waiting", "Waiting"):
        progress.say(step)
    for place, name in ((InFolder(tmp_path), ROLL), (shared, "lock")):
        found = rolls.read(place.kept(name))
        assert found is not None
        assert [step for _, step in found.steps] == ["Deploying", "Waiting"]
    progress.no_more_in(shared, "lock")
    progress.ended("no")
    assert [rolls.read(place.kept(name)) == progress.roll for place, name in ((InFolder(tmp_path), ROLL), (shared, "lock"))] == [
        True,
        False,
    ]
    assert rolls.running(tmp_path) is None


def test_record_of_another_release_is_none(tmp_path: Path) -> None:
    InFolder(tmp_path).keep(ROLL, "{}")
    assert rolls.in_folder(tmp_path) is None
    assert rolls.running(tmp_path / "none") is None


def followed(*looks: Roll, lives: bool = True) -> list[str]:
    said: list[str] = []
    left = [one for look in looks for one in (look, look)]
    try:
        rolls.follow(lambda: left.pop(0), lambda _: lives, said.append)
    except OperationError as error:
        said.append(f"failed: {error}")
    except KeyboardInterrupt:
        said.append("interrupted")
    return said


def test_steps_are_told_once_until_the_end() -> None:
    begun, further = roll(steps=((1, "a"),)), roll(steps=((1, "a"), (2, "b")))
    assert followed(begun, further, further.model_copy(update={"ended": ""})) == ["a", "b"]
    assert followed(further.model_copy(update={"ended": "It could not."})) == ["a", "b", "failed: It could not."]
    assert followed(begun.model_copy(update={"ended": "x", "interrupted": True})) == ["a", "interrupted"]
    assert followed(begun, lives=False)[1].startswith("failed: The process that changes the herd has ended without a word.")


def test_lock_of_a_folder_goes_with_the_process_that_inherits_it(tmp_path: Path) -> None:
    lock = roll_lock.of_folder(tmp_path)
    with subprocess.Popen(SLEEPS, pass_fds=[lock]) as heir:
        os.close(lock)
        InFolder(tmp_path).keep(ROLL, roll(heir.pid, steps=((1, "Deploying\nmore"),)).model_dump_json())
        words = r"^`herd up` by ann@head is under way since 2026-11-28T12:00:00Z, at: Deploying. `herd up --attach` shows it"
        with pytest.raises(OperationError, match=words):
            roll_lock.of_folder(tmp_path)
        heir.kill()
    os.close(roll_lock.of_folder(tmp_path))


def test_process_that_says_nothing_is_told(tmp_path: Path, other: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch) -> None:
    InFolder(tmp_path).keep(ROLL, roll(other.pid).model_dump_json())
    assert rolls.begun(tmp_path).pid == rolls.begun(tmp_path, other.pid).pid == other.pid
    other.kill()
    other.wait()
    with pytest.raises(OperationError, match=r"says nothing. .*roll.log has its output"):
        rolls.begun(tmp_path / "none", other.pid)
    monkeypatch.setattr(rolls, "BEGINS_S", 0.01)
    with pytest.raises(OperationError, match="says nothing"):
        rolls.begun(tmp_path)


@pytest.mark.parametrize(
    ("raised", "ended", "interrupted"),
    [
        (None, "", False),
        (OperationError("It could not."), "It could not.", False),
        (KeyboardInterrupt(), "It was interrupted.", True),
        (KeyError("x"), "The change broke off (KeyError: 'x'). {folder}/roll.log has more. `herd up` again goes on.", False),
    ],
)
def test_end_of_a_change_is_always_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException | None, ended: str, interrupted: bool
) -> None:
    given: list[Any] = []

    def carry_out(*arguments: Any) -> None:
        given.extend(arguments)
        if raised is not None:
            raise raised

    monkeypatch.setattr(operate, "carry_out", carry_out)
    task = worker.Task(folder=tmp_path / "herd", config=config(), order=ORDER, within_s=9, force=True)
    progress = Progress(tmp_path, roll())
    worker.carry_out(task, progress, Environment(state=Path("relative"), cache=tmp_path, secret=SecretStr("x" * 32)))
    assert (progress.roll.ended, progress.roll.interrupted) == (ended.format(folder=tmp_path / "herd"), interrupted)
    herd, order, environment, _, terms = given
    assert (herd.folder, order, environment.state, terms) == (tmp_path / "herd", ORDER, tmp_path, operate.Terms(9, force=True))


def test_change_under_way_ends_before_its_herd_does(tmp_path: Path, other: "subprocess.Popen[bytes]") -> None:
    said: list[str] = []
    going_down.end_change(Herd(tmp_path, config()), said.append)
    assert not said
    InFolder(tmp_path).keep(ROLL, roll(other.pid).model_dump_json())
    going_down.end_change(Herd(tmp_path, config()), said.append)
    assert said == ["Ending the change that is under way (herd up by ann@head)"]
    assert other.wait(timeout=60) != 0


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> InFolder:
    """The memory of a cluster that runs the herd `herd`, which bob brought up."""
    memory = InFolder(tmp_path / "cluster")
    memory.keep(CONFIG, of_cluster().model_dump_json())
    memory.keep("declared.json", DeclaredHerd(file=of_cluster(), by="bob@other").model_dump_json())

    @contextlib.contextmanager
    def connected(*_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(Herd, "memory", property(lambda _: memory))
    monkeypatch.setattr(going_down, "connected", connected)
    monkeypatch.setattr(going_down, "operator", lambda: "ann@head")
    monkeypatch.setattr(going_down, "replicas", lambda herd: (rolled(memory), {"llama": [{"ongoing": 2}, {"ongoing": 1}]}))
    return memory


def of_cluster(**more: Any) -> Any:
    return config(**{"ray": {"address": "auto"}, **more})


def rolled(memory: InFolder) -> Any:
    return type(config()).model_validate_json(memory.kept(CONFIG) or "")


def test_herd_is_named_with_its_place_and_open_requests(shared: InFolder, tmp_path: Path) -> None:
    said = going_down.sentence(Herd(tmp_path / "herd", of_cluster()), named=True)
    assert said.startswith("The herd 'herd' (llama) at http://127.0.0.1:8000 on ")
    assert said.endswith(": 3 requests are under way.")


def test_herd_of_another_user_needs_its_name(shared: InFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    herd = Herd(tmp_path / "herd", of_cluster())
    with pytest.raises(OperationError, match=r"was brought up by bob@other: `herd down --name herd` takes it down"):
        going_down.sentence(herd, named=False)
    monkeypatch.setattr(going_down, "operator", lambda: "bob@head")
    assert "requests are under way" in going_down.sentence(herd, named=False), "his own, from another home"
    monkeypatch.setattr(going_down, "operator", lambda: "ann@head")
    InFolder(herd.folder).keep(CONFIG, of_cluster().model_dump_json())
    assert "requests are under way" in going_down.sentence(herd, named=False), "she has brought it up before him"


def test_herd_that_another_one_has_replaced_is_not_taken_for_it(shared: InFolder, tmp_path: Path) -> None:
    with pytest.raises(OperationError, match=r"runs the herd 'herd' now, brought up by bob@other; 'mine' is gone. `herd down --name herd`"):
        going_down.sentence(Herd(tmp_path / "mine", of_cluster(name="mine")), named=True)


def test_herd_whose_ray_is_gone_is_named_all_the_same(tmp_path: Path) -> None:
    assert going_down.sentence(Herd(tmp_path, config()), named=False).endswith("its Ray node does not run.")


def test_process_of_a_change_is_one_of_its_own_and_tells_its_end(tmp_path: Path) -> None:
    """A herd whose Ray node does not run: the process finds that out, and changes nothing."""
    herd = Herd(tmp_path / "herd", config())
    order = ORDER.model_copy(update={"what": "stop", "model": "llama", "file": None})
    process = worker.start(herd, order, operate.Terms(5), roll_lock.of_folder(herd.folder))
    pid = process.pid
    assert os.getsid(pid) == pid, "no hang-up of this terminal reaches it"
    rolls.begun(herd.folder, pid)
    with pytest.raises(OperationError, match=r"The herd's Ray node is not running. `herd up` starts it"):
        rolls.follow(lambda: rolls.begun(herd.folder, pid), lambda roll: roll.lives, lambda _: None)
    assert process.wait(timeout=30) == 0
    os.close(roll_lock.of_folder(herd.folder))

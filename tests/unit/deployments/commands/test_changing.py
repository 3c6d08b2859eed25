"""The commands that change a herd, as they are typed: how each is asked for, and what it says. The change itself is a fake's."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from configs.load import as_yaml
from configs.schema import Config
from deployments.commands.changing import rolling
from deployments.lifecycle import herd as operate
from deployments.lifecycle.changing import going_down, outlook, roll_lock, rolls, worker
from deployments.lifecycle.herd import Herd, OperationError
from deployments.lifecycle.memory import CONFIG, InFolder
from deployments.policy.fleet.by_hand import Order
from deployments.policy.fleet.herd_diff import HerdDiff, Kind, Told
from tests.unit.command_line import invoke
from tests.unit.samples import config

CHANGE = HerdDiff((), (Told("llama", Kind.SCALES, 0.0, "1 → 2 replicas"),), (), (1, 2), ())
REFUSED = HerdDiff((), (), (), (1, 9), ("the herd takes 9 GPUs",))
HERD = config(gateway={"port": 8123})


class Fake:
    """A herd that is up, and a process that carries out what it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.orders: list[Order] = []
        self.diff = CHANGE
        self.fails = ""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    made = Fake(tmp_path)
    InFolder(tmp_path / "herd").keep(CONFIG, HERD.model_dump_json())
    monkeypatch.setenv("HERD_STATE", str(tmp_path))

    class Connected:
        def __enter__(self) -> None: ...

        def __exit__(self, *_: object) -> None: ...

    def start(herd: Herd, order: Order, terms: operate.Terms, lock: int) -> Any:
        made.orders.append(order)
        return SimpleNamespace(pid=1)

    def follow(*_: Any) -> None:
        if made.fails:
            raise OperationError(made.fails)

    monkeypatch.setattr(operate, "connected", lambda *_, **__: Connected())
    monkeypatch.setattr(operate, "remembered", lambda herd: herd.config)
    monkeypatch.setattr(outlook, "of_order", lambda *_: made.diff)
    monkeypatch.setattr(outlook, "of_file", lambda *_: made.diff)
    monkeypatch.setattr(roll_lock, "of_folder", lambda _: 0)
    monkeypatch.setattr(worker, "start", start)
    monkeypatch.setattr(rolls, "begun", lambda *_: None)
    monkeypatch.setattr(rolls, "follow", follow)
    return made


def typed(*words: str) -> tuple[int, str]:
    done = invoke(words)
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("words", "order"),
    [
        (("scale", "llama", "2"), "herd scale llama 2"),
        (("scale", "llama", "2", "--max", "3"), "herd scale llama 2 --max 3"),
        (("stop", "llama"), "herd stop llama"),
        (("start", "llama", "--within-s", "5"), "herd start llama"),
        (("restart", "llama"), "herd restart llama"),
        (("rollback", "--name", "herd"), "herd rollback"),
    ],
)
def test_order_is_shown_and_carried_out(fake: Fake, words: tuple[str, ...], order: str) -> None:
    code, said = typed(*words)
    assert code == 0, said
    assert "1. llama: 1 → 2 replicas\nGPUs: 1 → 2\nThe planner agrees.\n" in said
    assert [one.words for one in fake.orders] == [order]


def test_dry_run_changes_nothing(fake: Fake) -> None:
    assert typed("stop", "llama", "--dry-run")[0] == 2
    assert not fake.orders


def test_order_that_the_planner_refuses_needs_force(fake: Fake) -> None:
    fake.diff = REFUSED
    code, said = typed("scale", "llama", "9")
    assert (code, fake.orders) == (1, [])
    assert "The planner refuses it: the herd takes 9 GPUs" in said
    assert "Nothing was changed." in said
    assert typed("scale", "llama", "9", "--force")[0] == 0
    assert len(fake.orders) == 1


def test_order_that_changes_nothing_starts_no_process(fake: Fake) -> None:
    fake.diff = HerdDiff((), (), (), (1, 1), ())
    code, said = typed("scale", "llama", "1")
    assert (code, fake.orders) == (0, [])
    assert "Nothing changes." in said


def test_change_that_fails_is_told(fake: Fake) -> None:
    fake.fails = "The engine of 'llama' could not start."
    code, said = typed("restart", "llama")
    assert code == 1
    assert "could not start" in said


def written(folder: Path, given: Config = HERD) -> str:
    path = folder / "herd.yaml"
    path.write_text(as_yaml(given.model_dump(mode="json", exclude_defaults=True)), encoding="utf-8")
    return str(path)


def test_file_is_brought_up_whole_or_one_model_of_it(fake: Fake, tmp_path: Path) -> None:
    path = written(tmp_path)
    code, said = typed("up", path)
    assert code == 0, said
    assert "http://127.0.0.1:8123/v1" in said
    code, said = typed("up", path, "--only", "llama", "--detach")
    assert code == 0, said
    assert "Under way as process 1." in said
    assert [(one.words, one.file) for one in fake.orders] == [("herd up", HERD), ("herd up --only llama", HERD)]


def test_dry_run_of_a_file_has_an_exit_code_and_json(fake: Fake, tmp_path: Path) -> None:
    path = written(tmp_path)
    assert typed("up", path, "--dry-run")[0] == typed("diff", path)[0] == 2
    code, said = typed("diff", path, "--json")
    assert (code, '"result": "change"' in said) == (2, True)
    code, said = typed("up", path, "--json")
    assert (code, "needs --dry-run" in said, "result" in said) == (2, True, False)
    (tmp_path / "wrong.yaml").write_text("models: []")
    assert typed("diff", str(tmp_path / "wrong.yaml"))[0] == 3
    assert not fake.orders


def test_nothing_to_attach_to_is_told(fake: Fake, tmp_path: Path) -> None:
    for words in (("up", "--attach"), ("up", written(tmp_path), "--attach")):
        code, said = typed(*words)
        assert code == 1
        assert "No change of the herd is under way." in said


def test_replica_cannot_be_replaced_in_the_background(fake: Fake) -> None:
    assert typed("restart", "llama", "--replica", "a", "--detach")[0] == 2


def test_down_without_a_terminal_asks_nothing_and_says_what_goes(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    went: list[str] = []
    monkeypatch.setattr(going_down, "sentence", lambda herd, named: f"The herd '{herd.config.name}', named: {named}.")
    monkeypatch.setattr(operate, "down", lambda herd, _: went.append(herd.config.name))
    code, said = typed("down")
    assert (code, went) == (0, ["herd"])
    assert "The herd 'herd', named: False." in said


def test_down_at_a_terminal_goes_on_after_yes_only(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    went: list[str] = []
    monkeypatch.setattr(going_down, "sentence", lambda *_, **__: "The herd.")
    monkeypatch.setattr(operate, "down", lambda herd, _: went.append(herd.config.name))
    monkeypatch.setattr("deployments.commands.changing.down.at_a_terminal", lambda: True)
    assert invoke(["down"], stdin="n\n").exit_code == 1
    assert not went
    assert invoke(["down"], stdin="y\n").exit_code == 0
    assert invoke(["down", "--yes"]).exit_code == 0
    assert len(went) == 2


def test_commands_import_no_ray_which_would_read_another_clusters_environment() -> None:
    """Ray reads how to reach a cluster when it is imported; `connected` sets that first."""
    script = (
        "import sys, typer; from deployments.commands.main import app; every = [*typer.main.get_command(app).commands.values()];"
        "sys.exit('ray' in sys.modules or len(every) < 20)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_ctrl_c_is_handed_on_to_the_process_of_the_change() -> None:
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as process, rolling.interrupting(process.pid):
        os.kill(os.getpid(), signal.SIGINT)
        assert process.wait(timeout=60) != 0
        with pytest.raises(KeyboardInterrupt):  # the second time it is this command's own
            os.kill(os.getpid(), signal.SIGINT)

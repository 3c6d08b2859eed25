"""What an order would do, asked of a herd that runs: its memory, its planner, and how long its engines took to start."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from configs.load import Environment
from configs.schema import Config
from deployments.lifecycle import applications as app
from deployments.lifecycle import herd as operate
from deployments.lifecycle.changing import declared, outlook, preflight
from deployments.lifecycle.herd import Herd, OperationError
from deployments.lifecycle.rollout import CameUp
from deployments.policy.fleet.by_hand import DeclaredHerd, Order
from deployments.policy.fleet.herd_diff import CHANGE, NO_CHANGE, REFUSED, HerdDiff, Kind
from deployments.policy.fleet.rollout_steps import Declared
from tests.unit.samples import config, model, scout

OLD = config(model(), scout())
SMALL = config(model(kind="smollm2-135m", checkpoint="small:smollm2-135m-instruct", context_tokens=2048))
FIGURES = {"device": "cpu", "told": {"start_s": 31.4}, "planned": {}}


def as_declared(wanted: Config, _: Any = None, restarts: dict[str, str] | None = None) -> Declared:
    return dict(app.declared(wanted, 1, {}, restarts or {}).model_dump(mode="json", exclude_unset=True))


class Up:
    """A herd that runs, and orders about it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.environment = Environment(state=folder, cache=folder, secret=SecretStr("x" * 32))
        self.folder, self._patch = folder / "herd", monkeypatch
        monkeypatch.setattr(operate, "as_declared", as_declared)
        monkeypatch.setattr(outlook, "replicas", lambda herd: (herd.config, {one.id: [{"figures": FIGURES}] for one in herd.config.models}))
        monkeypatch.setattr(preflight, "checkpoint_paths", lambda *_: {})
        self.surges(True)

    def surges(self, room: bool) -> None:
        self._patch.setattr(operate, "surges", lambda *_: room)

    def runs(self, file: Config) -> None:
        herd = DeclaredHerd(file=file, by="ann@head", at="then")
        declared.keep(Herd(self.folder, file).memory, herd)
        self._patch.setattr(operate, "running_before", lambda _: CameUp(herd, as_declared(file)))

    def asked(self, what: Any, **fields: Any) -> HerdDiff:
        order = Order(what=what, by="ann@head", at="now", **fields)
        return outlook.of_order(Herd(self.folder, fields.get("file") or OLD), order, self.environment)


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Up:
    return Up(tmp_path, monkeypatch)


def test_same_file_changes_nothing(up: Up) -> None:
    up.runs(OLD)
    assert up.asked("up", file=OLD).code == NO_CHANGE


def test_model_is_away_for_as_long_as_its_engine_took_to_start_where_there_is_no_room(up: Up) -> None:
    up.runs(OLD)
    up.surges(False)
    found = up.asked("up", file=config(model(context_tokens=4096), scout()))
    assert (found.code, [one.path for one in found.fields]) == (CHANGE, ["models.llama.context_tokens"])
    assert [(one.model, one.what, one.away_s) for one in found.moves] == [("llama", Kind.RESTARTS, 31.4)]


def test_new_port_makes_new_gateways_beside_the_old_ones(up: Up) -> None:
    up.runs(OLD)
    found = up.asked("up", file=config(model(), scout(), gateway={"port": 8001}))
    assert [(one.model, one.away_s) for one in found.moves] == [("the gateway", 0.0)]


def test_gpus_before_and_after_are_counted(up: Up) -> None:
    gpu = {"accelerator": "H100", "parallel": {"tensor": 8}}
    up.runs(config(scout(**gpu), hardware={"node": "dgx-h100", "nodes": 1}))
    found = up.asked("scale", model="scout", replicas=2)
    assert (found.gpus, found.code) == ((8, 16), REFUSED)
    assert found.problems == ("the herd takes 16 GPUs on 2 nodes of 8; there are 1",)
    assert up.asked("stop", model="scout").gpus == (8, 0)


def test_more_small_engines_than_this_machine_has_memory_for_are_refused(up: Up) -> None:
    up.runs(SMALL)
    found = up.asked("scale", model="llama", replicas=900)
    assert found.code == REFUSED
    assert found.problems[0].startswith("Too little memory: 899 engines need about 2697.0 GiB")


def test_order_that_cannot_be_is_refused(up: Up) -> None:
    up.runs(OLD)
    with pytest.raises(OperationError, match="The herd has no model 'gone'"):
        up.asked("stop", model="gone")


def test_everything_is_new_where_nothing_runs(up: Up) -> None:
    herd = Herd(up.folder, SMALL)
    order = Order(what="up", by="ann@head", at="now", file=SMALL)
    found = outlook.of_file(herd, order, up.environment)
    assert (found.new, found.code, [one.what for one in found.moves]) == (True, CHANGE, [Kind.STARTS, Kind.STARTS])
    with pytest.raises(OperationError, match="No herd is up"):
        outlook.of_file(herd, order.model_copy(update={"model": "llama"}), up.environment)


def test_everything_is_new_where_ray_runs_and_nothing_of_the_herd(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operate, "running_before", lambda _: None)
    found = up.asked("up", file=OLD)
    assert (found.new, len(found.moves), found.fields) == (True, 3, ())

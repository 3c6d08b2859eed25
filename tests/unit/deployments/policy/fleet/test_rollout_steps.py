"""`deployments.policy.fleet.rollout_steps` and what remembers it: one model after the other, and a way back."""

from pathlib import Path
from typing import Any

import pytest

from configs.schema import Config
from deployments.lifecycle import applications as app
from deployments.lifecycle import rollout
from deployments.lifecycle.memory import CAME_UP, InFolder
from deployments.lifecycle.rollout import CameUp
from deployments.policy.fleet.by_hand import DeclaredHerd
from deployments.policy.fleet.rollout_steps import Declared, Step, largest_first, regrouped, steps, stopping_first
from deployments.ray_calls import serve_api
from tests.unit.samples import config, model, scout

GATEWAY = "gateway"


def declared(*models: Any, **fields: Any) -> Declared:
    return dict(app.declared(config(*models, **fields), 1, {}).model_dump(mode="json", exclude_unset=True))


def engines(step: Step) -> dict[str, Any]:
    return {one["name"]: one["args"].get("model", {}).get("context_tokens") for one in step.declared["applications"]}


def test_where_nothing_runs_everything_starts_at_once() -> None:
    wanted = declared(model(), scout())
    assert steps(None, wanted, GATEWAY) == (Step(wanted),)


MAVERICK = {"kind": "llama-4-maverick", "accelerator": "H100", "quantization": "fp8"}


def test_engines_that_take_more_gpus_get_their_places_first() -> None:
    """Two Scouts on two hosts would leave no host that is empty for a rank of eight."""
    wide = scout(id="maverick", parallel={"tensor": 8, "data": 2, "expert": True}, **MAVERICK)
    deep = scout(id="deep", parallel={"tensor": 8, "pipeline": 2}, **MAVERICK)
    small = [scout(parallel={"tensor": 2}, accelerator="H100"), model(id="guard", accelerator="H100")]
    wanted = declared(*small, wide, deep)
    first, second, last = largest_first(wanted, GATEWAY)
    assert (first.places, list(engines(first))) == (("model.maverick", "model.deep"), ["model.maverick", "model.deep"])
    assert (second.places, list(engines(second))) == (("model.scout",), ["model.scout", "model.maverick", "model.deep"])
    assert last == Step(wanted), "the smallest, and the gateway"


def test_model_that_begins_at_zero_is_not_waited_for() -> None:
    zero = scout(parallel={"tensor": 8}, accelerator="H100", scaling={"min_replicas": 0})
    wanted = declared(zero, model(accelerator="H100"))
    assert largest_first(wanted, GATEWAY) == (Step(wanted),)
    assert [step.places for step in largest_first(declared(zero, model(), model(id="b", parallel={"tensor": 4})), GATEWAY)] == [
        ("model.b",),
        (),
    ]


def test_engines_of_one_size_come_together() -> None:
    wanted = declared(model(), scout())
    assert largest_first(wanted, GATEWAY) == (Step(wanted),)
    nothing = {"applications": [{"name": GATEWAY}]}
    assert largest_first(nothing, GATEWAY) == (Step(nothing),)


@pytest.mark.parametrize(("runs", "declarations"), [(False, 2), (True, 1)])
def test_herd_that_runs_already_is_never_declared_in_parts(monkeypatch: pytest.MonkeyPatch, runs: bool, declarations: int) -> None:
    """Ray Serve stops what is not declared: `herd up` once more after one that did not end."""
    declared_so_far: list[Declared] = []
    asked: list[str] = []
    monkeypatch.setattr(serve_api, "declare", declared_so_far.append)
    monkeypatch.setattr(serve_api, "runs", lambda _: runs)
    wanted = declared(scout(parallel={"tensor": 8}, accelerator="H100"), model())

    def placed(application: str) -> bool:
        asked.append(application)
        return True

    assert rollout.roll(None, wanted, lambda _: True, lambda _: None, lambda _: None, placed) == wanted
    assert len(declared_so_far) == declarations
    assert asked == ([] if runs else ["model.scout"])


def test_engine_without_a_place_holds_the_others_back_only_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    declared_so_far: list[Declared] = []
    monkeypatch.setattr(serve_api, "declare", declared_so_far.append)
    monkeypatch.setattr(serve_api, "runs", lambda _: False)
    monkeypatch.setattr(rollout, "PLACES_S", 0.0)
    wanted = declared(scout(parallel={"tensor": 8}, accelerator="H100"), model())
    rollout.roll(None, wanted, lambda _: True, lambda _: None, lambda _: None, lambda _: False)
    assert declared_so_far[-1] == wanted


def test_model_with_another_number_of_ranks_goes_before_it_comes_again() -> None:
    wide = scout(parallel={"tensor": 8, "data": 2, "expert": True}, accelerator="H100")
    running = {one["name"]: {"deployed_app_config": one} for one in declared(scout(), model())["applications"]}
    assert regrouped(running, declared(wide, model(parallel={"tensor": 2}))) == ["model.scout"]
    assert regrouped(running, declared(scout(), model())) == []
    assert regrouped({}, declared(wide)) == []
    assert regrouped({"model.scout": {"deployed_app_config": None}}, declared(wide)) == ["model.scout"]


def test_what_tells_running_replicas_only_is_one_step() -> None:
    before, after = declared(model(replicas=1)), declared(model(replicas=3, aliases=["other"], stop_s=5, surge=True))
    assert steps(before, after, GATEWAY) == (Step(after),)


def test_engines_are_replaced_one_model_after_the_other() -> None:
    before = declared(model(), scout(), model(id="old"))
    after = declared(model(context_tokens=4096), scout(context_tokens=65536), model(id="new"))
    first, second, last = steps(before, after, GATEWAY)
    assert (first.application, second.application, last.application) == ("model.llama", "model.scout", None)
    assert engines(first) == {"model.llama": 4096, "model.scout": 131072, "model.old": 8192, "gateway": None}
    assert engines(second) == {"model.llama": 4096, "model.scout": 65536, "model.old": 8192, "gateway": None}
    assert last.declared == after


def test_the_gateway_is_told_last_and_at_once() -> None:
    before, after = declared(model()), declared(model(), gateway={"port": 9000})
    assert steps(before, after, GATEWAY) == (Step(after),)


def test_without_room_an_old_replica_stops_first() -> None:
    wanted = declared(model(), scout())
    assert surges(wanted) == {"model.llama": app.SURGE_PERCENT, "model.scout": app.SURGE_PERCENT, "gateway": 100}
    assert surges(stopping_first(wanted, {"model.scout"})) == {"model.llama": app.SURGE_PERCENT, "model.scout": 0, "gateway": 100}


def surges(wanted: Declared) -> dict[str, int]:
    return {one["name"]: one["deployments"][0]["max_surge_percent"] for one in wanted["applications"]}


class Serve:
    """What Ray Serve is told, and where it fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[Declared] = []
        self.waited: list[str | None] = []
        self.said: list[str] = []
        monkeypatch.setattr(serve_api, "declare", self.told.append)
        monkeypatch.setattr(serve_api, "replicas", lambda _: {"RUNNING": 1})

    def come_up(self, application: str | None) -> None:
        self.waited.append(application)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    return Serve(monkeypatch)


def test_each_step_waits_for_its_own(serve: Serve) -> None:
    before = CameUp(DeclaredHerd(file=config(model(), scout())), declared(model(), scout()))
    wanted = declared(model(context_tokens=4096), scout(context_tokens=65536))
    final = rollout.roll(before, wanted, lambda name: name == "model.llama", serve.come_up, serve.said.append, lambda _: True)
    assert serve.waited == ["model.llama", "model.scout", None]
    assert [surges(told)["model.scout"] for told in serve.told] == [app.SURGE_PERCENT, 0, 0], "asked when its turn has come"
    assert serve.told[-1] == final == stopping_first(wanted, {"model.scout"})
    assert ["no room" in said for said in serve.said] == [False, True, False]


def test_what_does_not_come_up_ends_it(serve: Serve) -> None:
    def fails(_application: str | None) -> None:
        raise serve_api.CannotStart("no")

    before = CameUp(DeclaredHerd(file=config(model(), scout())), declared(model(), scout()))
    with pytest.raises(serve_api.CannotStart):
        rollout.roll(
            before,
            declared(model(context_tokens=4096), scout(context_tokens=65536)),
            lambda _: True,
            fails,
            serve.said.append,
            lambda _: True,
        )
    assert [engines(Step(told))["model.scout"] for told in serve.told] == [131072], "the next model has not been touched"


def test_what_came_up_is_remembered_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = InFolder(tmp_path / "herd")
    assert rollout.last_good(folder) is None
    up = CameUp(DeclaredHerd(file=config(model())), declared(model()))
    up.remember(folder)
    assert rollout.last_good(folder) == up
    assert [path.name for path in folder.folder.iterdir()] == [CAME_UP]
    folder.forget(CAME_UP)
    folder.forget(CAME_UP)
    assert rollout.last_good(folder) is None


@pytest.mark.parametrize("gone", ["deployments.app:engine", "nowhere:engine", "deployments.lifecycle.gone:engine"])
def test_herd_of_a_release_whose_modules_are_not_here_is_not_declared_again(tmp_path: Path, gone: str) -> None:
    of_before = declared(model())
    of_before["applications"][0]["import_path"] = gone
    CameUp(DeclaredHerd(file=config(model())), of_before).remember(InFolder(tmp_path))
    assert rollout.last_good(InFolder(tmp_path)) is None


@pytest.mark.parametrize("text", ["{", '{"config": {}}', '{"config": {"models": []}, "declared": {}}', "{}"])
def test_what_this_release_cannot_read_is_as_if_nothing_were(tmp_path: Path, text: str) -> None:
    (tmp_path / "came-up.json").write_text(text)
    assert rollout.last_good(InFolder(tmp_path)) is None


def test_what_is_declared_can_be_declared_again_from_a_file(tmp_path: Path) -> None:
    herd = Config.model_validate(config(model(), scout(images_per_prompt=2)).model_dump(mode="json"))
    CameUp(DeclaredHerd(file=herd), declared(model(), scout(images_per_prompt=2))).remember(InFolder(tmp_path))
    again = rollout.last_good(InFolder(tmp_path))
    assert again is not None
    assert steps(again.declared, declared(model(), scout(images_per_prompt=2)), GATEWAY) == (Step(again.declared),), "nothing restarts"


class _Deployment:
    def __init__(self, message: str) -> None:
        self.message = message


class _Application:
    def __init__(self, *messages: str) -> None:
        self.message = "Failed to update the deployments ['engine']."
        self.deployments = {str(number): _Deployment(message) for number, message in enumerate(messages)}


@pytest.mark.parametrize(
    ("message", "told"),
    [
        (
            "Traceback\n  File x\nValueError: no\n  deep\nray.NotFit: llama may not serve: its canary\n",
            "ray.NotFit: llama may not serve: its canary",
        ),
        ("Traceback (most recent call last):\n  File x, in y\nOSError: no such file\n", "OSError: no such file"),
        ("\n".join(f"a long line {number} that says nothing" for number in range(7)), "a long line 2"),
    ],
)
def test_last_words_are_the_last_error(message: str, told: str) -> None:
    assert serve_api._last_words(_Application("short", message)).startswith(told)

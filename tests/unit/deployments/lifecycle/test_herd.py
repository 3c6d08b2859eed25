"""`operate.up` over a Ray Serve of our own: what it declares, what it remembers, and what it goes back to."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import SecretStr

from configs.load import Environment
from configs.schema import Config
from deployments.lifecycle import applications as app
from deployments.lifecycle import herd as operate
from deployments.lifecycle import known as finding
from deployments.lifecycle import rollout
from deployments.lifecycle.access import RayHere
from deployments.lifecycle.changing import coming_up, preflight
from deployments.lifecycle.herd import Herd, OperationError
from deployments.lifecycle.memory import CAME_UP, CONFIG, InCluster, InFolder
from deployments.policy.fleet.rollout_steps import Declared
from deployments.ray_calls import cluster_store, serve_api
from tests.unit.samples import config, model, scout

OLD = config(model(aliases=["old"]), scout())
NEW = config(model(context_tokens=4096, aliases=["new"]), scout(context_tokens=65536))


class Serve:
    """Ray Serve, and a clock that runs while somebody sleeps."""

    def __init__(self) -> None:
        self.declared: list[Declared] = []
        self.broken: set[int | None] = set()
        """Context lengths of models that cannot start."""
        self.arrives_after_s: dict[str, float] = {}
        self.states: dict[str, int] = {}
        self.now = 0.0

    def contexts(self, declared: Declared) -> dict[str, int | None]:
        return {one["name"]: one["args"].get("model", {}).get("context_tokens") for one in declared["applications"]}

    def running(self, wanted: dict[str, str]) -> set[str]:
        there = self.contexts(self.declared[-1])
        for name, what in wanted.items():
            if there[name] in self.broken:
                raise serve_api.CannotStart(f"{what} could not start.\nNotFit: no")
        return {name for name in wanted if self.arrives_after_s.get(name, 0) <= self.now}

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Serve:
    made = Serve()

    @contextlib.contextmanager
    def connected(*_: Any, **__: Any) -> Iterator[None]:
        yield

    def wait(herd: Herd, say: Any, deadline: float) -> None:
        coming_up.running(one["name"] for one in made.declared[-1]["applications"])

    for target, name, instead in (
        (operate, "connected", connected),
        (preflight, "preflight", lambda _: None),
        (preflight, "guarded", lambda *_: None),
        (operate, "_wanted", lambda herd, _: as_declared(herd.config)),
        (coming_up, "wait", wait),
        (serve_api, "declare", made.declared.append),
        (serve_api, "running", made.running),
        (serve_api, "runs", lambda _: bool(made.declared)),
        (serve_api, "replicas", lambda _: dict(made.states)),
        (serve_api, "room_for", lambda **_: True),
        (coming_up, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep)),
        (operate, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep)),
    ):
        monkeypatch.setattr(target, name, instead)
    return made


def as_declared(wanted: Config) -> Declared:
    return dict(app.declared(wanted, 1, {}).model_dump(mode="json", exclude_unset=True))


def up(folder: Path, wanted: Config, within_s: float = 60) -> None:
    environment = Environment(state=folder, cache=folder, secret=SecretStr("0123456789abcdef" * 2))
    operate.up(operate.herd(environment, wanted), environment, lambda _: None, within_s)


def remembered(folder: Path) -> Config:
    return Config.model_validate_json((folder / "herd" / "config.json").read_text())


def test_what_came_up_is_what_to_go_back_to(serve: Serve, tmp_path: Path) -> None:
    up(tmp_path, OLD)
    assert serve.declared == [as_declared(OLD)], "nothing ran: everything at once"
    up(tmp_path, NEW)
    assert [serve.contexts(one)["model.scout"] for one in serve.declared[1:]] == [131072, 65536, 65536], "one model after the other"
    assert remembered(tmp_path) == NEW
    good = rollout.last_good(InFolder(tmp_path / "herd"))
    assert good is not None
    assert (good.config, good.declared) == (NEW, as_declared(NEW))


@pytest.mark.parametrize(("breaks", "steps"), [(4096, 1), (65536, 2)])
def test_what_does_not_come_up_is_undone(serve: Serve, tmp_path: Path, breaks: int, steps: int) -> None:
    up(tmp_path, OLD)
    serve.broken = {breaks}
    with pytest.raises(OperationError, match=r"(?s)could not start.*NotFit: no.*Rolled back: the herd is what it was before"):
        up(tmp_path, NEW)
    assert len(serve.declared) == 1 + steps + 1
    assert serve.declared[-1] == as_declared(OLD)
    assert remembered(tmp_path) == OLD, "what is remembered is what runs"
    serve.broken.clear()
    up(tmp_path, NEW)
    assert remembered(tmp_path) == NEW


def test_what_cannot_be_undone_is_told_with_both_reasons(serve: Serve, tmp_path: Path) -> None:
    up(tmp_path, OLD)
    serve.broken = {4096, 8192}
    with pytest.raises(OperationError, match=r"(?s)could not start.*has not come up again.*could not start"):
        up(tmp_path, NEW)
    assert remembered(tmp_path) == OLD


def test_who_interrupts_a_change_has_the_herd_as_it_was(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up(tmp_path, OLD)

    def interrupted(_: Any) -> set[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(serve_api, "running", interrupted)
    with pytest.raises(KeyboardInterrupt):
        up(tmp_path, NEW)
    assert serve.declared[-1] == as_declared(OLD)
    assert remembered(tmp_path) == OLD


def test_a_first_start_that_fails_has_nothing_to_go_back_to(serve: Serve, tmp_path: Path) -> None:
    serve.broken = {8192}
    with pytest.raises(OperationError, match=r"could not start.\nNotFit: no$"):
        up(tmp_path, OLD)
    assert serve.declared == [as_declared(OLD)]
    assert remembered(tmp_path) == OLD, "`herd down` must find it"
    assert rollout.last_good(InFolder(tmp_path / "herd")) is None


def test_a_step_may_take_as_long_as_something_moves(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    up(tmp_path, OLD)
    serve.arrives_after_s = {"model.llama": 150}
    monkeypatch.setattr(serve_api, "replicas", lambda _: {"RUNNING": int(serve.now // 40)})
    up(tmp_path, NEW)
    assert remembered(tmp_path) == NEW
    serve.arrives_after_s = {"model.llama": serve.now + 150}
    monkeypatch.setattr(serve_api, "replicas", lambda _: {"STARTING": 1})
    with pytest.raises(OperationError, match=r"(?s)did not answer in time.*Rolled back"):
        up(tmp_path, OLD)
    assert remembered(tmp_path) == NEW


@pytest.mark.parametrize(("said", "room", "first"), [(None, True, True), (None, False, False), (True, False, True), (False, True, False)])
def test_new_replicas_come_first_where_there_is_room_or_the_config_says_so(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: bool | None, room: bool, first: bool
) -> None:
    monkeypatch.setattr(serve_api, "room_for", lambda **_: room)
    up(tmp_path, config(model()))
    up(tmp_path, config(model(context_tokens=4096, surge=said)))
    (engine, _) = serve.declared[-1]["applications"]
    assert engine["deployments"][0]["max_surge_percent"] == (app.SURGE_PERCENT if first else 0)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What a Ray cluster keeps, whoever asks."""
    kept: dict[str, str] = {}
    monkeypatch.setattr(cluster_store, "keep", kept.__setitem__)
    monkeypatch.setattr(cluster_store, "kept", kept.get)
    monkeypatch.setattr(cluster_store, "forget", lambda name: kept.pop(name, None))
    return kept


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine is a node of that cluster."""

    @contextlib.contextmanager
    def connected(*_: Any) -> Iterator[None]:
        yield

    monkeypatch.setattr(finding, "ray_here", lambda _: RayHere("10.0.0.1:6379", "ray", {"RAY_AUTH_TOKEN": "t"}))
    monkeypatch.setattr(finding, "_in_ray", connected)


def of_cluster(wanted: Config) -> Config:
    return Config.model_validate(wanted.model_dump(mode="json") | {"ray": {"address": "auto"}})


def asked(folder: Path, name: str | None = None) -> Herd:
    return operate.known(Environment(state=folder, cache=folder, secret=None), name)


def test_second_operator_goes_back_to_what_the_first_brought_up(serve: Serve, tmp_path: Path, cluster: dict[str, str]) -> None:
    """Each with a home of their own; a head whose container was made anew has an empty one too."""
    up(tmp_path / "first", of_cluster(OLD))
    serve.broken = {4096}
    with pytest.raises(OperationError, match="Rolled back: the herd is what it was before"):
        up(tmp_path / "second", of_cluster(NEW))
    assert serve.declared[-1] == as_declared(of_cluster(OLD))
    assert Config.model_validate_json(cluster[CONFIG]) == of_cluster(OLD)
    serve.broken.clear()
    up(tmp_path / "second", of_cluster(NEW))
    good = rollout.last_good(InCluster())
    assert good is not None
    assert good.config == of_cluster(NEW)
    assert not list(tmp_path.rglob(CAME_UP)), "nothing of it is one user's"


@pytest.mark.usefixtures("ray")
def test_cluster_tells_which_herd_is_up_where_this_user_brought_none_up(serve: Serve, tmp_path: Path, cluster: dict[str, str]) -> None:
    with pytest.raises(OperationError, match=r"^No herd is up\.$"):
        asked(tmp_path / "second")
    up(tmp_path / "first", of_cluster(OLD))
    assert asked(tmp_path / "second").config == of_cluster(OLD)
    assert asked(tmp_path / "second", "herd").config == of_cluster(OLD)
    with pytest.raises(OperationError, match="No herd named 'other' is up"):
        asked(tmp_path / "second", "other")
    cluster[CONFIG] = "{}"
    with pytest.raises(OperationError, match="The cluster's memory was written by another version of herd"):
        asked(tmp_path / "second")


def test_no_herd_is_up_where_no_ray_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "ray_here", lambda _: None)
    with pytest.raises(OperationError, match=r"^No herd is up\.$"):
        asked(tmp_path)


def test_herd_of_this_machine_stays_out_of_every_cluster(serve: Serve, tmp_path: Path, cluster: dict[str, str]) -> None:
    up(tmp_path, OLD)
    assert cluster == {}
    assert (tmp_path / "herd" / CAME_UP).exists()

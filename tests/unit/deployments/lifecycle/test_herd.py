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
from deployments.lifecycle.changing import coming_up, declared, preflight, roll_lock, rolls
from deployments.lifecycle.changing.rolls import Progress, Roll
from deployments.lifecycle.herd import Herd, OperationError, Terms
from deployments.lifecycle.memory import CAME_UP, CONFIG, InCluster, InFolder
from deployments.policy.fleet.by_hand import DeclaredHerd, Order
from deployments.policy.fleet.rollout_steps import Declared
from deployments.ray_calls import cluster_store, jobs, serve_api
from deployments.records import event_log
from tests.unit.samples import config, model, scout

OLD = config(model(aliases=["old"]), scout())
NEW = config(model(context_tokens=4096, aliases=["new"]), scout(context_tokens=65536))


class Serve:
    """Ray Serve, and a clock that runs while somebody sleeps."""

    def __init__(self) -> None:
        self.declared: list[Declared] = []
        self.events: list[str] = []
        self.jobs = {"01"}
        self.broken: set[int | None] = set()
        """Context lengths of models that cannot start."""
        self.arrives_after_s: dict[str, float] = {}
        self.states: dict[str, int] = {"RUNNING": 1}
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
        (operate, "as_declared", lambda config, _, restarts: as_declared(config, restarts)),
        (event_log, "tell", lambda *said, **_: made.events.append(" ".join(map(str, said[:2])))),
        (jobs, "own", lambda: "01"),
        (jobs, "lives", lambda job: job in made.jobs),
        (coming_up, "wait", wait),
        (serve_api, "declare", made.declared.append),
        (serve_api, "running", made.running),
        (serve_api, "runs", lambda _: bool(made.declared)),
        (serve_api, "replicas", lambda _: dict(made.states)),
        (serve_api, "room_for", lambda **_: True),
        (coming_up, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep)),
        (roll_lock, "TAKEN_S", 0.0),
        (operate, "time", SimpleNamespace(monotonic=lambda: made.now, sleep=made.sleep)),
    ):
        monkeypatch.setattr(target, name, instead)
    return made


def as_declared(wanted: Config, restarts: dict[str, str] | None = None) -> Declared:
    return dict(app.declared(wanted, 1, {}, restarts or {}).model_dump(mode="json", exclude_unset=True))


def order(what: Any, **fields: Any) -> Order:
    return Order(what=what, by="ann@head", at="2026-11-28T12:00:00Z", **fields)


def ordered(folder: Path, herd: Herd, wanted: Order, within_s: float = 60) -> list[str]:
    """Carries an order out; returns its steps."""
    progress = Progress(herd.folder, rolls.of_this_process(wanted))
    environment = Environment(state=folder, cache=folder, secret=SecretStr("0123456789abcdef" * 2))
    operate.carry_out(herd, wanted, environment, progress, Terms(within_s))
    return [step for _, step in progress.roll.steps]


def up(folder: Path, wanted: Config, within_s: float = 60) -> list[str]:
    environment = Environment(state=folder, cache=folder, secret=SecretStr("0123456789abcdef" * 2))
    return ordered(folder, operate.herd(environment, wanted), order("up", file=wanted), within_s)


def by_hand(folder: Path, what: Any, **fields: Any) -> list[str]:
    config = Config.model_validate_json((folder / "herd" / "config.json").read_text())
    return ordered(folder, Herd(folder / "herd", config), order(what, **fields))


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


def test_model_at_zero_is_replaced_without_a_question_for_room(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_api, "room_for", lambda **_: False)
    zero = {"scaling": {"min_replicas": 0, "max_replicas": 2}}
    up(tmp_path, config(model(**zero)))
    serve.states = {}
    said = up(tmp_path, config(model(context_tokens=4096, **zero)))
    assert "Replacing model.llama: it has no replica now" in said
    assert serve.events[-1].endswith("every model has answered, or starts with its first request")


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

    def keep_new(name: str, text: str) -> bool:
        return name not in kept and kept.setdefault(name, text) == text

    monkeypatch.setattr(cluster_store, "keep_new", keep_new)
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


def scales(declared: Declared) -> dict[str, int]:
    """The fewest replicas of each model."""
    found = {one["name"]: one["deployments"][0].get("autoscaling_config") for one in declared["applications"]}
    return {name: one["min_replicas"] for name, one in found.items() if one is not None}


def test_change_by_hand_is_declared_remembered_and_kept_as_an_event(serve: Serve, tmp_path: Path) -> None:
    up(tmp_path, OLD)
    by_hand(tmp_path, "scale", model="old", replicas=3)
    assert scales(serve.declared[-1]) == {"model.llama": 3, "model.scout": 1}
    assert remembered(tmp_path).models[0].replicas == 3
    by_hand(tmp_path, "stop", model="scout")
    assert scales(serve.declared[-1]) == {"model.llama": 3}
    assert remembered(tmp_path).models[1].stopped
    by_hand(tmp_path, "start", model="scout")
    assert scales(serve.declared[-1]) == {"model.llama": 3, "model.scout": 1}
    said = [event for event in serve.events if event.endswith(("begins", "answered"))]
    assert said[2:4] == ["scale `herd scale old 3` begins", "up `herd scale old 3` is done: every model has answered"]


def test_file_takes_changes_by_hand_back_and_says_so(serve: Serve, tmp_path: Path) -> None:
    up(tmp_path, OLD)
    by_hand(tmp_path, "scale", model="llama", replicas=3)
    assert up(tmp_path, OLD)[0] == "llama was scaled by hand to 3 by ann@head at 2026-11-28T12:00:00Z: the file takes it back"
    assert scales(serve.declared[-1])["model.llama"] == 1


def test_restart_makes_the_engines_of_one_model_anew_and_a_file_not_again(serve: Serve, tmp_path: Path) -> None:
    up(tmp_path, OLD)
    assert "Replacing model.llama: new replicas first" in by_hand(tmp_path, "restart", model="llama")
    assert [one["args"].get("restarted") for one in serve.declared[-1]["applications"]] == ["2026-11-28T12:00:00Z", None, None]
    assert not [step for step in up(tmp_path, OLD) if step.startswith("Replacing")]


def test_change_by_hand_that_does_not_come_up_is_undone(serve: Serve, tmp_path: Path) -> None:
    up(tmp_path, OLD)
    serve.broken = {8192}
    with pytest.raises(OperationError, match="has not come up again"):
        by_hand(tmp_path, "scale", model="llama", replicas=3)
    assert remembered(tmp_path) == OLD
    assert declared.now(InFolder(tmp_path / "herd")) == DeclaredHerd(file=OLD, by="ann@head", at="2026-11-28T12:00:00Z")


def test_roll_back_goes_to_the_file_before_and_forward_again(serve: Serve, tmp_path: Path) -> None:
    up(tmp_path, OLD)
    with pytest.raises(OperationError, match="nothing to go back to"):
        by_hand(tmp_path, "rollback")
    by_hand(tmp_path, "scale", model="llama", replicas=2)
    up(tmp_path, NEW)
    by_hand(tmp_path, "rollback")
    assert (scales(serve.declared[-1])["model.llama"], remembered(tmp_path).models[0].aliases) == (2, ("old",))
    by_hand(tmp_path, "rollback")
    assert remembered(tmp_path) == NEW


def test_order_that_cannot_be_is_refused_and_nothing_is_declared(serve: Serve, tmp_path: Path) -> None:
    up(tmp_path, OLD)
    with pytest.raises(OperationError, match="The herd has no model 'gone'"):
        by_hand(tmp_path, "stop", model="gone")
    assert len(serve.declared) == 1


def test_second_operator_of_a_cluster_is_refused_while_the_first_changes_it(serve: Serve, tmp_path: Path, cluster: dict[str, str]) -> None:
    busy = Roll(order=order("up", file=of_cluster(OLD)), host="head", pid=1, began=0, job="02", steps=((1.0, "Deploying"),))
    cluster[roll_lock.LOCK] = busy.model_dump_json()
    serve.jobs.add("02")
    words = r"^`herd up` by ann@head is under way since 2026-11-28T12:00:00Z, at: Deploying. `herd up --attach` .* It runs on head: if"
    with pytest.raises(OperationError, match=words):
        up(tmp_path, of_cluster(NEW))
    assert (serve.declared, cluster.get(CONFIG)) == ([], None)
    assert cluster[roll_lock.LOCK] == busy.model_dump_json(), "still the first one's"


def test_lock_of_an_operator_whose_program_is_gone_is_taken_over(serve: Serve, tmp_path: Path, cluster: dict[str, str]) -> None:
    left = Roll(order=order("rollback"), host="worker-7", pid=1, began=0, job="02", steps=((1.0, "Deploying"),))
    cluster[roll_lock.LOCK] = left.model_dump_json()
    up(tmp_path, of_cluster(OLD))
    assert roll_lock.LOCK not in cluster
    ended = Roll.model_validate_json(cluster[roll_lock.LAST])
    assert (ended.job, ended.ended) == ("01", "")
    assert ended.steps[-1][1] == "Deploying"
    assert [step for _, step in ended.steps if "taken over" in step] == [
        "`herd rollback` by ann@head, begun 2026-11-28T12:00:00Z, at: Deploying, ended in the middle: Ray says that its process, or its "
        "host worker-7, is gone. Its lock is taken over"
    ]


def test_change_that_fails_gives_the_lock_back_with_its_reason(serve: Serve, tmp_path: Path, cluster: dict[str, str]) -> None:
    serve.broken = {8192}
    with pytest.raises(OperationError):
        up(tmp_path, of_cluster(OLD))
    assert roll_lock.LOCK not in cluster
    assert "could not start" in str(Roll.model_validate_json(cluster[roll_lock.LAST]).ended)

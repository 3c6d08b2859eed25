"""`herd up` waits until models generate, and not for the replicas of a model that may have none."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.lifecycle.changing import coming_up
from deployments.lifecycle.herd import Herd, OperationError
from deployments.policy.fleet.model_state import ModelState, Standing
from deployments.ray_calls.names import GATEWAY
from tests.unit.samples import config, model, scout

HERD = config(model(scaling={"min_replicas": 0, "max_replicas": 2}), scout())
UP = Standing(ModelState.RUNNING, 1, 1)
ZERO = Standing(ModelState.AT_ZERO, 0, 0)


class Cluster:
    """What Ray Serve and a gateway say, second by second; the last word holds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *states: dict[str, Standing]) -> None:
        self.states, self.now, self.asked = list(states), 0.0, list[str]()
        self.settled = {GATEWAY, "model.llama", "model.scout"}
        monkeypatch.setattr(coming_up, "time", SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep))
        monkeypatch.setattr(coming_up, "replicas", lambda herd: (herd.config, {}))
        monkeypatch.setattr(coming_up, "running", lambda _: self.settled)
        monkeypatch.setattr(coming_up, "survey", lambda *_: self.states[0])
        monkeypatch.setattr(coming_up, "_refusal", self.refusal)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        del self.states[: len(self.states) > 1]

    def refusal(self, _: Any, one: Any) -> str:
        self.asked.append(one.id)
        return ""


def waited(folder: Path) -> list[str]:
    said = list[str]()
    coming_up.wait(Herd(folder, HERD), said.append, 10.0)
    return said


def test_model_at_zero_is_not_waited_for_and_is_not_woken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = Cluster(monkeypatch, {"llama": ZERO, "scout": UP})
    assert waited(tmp_path) == ["llama is at zero: it starts with its first request", "scout answers"]
    assert (cluster.asked, cluster.now) == (["scout"], 0.0)


def test_model_that_starts_for_its_first_requests_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    Cluster(monkeypatch, {"llama": Standing(ModelState.STARTING, 0, 2), "scout": UP})
    assert waited(tmp_path)[0] == "llama is starting: its requests wait until it answers"


def test_model_that_is_asked_before_ray_serve_is_done_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray Serve says that it is deploying until the replicas are there that the first requests have started."""
    cluster = Cluster(monkeypatch, {"llama": Standing(ModelState.STARTING, 0, 1), "scout": UP})
    cluster.settled = {GATEWAY, "model.scout"}
    assert waited(tmp_path) == ["llama is starting: its requests wait until it answers", "scout answers"]


def test_replicas_that_such_a_model_has_must_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = Cluster(monkeypatch, {"llama": Standing(ModelState.UNHEALTHY, 0, 1), "scout": UP}, {"llama": UP, "scout": UP})
    assert waited(tmp_path) == ["scout answers", "Waiting for llama to generate", "llama answers"]
    assert cluster.asked == ["scout", "llama"]


def test_model_that_ray_serve_has_not_declared_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = Cluster(monkeypatch, {"llama": Standing(ModelState.STARTING, 0, 0), "scout": UP})
    cluster.settled = {GATEWAY, "model.scout"}
    with pytest.raises(OperationError, match="llama did not answer in time"):
        waited(tmp_path)

"""A real model goes from one replica to three and back under a step of load, and Ray Serve's controller is killed on both ways."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deployments.policy.fleet.events import Kind
from tests.bench.process import free_port
from tests.e2e.conftest import SMALL, Herd, processes_of, up, wait_for
from tests.own_herd.clients import Step, Streams
from tests.own_herd.turns import again, log_of, recording
from tests.processes import words

MODEL = "llama-4-scout-tiny"
#: Of the step, and of all the time: the streams are a quarter of what one replica should have, and each of two replicas has one.
CLIENTS, TOKENS = 48, 60
STREAMS, STREAM_TOKENS = 3, 1000
#: Two engines start at a time, on two cores. Afterwards the load must be less by more than its noise may be, which is remembered for long.
UP_S, DOWN_S = 300.0, 1200.0
STOP_S = 90


def config(port: int) -> dict[str, Any]:
    """One model that carries twelve requests a replica, and gives replicas up soon."""
    scaling = {"min_replicas": 1, "max_replicas": 3, "target_ongoing_requests": 12, "clear_s": 10, "patience_s": 8, "start_s": 15}
    model = {
        "id": MODEL,
        "kind": "llama-4-scout-tiny",
        "checkpoint": "small:llama-4-scout-tiny",
        "context_tokens": 2048,
        "scaling": scaling,
        "stop_s": STOP_S,
        "engine": SMALL | {"max_num_seqs": 12, "skip_mm_profiling": True},
    }
    gateway = {"port": port, "limits": {"header_s": 120, "body_read_s": 120, "queue_s": 300}}
    return {"name": "scaling", "gateway": gateway, "models": [model]}


@pytest.fixture
def turns(tmp_path: Path) -> Path:
    """Where the controllers write their turns down."""
    return tmp_path / "turns.jsonl"


@pytest.fixture
def herd(tmp_path: Path, turns: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Herd]:
    """A herd of its own: the others' tests count their replicas."""
    recording(monkeypatch, turns)
    with up(tmp_path, config(free_port())) as running:
        yield running


def decisions(herd: Herd) -> list[str]:
    """Every change of the model's size, with its reason, oldest first."""
    return [f"{event['when']} {event['words']}" for event in herd.events() if event["kind"] == Kind.SCALE and event["model"] == MODEL]


def controllers(herd: Herd) -> list[psutil.Process]:
    """Ray Serve's controller of a herd."""
    return [one for one in processes_of(herd) if "ServeController" in words(one)]


def said(what: str) -> None:
    """Shows a moment in the output of the test."""
    print(f"{time.strftime('%H:%M:%S')}  {what}", flush=True)


def engines(herd: Herd) -> int:
    """How many replicas there are, with those that still finish what they have: Ray names their processes by what they do."""
    names = map(words, processes_of(herd))
    return sum(name.startswith("ray::") and f"{MODEL}:engine" in name for name in names)


class Watched:
    """The model's replicas, as the gateway's page has them from moment to moment."""

    def __init__(self, herd: Herd) -> None:
        self._herd = herd
        self._ongoing = dict[str, int]()
        self.left_with = list[int]()
        """The requests that each replica had just before it took none any more."""

    def ready(self) -> int:
        """Looks, and returns the number of those that take requests."""
        found = {one["id"]: one["ongoing"] for one in self._herd.replicas(MODEL)}
        for name in self._ongoing.keys() - found.keys():
            self.left_with.append(self._ongoing[name])
            said(f"{name} takes no more requests, and had {self._ongoing[name]}")
        self._ongoing = found
        return len(found)

    def comes_down_to(self, replicas: int) -> None:
        """Waits until there are only so many, and no other finishes what it has."""
        wait_for(f"{replicas} that take requests", lambda: self.ready() == replicas, within_s=DOWN_S, every_s=0.3)
        wait_for(f"{replicas} engines", lambda: engines(self._herd) == replicas, within_s=STOP_S + 60, every_s=0.5)
        said(f"{replicas} left")


def kill_controller(herd: Herd) -> None:
    """Kills Ray Serve's controller; Ray starts another one."""
    (victim,) = wait_for("one controller", lambda: found if len(found := controllers(herd)) == 1 else None, within_s=30)
    victim.kill()
    said("the controller is killed")
    wait_for("another controller", lambda: [one for one in controllers(herd) if one.pid != victim.pid], within_s=120, every_s=1)


@pytest.mark.timeout(UP_S + DOWN_S + 300)
def test_model_goes_from_one_replica_to_three_and_back_though_its_controller_dies_on_both_ways(herd: Herd, turns: Path) -> None:
    watched = Watched(herd)
    assert watched.ready() == 1
    with Streams(herd, MODEL, STREAMS, STREAM_TOKENS) as streams:
        with Step(herd, MODEL, CLIENTS, TOKENS) as step:
            wait_for("more than one replica is wanted", lambda: decisions(herd), within_s=120, every_s=2)
            said(f"wanted: {decisions(herd)[-1]}")
            kill_controller(herd)
            wait_for("three replicas", lambda: watched.ready() == 3, within_s=UP_S, every_s=1)
            said("three replicas answer")
        said(f"the step is over: {step.answers} answers, and {streams.answers} streams")
        watched.comes_down_to(2)
        kill_controller(herd)
        watched.comes_down_to(1)
    said(f"the end: {streams.answers} streams")
    log = decisions(herd)
    print("\n".join(log))
    assert step.failures == streams.failures == []
    assert len(streams.texts) == STREAMS, "a stream whose replica leaves is the same to its end"
    assert any(watched.left_with), "one left in the middle of a stream"
    assert all(" replicas of load now" in one for one in log), "each has its reason, and nobody else moved the number"
    moves = [tuple(map(int, found.groups())) for one in log if (found := re.search(r": (\d) instead of (\d)", one))]
    assert [after for after, before in moves if after < before] == [2, 1], "down by one at a time, and not up again"
    written = log_of(turns.read_bytes())
    assert [(one.target, one.reason) for one in written] == list(again(written)), "the log, replayed, has the same decisions"
    said(f"{len(written)} turns, replayed")

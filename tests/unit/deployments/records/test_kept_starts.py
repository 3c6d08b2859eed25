"""`records.kept_starts`: one reading of the starts for all who show them."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from deployments.gateway.process import RayCluster
from deployments.policy.records import starts
from deployments.policy.records.starts import Start
from deployments.ray_calls import cluster_store
from deployments.records.cluster_facts import ClusterReader
from deployments.records.kept_starts import KEPT_S, KeptStarts

OLD = Start("scout", "scout#1", "n1", "1", 100.0, (("weights", 101.0),), ended=200.0, outcome="ready")
NEW = Start("scout", "scout#2", "n1", "1", 300.0, (("weights", 301.0),))
OTHER = Start("llama", "llama#1", "n2", "1", 200.0)


class Store:
    """A cluster's store, with a clock."""

    def __init__(self, *kept: Start) -> None:
        self.kept: dict[str, str] = {}
        self.now, self.asked = 0.0, 0
        self.read: list[str] = []
        self.answers = threading.Event()
        self.answers.set()
        self.fails = False
        for one in kept:
            self.has(one)
        self.starts = KeptStarts(self, clock=lambda: self.now)

    def has(self, start: Start) -> None:
        self.kept[starts.key(start)] = starts.written(start)

    def names(self, beginning: str) -> Sequence[str]:
        self.asked += 1
        assert self.answers.wait(60)
        return [name for name in self.kept if name.startswith(beginning)]

    def several(self, names: Sequence[str]) -> dict[str, str]:
        self.read += names
        if self.fails:
            raise ConnectionError
        return {name: self.kept[name] for name in names if name in self.kept}


def test_status_page_and_metrics_share_a_reading() -> None:
    store = Store(NEW, OLD, OTHER)
    metrics = ClusterReader(store.starts, Store(), list, lambda _: {}, lambda: store.now)
    assert set(metrics.read(["scout"]).starts) == {NEW, OTHER}
    assert store.starts.of(["scout", "maverick"]) == {"scout": [OLD, NEW], "maverick": []}
    assert store.asked == 1
    store.now = KEPT_S
    store.starts.of(["scout"])
    metrics.read(["scout"])
    assert store.asked == 2


def test_gateway_has_one_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(NEW)
    monkeypatch.setattr("deployments.gateway.process.KeptStarts", lambda: store.starts)
    cluster = RayCluster()
    assert cluster.starts(["scout"]) == {"scout": [NEW]}
    assert cluster._reader._kept is store.starts


def test_those_who_ask_at_once_ask_the_store_once() -> None:
    store = Store(NEW)
    store.answers.clear()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(store.starts.of, ["scout"]) for _ in range(4)]
        store.answers.set()
        assert [one.result() for one in asked] == [{"scout": [NEW]}] * 4
    assert store.asked == 1


def test_text_that_no_longer_changes_is_read_once() -> None:
    store = Store(OLD, NEW, OTHER)
    store.kept[f"{starts.BEGINNING}scout#broken"] = "no start"
    assert set(store.starts.running().values()) == {NEW, OTHER}
    store.starts.killed([starts.key(OTHER)])
    assert store.starts.running() == {starts.key(NEW): NEW}
    store.now = KEPT_S
    store.starts.running()
    store.read.clear()
    ended = replace(NEW, ended=400.0, outcome="ready")
    store.has(ended)
    store.now = 2 * KEPT_S
    assert store.starts.running() == {}
    assert store.read == [starts.key(NEW)]
    assert store.starts.of(["scout", "llama"]) == {"scout": [OLD, ended], "llama": [OTHER]}


def test_start_that_has_ended_since_the_last_reading_is_not_taken_for_killed_for_ever() -> None:
    """Ray says that nothing starts any more, and the reading is of before: the start is ready by now."""
    store = Store(NEW)
    store.starts.running()
    store.now = KEPT_S - 1
    ended = replace(NEW, ended=400.0, outcome="ready")
    store.starts.killed([starts.key(NEW)])
    store.now = KEPT_S
    store.starts.running()
    store.has(ended)
    store.now = 2 * KEPT_S
    assert store.starts.of(["scout"]) == {"scout": [ended]}
    store.now = 3 * KEPT_S
    store.read.clear()
    store.starts.running()
    assert store.read == []


def test_start_that_is_kept_no_more_is_forgotten() -> None:
    store = Store(OLD, NEW)
    store.starts.running()
    del store.kept[starts.key(OLD)]
    store.now = KEPT_S
    assert store.starts.of(["scout"]) == {"scout": [NEW]}


def test_reading_that_failed_is_tried_again_at_once() -> None:
    store = Store(NEW)
    store.starts.running()
    store.now, store.fails = KEPT_S, True
    with pytest.raises(ConnectionError):
        store.starts.running()
    store.fails = False
    assert store.starts.running() == {starts.key(NEW): NEW}


def test_store_of_the_cluster_is_the_one_that_is_asked() -> None:
    assert KeptStarts()._store is cluster_store

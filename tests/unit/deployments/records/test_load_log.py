"""Texts are kept by a thread of their own, and of each name the newest."""

import threading

import pytest

from deployments.records.load_log import Keeper
from tests.unit.deployments.records.test_scaling import Memory, eventually


class Slow(Memory):
    """A store that answers when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.answers, self.asked = threading.Event(), threading.Event()

    def keep(self, name: str, text: str) -> None:
        self.asked.set()
        self.answers.wait(60)
        super().keep(name, text)


def test_text_is_kept_and_removed() -> None:
    store = Memory()
    keeper = Keeper(store)
    keeper.keep("a", "1")
    keeper.keep("b", "2")
    keeper.flush()
    assert store.texts == {"a": "1", "b": "2"}
    keeper.keep("a", None)
    keeper.flush()
    assert store.texts == {"b": "2"}


def test_process_does_not_wait_for_the_store_and_the_newest_text_is_kept() -> None:
    store = Slow()
    keeper = Keeper(store)
    keeper.keep("a", "0")
    store.asked.wait(60)
    for number in range(1, 50):
        keeper.keep("a", str(number))
    assert store.reads == 0, "nothing has come through yet, and nobody has waited"
    store.answers.set()
    keeper.flush(10)
    assert store.texts == {"a": "49"}
    assert store.reads == 2


def test_store_that_is_away_loses_a_text_and_the_next_one_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    store = Memory(away=True)
    keeper = Keeper(store)
    with caplog.at_level("WARNING", "ray.serve"):
        keeper.keep("a", "1")
        keeper.flush()
    assert "not_kept" in caplog.text
    store.away = False
    keeper.keep("a", "2")
    eventually(lambda: store.texts == {"a": "2"})


def test_flush_gives_up() -> None:
    store = Slow()
    keeper = Keeper(store)
    keeper.keep("a", "1")
    keeper.flush(0.05)
    assert not store.texts
    store.answers.set()

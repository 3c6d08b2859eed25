"""Events in a store: several writers, the oldest are removed, and a process that never waits."""

import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from deployments.policy.fleet.events import MOST_KEPT, SLACK, Event, Kind
from deployments.records import event_log
from deployments.records.event_log import MOST_WAITING, Teller


@dataclass
class InMemory:
    """A store like the cluster's."""

    texts: dict[str, str] = field(default_factory=dict)
    away: bool = False
    missed: threading.Event = field(default_factory=threading.Event)
    """It was asked while it was away."""
    held: threading.Event = field(default_factory=threading.Event)

    def keep(self, name: str, text: str) -> None:
        if self.away:
            self.missed.set()
            raise ConnectionError
        self.held.wait(60)
        self.texts[name] = text

    def forget(self, name: str) -> None:
        self.texts.pop(name, None)

    def names(self, beginning: str) -> Sequence[str]:
        return [name for name in self.texts if name.startswith(beginning)]

    def several(self, names: Sequence[str]) -> Mapping[str, str]:
        return {name: self.texts[name] for name in names if name in self.texts}


@pytest.fixture
def store() -> InMemory:
    made = InMemory()
    made.held.set()
    return made


def seen(store: InMemory, count: int) -> list[str]:
    deadline = time.monotonic() + 60
    while len(store.texts) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    return [event.words for event in event_log.since(0, store)]


def test_events_of_one_millisecond_all_stay_and_come_oldest_first(store: InMemory) -> None:
    for words, when in (("b", 2.0), ("c", 2.0), ("a", 1.0)):
        event_log.record(Event(when, Kind.STEP, words), store)
    found = [event.words for event in event_log.since(0, store)]
    assert found[0] == "a"
    assert sorted(found) == ["a", "b", "c"]
    assert {event.words for event in event_log.since(1.5, store)} == {"b", "c"}


def test_log_stays_bounded_and_the_newest_stay(store: InMemory) -> None:
    for second in range(MOST_KEPT + 2 * SLACK):
        event_log.record(Event(float(second), Kind.STEP, str(second)), store)
    assert MOST_KEPT <= len(store.texts) <= MOST_KEPT + SLACK
    assert event_log.since(0, store)[-1].words == str(MOST_KEPT + 2 * SLACK - 1)


def test_command_tells_who_runs_it_and_does_not_fail_without_the_cluster(store: InMemory) -> None:
    event_log.tell(Kind.SCALE, "2 to 3 replicas", model="scout", store=store)
    (event,) = event_log.since(time.time() - 60, store)
    assert (event.kind, event.model, event.who) == ("scale", "scout", event_log.operator())
    assert "@" in event.who
    store.away = True
    event_log.tell(Kind.SCALE, "3 to 2 replicas", store=store)


def test_user_without_a_name_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("uid 1234")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert event_log.operator().startswith("unknown@")


def test_process_tells_in_the_order_of_its_calls(store: InMemory) -> None:
    teller = Teller("gateway", store)
    for number in range(3):
        teller.tell(Kind.STEP, str(number), "scout", "abc")
    assert len(seen(store, 3)) == 3
    assert {event.who for event in event_log.since(0, store)} == {"gateway"}


def test_process_never_waits_for_a_store_that_hangs_and_loses_the_oldest(store: InMemory) -> None:
    store.held.clear()
    teller, began = Teller("engine", store), time.monotonic()
    for number in range(3 * MOST_WAITING):
        teller.tell(Kind.START, str(number))
    assert time.monotonic() - began < 50
    store.held.set()
    teller.flush(within_s=60)
    found = [event.words for event in event_log.since(0, store)]
    assert MOST_WAITING <= len(found) <= MOST_WAITING + 1
    assert found[-1] == str(3 * MOST_WAITING - 1)


def test_process_goes_on_telling_after_a_store_was_away(store: InMemory) -> None:
    store.away = True
    teller = Teller("engine", store)
    teller.tell(Kind.START, "lost")
    assert store.missed.wait(60)
    store.away = False
    teller.tell(Kind.READY, "kept")
    assert seen(store, 1) == ["kept"]


def test_death_told_by_two_gateways_is_kept_once(store: InMemory) -> None:
    for teller in (Teller("gateway", store), Teller("gateway", store)):
        teller.tell(Kind.DEATH, "it is gone", "scout", "abc")
        teller.flush()
    assert len(store.texts) == 1


def test_process_that_ends_waits_until_its_events_are_kept_and_not_for_ever(store: InMemory) -> None:
    teller = Teller("engine", store)
    teller.tell(Kind.STOP, "it stops", "scout", "abc")
    teller.flush()
    assert len(store.texts) == 1
    store.held.clear()
    teller.tell(Kind.START, "it starts", "scout", "abd")
    began = time.monotonic()
    teller.flush(0.2)
    assert 0.2 <= time.monotonic() - began < 50
    store.held.set()

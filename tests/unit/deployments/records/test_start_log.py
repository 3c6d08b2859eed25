"""A start that is told while it goes on: its record, its events, and what its log says of phases."""

import time
from collections.abc import Sequence

import pytest

from deployments.policy.fleet.events import Kind
from deployments.policy.records import starts
from deployments.policy.records.log_lines import Line, Query
from deployments.policy.records.starts import Start
from deployments.records import event_log, start_log
from deployments.records.event_log import Teller
from deployments.records.start_log import StartLog, starts_of
from tests.unit.deployments.records.test_event_log import InMemory


class Logs:
    """A log that a test writes."""

    def __init__(self, once: bool = True) -> None:
        self.lines: list[str] = []
        self._once = once

    def read(self, query: Query) -> Sequence[Line]:
        found = self.lines
        if self._once:
            self.lines = []
        return [Line(time.time(), "n1", query.model, query.replica, text) for text in found]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start_log, "PERIOD_S", 0.02)


@pytest.fixture
def store() -> InMemory:
    made = InMemory()
    made.held.set()
    return made


def begun(store: InMemory, logs: Logs, replica: str = "abc") -> StartLog:
    log = StartLog(Start("scout", replica, "10.0.0.2", "0.1.0", time.time()), Teller("engine", store), logs, store)
    log.begin()
    return log


def kept(store: InMemory, outcome: str, phase: str = "") -> Start:
    """Waits until a thread has kept the newest start with that outcome, and in that phase where one is named."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = starts_of("scout", store)
        if found and found[-1].outcome == outcome and (outcome or found[-1].phases) and phase in ("", found[-1].phase):
            return found[-1]
        time.sleep(0.01)
    pytest.fail("the start is not kept")


def kinds(store: InMemory, many: int) -> list[str]:
    """Waits until so many events are kept, which a thread does."""
    deadline = time.monotonic() + 60
    while len(found := [event.kind for event in event_log.since(0, store)]) < many and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def test_start_that_comes_up_is_kept_with_its_phases_and_is_two_events(store: InMemory) -> None:
    logs = Logs()
    log = begun(store, logs)
    log.phase(starts.WEIGHTS)
    assert kept(store, "").phase == starts.WEIGHTS
    log.phase(starts.ENGINE)
    logs.lines += ["INFO x: Starting to load model y", "INFO x: Loading weights took 1 s"]
    kept(store, "", starts.MEASURE)
    log.phase(starts.GATE)
    log.ready()
    found = kept(store, starts.READY)
    assert [phase for phase, _ in found.phases] == [starts.WEIGHTS, starts.ENGINE, starts.LOAD, starts.MEASURE, starts.GATE]
    assert found.ended is not None
    assert [*log.phases_s] == [phase for phase, _ in found.phases]
    assert all(seconds >= 0 for seconds in log.phases_s.values())
    assert kinds(store, 2) == [Kind.START, Kind.READY]


def test_start_that_fails_is_kept_with_its_true_cause(store: InMemory) -> None:
    logs = Logs(once=False)
    log = begun(store, logs)
    log.phase(starts.ENGINE)
    logs.lines.append("    ValueError: no such tokenizer")
    log.failed(RuntimeError("Engine core initialization failed. See root cause above."))
    found = kept(store, starts.FAILED)
    assert found.error == "ValueError: no such tokenizer"
    (_, event) = event_log.since(0, store)
    assert event.kind == Kind.FAILED
    assert found.error in event.words


def test_start_goes_on_where_the_store_is_away(store: InMemory) -> None:
    store.away = True
    log = begun(store, Logs())
    log.phase(starts.WEIGHTS)
    log.ready()
    time.sleep(0.1)
    store.away = False
    assert kept(store, starts.READY).phase == starts.WEIGHTS


def test_only_the_newest_starts_are_kept(store: InMemory) -> None:
    for number in range(starts.MOST_KEPT + 2):
        begun(store, Logs(), f"r{number}").ready()
        kept(store, starts.READY)
        time.sleep(0.03)
    deadline = time.monotonic() + 60
    while len(starts_of("scout", store)) > starts.MOST_KEPT and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(starts_of("scout", store)) == starts.MOST_KEPT

"""`deployments.gateway.replicas.watch`: which replicas there are, with a discovery of our own."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from deployments.gateway.replicas.roster import Roster
from deployments.gateway.replicas.watch import Watch
from deployments.policy.routing.types import ReplicaView
from tests.unit.samples import replica

A, B = replica("a"), replica("b")


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


class Herd:
    """A `Discover` that says what it is told to say, and signals when it was asked."""

    def __init__(self) -> None:
        self.said: dict[str, Sequence[ReplicaView] | Exception] = {}
        self.asked: dict[str, int] = {}

    async def __call__(self, model: str) -> Sequence[ReplicaView]:
        self.asked[model] = self.asked.get(model, 0) + 1
        said = self.said.get(model, ())
        if isinstance(said, Exception):
            raise said
        return said

    async def ask_again(self, model: str) -> None:
        """Waits until a question has been asked and answered since now."""
        until = self.asked.get(model, 0) + 2
        async with asyncio.timeout(60):
            while self.asked.get(model, 0) < until:  # noqa: ASYNC110 (turns of the loop are all that it waits for)
                await asyncio.sleep(0)


async def test_watch_keeps_every_model_up_to_date(logs: list[EventDict]) -> None:
    herd, roster = Herd(), Roster(["llama", "scout"])
    herd.said = {"llama": [A]}
    watch = Watch(roster, herd, period_s=0)
    watch.follow()
    await herd.ask_again("llama")
    assert (roster.ready("llama"), roster.ready("scout")) == (1, 0)
    herd.said = {"llama": [A, B], "scout": [replica("s", model="scout")]}
    await asyncio.gather(herd.ask_again("llama"), herd.ask_again("scout"))
    assert (roster.ready("llama"), roster.ready("scout")) == (2, 1)
    await watch.stop()
    assert sorted((event["model"], event["ready"], event["known"]) for event in logs) == [("llama", 1, 1), ("llama", 2, 2), ("scout", 1, 1)]
    assert {event["event"] for event in logs} == {"roster_changed"}


async def test_last_known_stays_while_nobody_answers(logs: list[EventDict]) -> None:
    herd, roster = Herd(), Roster(["llama"])
    herd.said = {"llama": [A]}
    watch = Watch(roster, herd, period_s=0)
    watch.follow()
    await herd.ask_again("llama")
    herd.said = {"llama": OSError("the head is away")}
    await herd.ask_again("llama")
    assert roster.replicas("llama") == (A,)
    assert watch.alive
    await watch.stop()
    assert logs[-1] == {"event": "roster_unknown", "model": "llama", "error": "OSError: the head is away", "log_level": "warning"}


async def test_watch_follows_the_models_of_the_roster() -> None:
    herd, roster = Herd(), Roster(["llama"])
    watch = Watch(roster, herd, period_s=0)
    watch.follow()
    await herd.ask_again("llama")
    roster.keep(["scout"])
    watch.follow()
    asked = herd.asked["llama"]
    await herd.ask_again("scout")
    assert herd.asked["llama"] == asked
    assert watch.alive
    await watch.stop()


async def test_watch_that_was_broken_says_so() -> None:
    async def broken(_model: str) -> Sequence[ReplicaView]:
        raise asyncio.CancelledError

    watch = Watch(Roster(["llama"]), broken, period_s=0)
    assert watch.alive
    watch.follow()
    await asyncio.sleep(0.01)
    assert not watch.alive
    await watch.stop()
    assert watch.alive


async def test_watch_asks_as_often_as_it_is_told_last_and_a_period_that_stays_changes_nothing() -> None:
    herd, roster = Herd(), Roster(["llama"])
    watch = Watch(roster, herd, period_s=3600)
    watch.follow()
    async with asyncio.timeout(60):
        while not herd.asked:  # noqa: ASYNC110 (turns of the loop are all that it waits for)
            await asyncio.sleep(0)
    watch.change(3600)
    await asyncio.sleep(0.01)
    assert herd.asked["llama"] == 1
    watch.change(0)
    await herd.ask_again("llama")
    watch.change(3600)
    await asyncio.sleep(0.01)
    asked = herd.asked["llama"]
    await asyncio.sleep(0.01)
    assert (herd.asked["llama"], watch.alive) == (asked, True)
    await watch.stop()


class Told:
    """A `Changed` that returns when it is told to, and raises while it is broken."""

    def __init__(self) -> None:
        self.changed = asyncio.Event()
        self.broken = False
        self.calls = 0

    async def __call__(self, _model: str) -> None:
        self.calls += 1
        if self.broken:
            raise OSError("the head is away")
        await self.changed.wait()
        self.changed.clear()

    async def hears(self) -> None:
        """Waits until it has been asked again."""
        calls = self.calls
        async with asyncio.timeout(60):
            while self.calls == calls:  # noqa: ASYNC110 (turns of the loop are all that it waits for)
                await asyncio.sleep(0)


async def asked_in(herd: Herd, seconds: float) -> int:
    """How often the replicas are looked for in this time."""
    before = herd.asked.get("llama", 0)
    await asyncio.sleep(seconds)
    return herd.asked.get("llama", 0) - before


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes settle at once."""
    monkeypatch.setattr("deployments.gateway.replicas.watch.RESTLESS_S", 0.0)


@pytest.mark.usefixtures("short")
async def test_watch_that_hears_of_changes_looks_when_there_are_some_and_seldom_else() -> None:
    herd, told, roster = Herd(), Told(), Roster(["llama"])
    herd.said = {"llama": [A]}
    watch = Watch(roster, herd, 0.001, told)
    watch.follow()
    told.changed.set()  # as the first answer of a long poll
    await told.hears()
    await told.hears()
    await asyncio.sleep(0.05)
    assert await asked_in(herd, 0.1) == 0
    herd.said = {"llama": [A, B]}
    told.changed.set()
    await told.hears()
    await asyncio.sleep(0.05)
    assert roster.ready("llama") == 2
    assert await asked_in(herd, 0.1) == 0
    watch.look("llama")
    assert await asked_in(herd, 0.1) == 1
    watch.look("nobody")
    assert watch.alive
    await watch.stop()


async def test_watch_goes_on_looking_for_a_while_after_a_change() -> None:
    herd, told, roster = Herd(), Told(), Roster(["llama"])
    watch = Watch(roster, herd, 0.001, told)
    watch.follow()
    told.changed.set()
    await told.hears()
    assert await asked_in(herd, 0.2) >= 3, "not everybody who is asked knows at once"
    await watch.stop()


@pytest.mark.usefixtures("short")
async def test_watch_that_hears_of_no_changes_looks_every_period() -> None:
    herd, told, roster = Herd(), Told(), Roster(["llama"])
    watch = Watch(roster, herd, 0.001, told)
    watch.follow()
    told.changed.set()
    await told.hears()
    told.broken = True
    told.changed.set()
    await told.hears()
    assert await asked_in(herd, 0.2) >= 3
    told.broken = False
    told.changed.set()
    await told.hears()
    await asyncio.sleep(0.05)
    assert await asked_in(herd, 0.1) == 0
    await watch.stop()

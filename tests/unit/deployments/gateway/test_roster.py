"""`deployments.gateway.replicas.roster`: who is in, who is out, how many requests each has.

And the watch over them, with a discovery of our own.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from deployments.gateway.replicas.roster import Roster, Watch
from deployments.policy.errors.client_errors import ModelStopped, Unavailable
from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.routing.availability import RETRY_AFTER_S
from deployments.policy.routing.types import Ask, Pick, Reason, ReplicaState, ReplicaView
from tests.unit.samples import replica

A, B = replica("a"), replica("b")


def chosen(roster: Roster, model: str) -> Pick:
    pick = roster.choose(model)
    assert pick is not None, "there is room"
    return pick


@pytest.fixture
def roster() -> Roster:
    made = Roster(["llama"])
    made.update("llama", [A, B])
    return made


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as events:
        yield events


def refusal(roster: Roster, model: str = "llama") -> str | None:
    with pytest.raises(Unavailable) as refused:
        chosen(roster, model)
    assert refused.value.retry_after_s == RETRY_AFTER_S
    return refused.value.reason


def test_model_without_replicas_is_starting_until_one_was_ready() -> None:
    roster = Roster(["llama"])
    assert refusal(roster) == "engine_starting"
    roster.update("llama", [replica("a", ReplicaState.DEAD)])
    assert refusal(roster) == "engine_starting"
    roster.update("llama", [A])
    assert chosen(roster, "llama").replica == A
    roster.update("llama", [])
    assert refusal(roster) == "engine_gone"


def test_a_sick_replica_is_out_and_told_of_once() -> None:
    told: list[ReplicaView] = []
    roster = Roster(["llama"], on_sick=told.append)
    roster.update("llama", [A, B])
    sick = replace(B, state=ReplicaState.SICK, canary="wrong")
    roster.heard(sick)
    roster.suspect(sick)
    roster.update("llama", [A, sick])
    assert told == [sick], "taken for dead in between, it is still the same one"
    assert chosen(roster, "llama").replica == A
    roster.heard(B)
    assert roster.ready("llama") == 2


def test_every_listener_is_told_of_each_model_whose_replicas_changed(roster: Roster) -> None:
    told: list[tuple[str, str]] = []
    for name in ("one", "two"):
        roster.listen(lambda model, name=name: told.append((name, model)))  # type: ignore[misc]
    roster.heard(replace(A, ongoing=1))
    assert told == [("one", "llama"), ("two", "llama")]
    roster.keep([])
    assert len(told) == 4


def test_a_slow_replica_is_ready_and_counted(roster: Roster) -> None:
    roster.update("llama", [replace(A, slow=True), replace(B, slow=True, state=ReplicaState.DEAD)])
    assert (roster.ready("llama"), roster.slow("llama")) == (1, 1)
    roster.heard(A)
    assert roster.slow("llama") == 0


def test_who_says_nothing_is_out(roster: Roster) -> None:
    roster.update("llama", [A])
    assert roster.replicas("llama") == (A,)
    assert chosen(roster, "llama").reason is Reason.ONLY


def test_only_those_that_are_ready_count(roster: Roster) -> None:
    roster.update("llama", [A, replica("b", ReplicaState.LEAVING), replica("c", ReplicaState.DEAD)])
    assert roster.ready("llama") == 1
    assert len(roster.replicas("llama")) == 3


def test_suspect_is_out_until_it_says_again_that_it_is_ready(roster: Roster) -> None:
    roster.suspect(A)
    assert [one.state for one in roster.replicas("llama")] == [ReplicaState.DEAD, ReplicaState.READY]
    assert chosen(roster, "llama").replica == B
    roster.suspect(B)
    assert refusal(roster) == "engine_gone"
    roster.update("llama", [A, B])
    assert roster.ready("llama") == 2


def test_replica_is_busier_while_requests_are_sent_to_it(roster: Roster) -> None:
    first = chosen(roster, "llama")
    with roster.sending(first), roster.sending(first):
        second = chosen(roster, "llama")
        assert second != first
        with roster.sending(second):
            assert chosen(roster, "llama").replica == second.replica
    assert chosen(roster, "llama").replica == first.replica


def test_request_that_failed_is_no_longer_counted(roster: Roster) -> None:
    first = chosen(roster, "llama")
    with pytest.raises(ConnectionError), roster.sending(first):
        raise ConnectionError
    assert chosen(roster, "llama").replica == first.replica


def test_new_config_forgets_models_and_expects_others(roster: Roster) -> None:
    roster.keep(["llama", "scout"])
    assert list(roster.models) == ["llama", "scout"]
    assert roster.ready("llama") == 2
    roster.keep(["scout"])
    assert roster.models == ("scout",)


def test_forgotten_model_does_not_come_back(roster: Roster) -> None:
    roster.keep([])
    roster.suspect(A)
    roster.update("llama", [A])
    assert not roster.models
    assert roster.replicas("llama") == ()
    with pytest.raises(ModelStopped, match=r"^The model 'llama' is stopped: its operator has taken its engines away") as refused:
        chosen(roster, "llama")
    assert (refused.value.status, refused.value.param, refused.value.reason) == (503, "model", "model_stopped")


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
        async with asyncio.timeout(10):
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
    assert chosen(roster, "llama").replica == A
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
    async with asyncio.timeout(10):
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


def test_replica_that_is_silent_is_out_when_its_machine_is_not_reached(roster: Roster) -> None:
    roster.silent(A, periods=0.5, reached=True)
    assert roster.ready("llama") == 2
    roster.silent(A, periods=1000.0, reached=False)
    assert [view.id for view in roster.replicas("llama") if view.state is ReplicaState.READY] == [B.id]


def test_prompt_that_another_gateway_has_sent_is_looked_for_where_it_went(roster: Roster) -> None:
    blocks = tuple(range(100))
    roster.learned(B, Prompt(blocks, 1600))
    pick = roster.choose("llama", Ask(Prompt(blocks, 1600)))
    assert pick is not None
    assert (pick.replica, pick.reason) == (B, Reason.PREFIX)


def test_replica_that_breaks_under_its_only_request_is_out_and_had_no_other(roster: Roster) -> None:
    with roster.sending(chosen(roster, "llama")) as sending:
        assert roster.lost(A, sending)
    assert roster.ready("llama") == 1

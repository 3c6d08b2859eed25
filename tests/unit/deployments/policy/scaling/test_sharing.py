"""A model's claim on GPUs, and its decision as far as they are granted."""

from dataclasses import asdict, replace
from typing import Any

import pytest

from cluster.scaling.decision import Decision
from cluster.scaling.schedules import schedule
from cluster.scaling.several import Claim, Grant
from cluster.scaling.state import State
from deployments.policy.scaling.replica_counts import Counts
from deployments.policy.scaling.sharing import NOT_KNOWN, Place, claimed, granted, kept, place_of, waiting
from deployments.policy.scaling.turn import Memory
from tests.unit.deployments.policy.scaling.samples import T, wanted

PLACE = Place(priority=2, gpus=4)
LIMITS = wanted(least=1, most=9).limits
DECISION = Decision(6, "7.1 replicas of load now: 6 instead of 3.", State())


def claim_of(decision: Decision = DECISION, memory: Memory | None = None, **limits: Any) -> Claim:
    return claimed("scout", PLACE, decision, memory or Memory(counts=Counts(3, 3)), replace(LIMITS, **limits), T)


def test_claim_has_what_the_model_asks_for_and_what_it_has() -> None:
    assert claim_of() == Claim("scout", 2, 6, 1, 3, 0, 4)
    assert claimed("scout", PLACE, DECISION, Memory(), LIMITS, T).present == 6, "before its first turn it is not moved"


@pytest.mark.parametrize(
    ("memory", "draining"),
    [
        (Memory(counts=Counts(3, 3, left_s=(T - 9, T - 11))), 1),
        (Memory(counts=Counts(3, 3, left_s=(T - 9,)), leaving=2), 2),
        (Memory(counts=Counts(3, 5)), 2),
        (Memory(counts=Counts(3, 1)), 0),
    ],
    ids=["was given up", "says so", "more than wanted", "starting"],
)
def test_trap_16_draining_replicas_hold_their_gpus_as_long_as_anything_says_so(memory: Memory, draining: int) -> None:
    assert claim_of(memory=memory).draining == draining


@pytest.mark.parametrize(
    ("decision", "memory", "least"),
    [
        (DECISION, Memory(counts=Counts(3, 3)), 1),
        (replace(DECISION, held="no report", target=3), Memory(counts=Counts(3, 3)), 3),
        (DECISION, Memory(counts=Counts(3, 3), rolling=True), 3),
        (replace(DECISION, target=0), Memory(counts=Counts(1, 1)), 0),
        (replace(DECISION, binds="schedule"), Memory(counts=Counts(3, 3)), 6),
    ],
    ids=["load", "trap 8: unknown load", "trap 23: two releases", "ceiling below the minimum", "hours"],
)
def test_model_keeps_what_it_must_not_lose(decision: Decision, memory: Memory, least: int) -> None:
    assert claim_of(decision, memory).least == least


@pytest.mark.parametrize(("hours", "least"), [("daily 00:00-24:00", 4), ("daily 02:00-02:01", 1)])
def test_floor_of_the_hour_comes_before_the_load_of_others(hours: str, least: int) -> None:
    assert claim_of(schedules=(schedule(hours, "UTC", 4),)).least == least


def test_model_that_tells_no_claim_keeps_what_it_has() -> None:
    assert kept(Claim("scout", 2, 6, 1, 3, 1, 4)) == Claim("scout", 2, 3, 3, 3, 1, 4)


def test_decision_that_is_granted_stays_and_one_that_is_not_says_why() -> None:
    assert granted(DECISION, Grant("scout", 6, 6, "scout: 6, as it asks for.")) == DECISION
    found = granted(DECISION, Grant("scout", 4, 4, "scout: 4 of the 6.", "other models"))
    assert (found.target, found.binds, found.state) == (4, "other models", DECISION.state)
    assert found.reason == "By itself: 7.1 replicas of load now: 6 instead of 3. Among all models: scout: 4 of the 6."


def test_nothing_is_added_while_it_is_not_known_what_there_is() -> None:
    found = waiting(DECISION, 3)
    assert (found.target, found.reason) == (3, f"By itself: {DECISION.reason} {NOT_KNOWN}")
    assert waiting(DECISION, 6) == DECISION


def test_place_is_read_from_a_policys_arguments() -> None:
    assert place_of(asdict(PLACE)) == PLACE
    assert place_of(None).gpus == 0
    with pytest.raises(TypeError):
        place_of({"of": "another release"})

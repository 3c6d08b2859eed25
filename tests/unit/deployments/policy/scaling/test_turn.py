"""One turn of a model's scaling: what is seen becomes a number, and what is remembered survives the controller."""

from dataclasses import replace
from itertools import pairwise

import msgspec
import pytest

from cluster.planner.speed import StepCosts
from cluster.scaling.limits import Tuning
from cluster.scaling.pace import Replica
from cluster.scaling.schedules import schedule
from cluster.scaling.work import Slo
from deployments.policy.queue.load_record import EngineLoads
from deployments.policy.records import verdict as verdicts
from deployments.policy.scaling.load_report import FORGOTTEN_S, Unit
from deployments.policy.scaling.turn import Memory, Seen, memory_key, read, turn, written
from deployments.policy.scaling.wanted import Wanted, as_plain, of_plain
from tests.unit.deployments.policy.scaling.samples import T, bucket, record, wanted


def after_load(requests: float, seconds: int = 60, ready: int = 1, then: Wanted | None = None) -> tuple[int, Memory]:
    """The target after so many requests in each bucket for some seconds, each of which stays 4 s at a replica; and the memory."""
    target, memory, limits = 1, Memory(), wanted() if then is None else then
    for now in range(0, seconds, 2):
        told = record(now + 0.1, *(bucket(step, requests) for step in range(now // 5 + 1)))
        decision, memory = turn(memory, Seen(target, ready, (told,)), limits, T + now + 0.2)
        memory, target = read(written(memory)), decision.target
    return target, memory


def test_load_brings_replicas() -> None:
    assert after_load(0.2)[0] == 1
    assert after_load(7.5)[0] >= 3, "1.5 requests a second for 4 s are 6 in flight, of which a replica carries 2"


def test_trap_1_target_is_held_and_not_the_running_replicas_where_nobody_tells_anything() -> None:
    decision, _ = turn(Memory(), Seen(3, 1), wanted(), T)
    assert (decision.target, decision.held) == (3, "no report")


def test_trap_8_target_is_held_while_the_store_does_not_answer() -> None:
    target, memory = after_load(7.5)
    seen = Seen(target, target, error="RpcError: the head is away")
    decision, memory = turn(memory, seen, wanted(), T + 62)
    assert (decision.target, decision.held) == (target, "failed report")
    assert "the head is away" in decision.reason


def test_trap_8_gateway_whose_record_cannot_be_read_keeps_replicas_from_going() -> None:
    target, memory = after_load(7.5)
    targets = []
    for now in range(60, 400, 2):
        decision, memory = turn(memory, Seen(target, target, (record(now),), missing=1), wanted(), T + now)
        targets.append(decision.target)
    assert min(targets) == target


def test_replicas_go_one_at_a_time_when_the_load_has_gone() -> None:
    target, memory = after_load(7.5)
    steps = [target]
    for now in range(60, 900, 2):
        decision, memory = turn(memory, Seen(steps[-1], steps[-1], (record(now),)), wanted(), T + now)
        steps.append(decision.target)
    assert steps[-1] == 1
    assert all(before - after in (0, 1) for before, after in pairwise(steps))


def test_trap_7_record_of_a_gateway_that_is_long_gone_is_no_gateway() -> None:
    decision, _ = turn(Memory(), Seen(2, 2, (record(0),)), wanted(), T + FORGOTTEN_S + 1)
    assert decision.held == "no report"


def test_trap_4_gateways_of_another_release_hold_the_target() -> None:
    decision, _ = turn(Memory(), Seen(2, 2, (record(0, bucket(-1, 1), release="0.9"),)), wanted(), T + 1)
    assert decision.held == "other release"


def test_trap_5_and_6_model_without_a_replica_gets_as_many_as_its_first_requests_need() -> None:
    limits = wanted(least=0, clear_s=10.0)
    engines = EngineLoads()
    told = [record(now, bucket(0, 20), waiting=20, waiting_tokens=2000.0, engines=engines) for now in (5.5, 7.5)]
    decision, _ = turn(Memory(), Seen(0, 0, told[:1]), limits, T + 6)
    assert decision.target > 1, "20 requests wait of which a replica carries two, and Ray's own way would start one"


def test_trap_16_replicas_that_leave_still_hold_their_gpus() -> None:
    limits = wanted(gpus_per_replica=2.0, gpus_most=8.0)
    told = record(5.5, bucket(0, 100), engines=EngineLoads(ready=1, leaving=2))
    decision, _ = turn(Memory(), Seen(1, 1, (told,)), limits, T + 6)
    assert (decision.target, decision.binds) == (2, "gpus")


def test_trap_16_replicas_that_were_given_up_a_moment_ago_hold_their_gpus_too() -> None:
    limits = wanted(gpus_per_replica=2.0, gpus_most=8.0, drain_s=60.0)
    _, memory = turn(Memory(), Seen(3, 3, (record(0.5),)), limits, T + 1)
    _, memory = turn(memory, Seen(1, 3, (record(2.5),)), limits, T + 3)
    decision, _ = turn(read(written(memory)), Seen(1, 1, (record(5.5, bucket(0, 100)),)), limits, T + 6)
    assert (decision.target, decision.binds) == (2, "gpus"), "room for four, of which two drain"


def test_trap_23_no_replica_goes_while_an_upgrade_has_two_versions_side_by_side() -> None:
    target, memory = after_load(7.5)
    for now in range(60, 600, 2):
        told = record(now, engines=EngineLoads(ready=target, kinds=2))
        decision, memory = turn(memory, Seen(target, target, (told,)), wanted(), T + now)
        assert decision.target >= target


ZERO = wanted(least=0, idle_s=10.0, expected_start_s=200.0)


def woken(ready_at: float) -> list[tuple[int, str]]:
    """A model without a replica, to which 40 requests come at 5 s, whose clients hang up at 8 s: what is decided every two seconds."""
    memory, steps = Memory(), [(0, "")]
    for step in range(3, 100):
        now = step * 2.0
        came = [bucket(0, 0), bucket(1, 40)] if now >= 6 else [bucket(0, 0)]
        told = record(now, *came, waiting=40 if 6 <= now < 8 else 0, engines=EngineLoads())
        target = steps[-1][0]
        ready = target if now >= ready_at else 0
        decision, memory = turn(read(written(memory)), Seen(target, ready, (told,)), ZERO, T + now)
        steps.append((decision.target, decision.reason))
    return steps


@pytest.mark.parametrize("ready_at", [150.0, 1000.0], ids=["ready", "never"])
def test_start_from_zero_is_finished_though_nobody_waits_any_more(ready_at: float) -> None:
    steps = woken(ready_at)
    assert max(target for target, _ in steps) > 1, "40 requests need several"
    at = {6.0 + 2 * index: target for index, (target, _) in enumerate(steps[1:])}
    assert all(target >= 1 for now, target in at.items() if now < ready_at + ZERO.limits.idle_s)
    assert any("a start that has begun is finished, and its replica is kept for 10 s" in why for _, why in steps)
    if ready_at < 200:
        assert 0 in [at[now] for now in at if now <= ready_at + ZERO.limits.idle_s + 2]


def test_ceiling_is_one_for_a_start_from_zero_too() -> None:
    poor = replace(ZERO, limits=replace(ZERO.limits, gpu_hour_price=2.0, hour_price_most=1.0))
    decision, _ = turn(Memory(), Seen(1, 0, (record(6, bucket(0, 0)),)), poor, T + 6)
    assert (decision.target, decision.binds) == (0, "money")


def test_start_from_zero_whose_load_is_not_known_goes_on() -> None:
    decision, _ = turn(Memory(), Seen(1, 0), ZERO, T)
    assert (decision.target, decision.held) == (1, "no report")


def test_memory_of_another_release_is_a_fresh_one() -> None:
    assert read(None) == read("{") == read('{"counts": 3}') == Memory()


def test_memory_is_kept_by_model() -> None:
    assert memory_key("org/scout") != memory_key("org/maverick")


@pytest.mark.parametrize(
    "told",
    [
        wanted(),
        wanted("tokens", ranks=4, slo=Slo(1.0, 0.05), schedules=(schedule("weekdays 08:00-18:00", "Europe/Berlin", 2),)),
        wanted("tokens", slo=Slo(1.0, 0.05), replica=Replica(StepCosts(*(0.001,) * 9, 8192, 1), 8192, 64, 1e5)),
        wanted(tuning=Tuning(forecast="last"), gpus_most=8.0, hour_price_most=10.0, gpu_hour_price=2.0),
    ],
)
def test_what_a_policy_is_told_survives_json(told: Wanted) -> None:
    assert of_plain(msgspec.json.decode(msgspec.json.encode(as_plain(told)))) == told


@pytest.mark.parametrize(("unit", "target"), [("tokens", 2.0), ("requests", 32.0)])
def test_ranks_that_report_for_themselves_teach_what_whole_replicas_do(unit: Unit, target: float) -> None:
    """Two replicas are full, and one leaves; of four ranks each, so that gateways hear of eight and four."""

    def learned(ranks: int) -> tuple[list[str], Memory]:
        memory, reasons = Memory(), list[str]()
        engines = EngineLoads(ready=2 * ranks, leaving=ranks, room=16 // ranks, youngest_s=500.0)
        for now in range(6, 120, 2):
            told = (bucket(step, 5, 500, answered_prompt_tokens=500, answer_tokens=500, waited=True) for step in range(now // 5))
            one = record(now, *told, waiting=9, running=32, engines=engines)
            decision, memory = turn(memory, Seen(2, 2, (one,)), wanted(unit, target, ranks), T + now + 0.2)
            reasons.append(decision.reason)
        return reasons, memory

    assert learned(4) == learned(1)


def test_fixed_number_of_replicas_does_not_move() -> None:
    assert wanted().moves
    assert not replace(wanted(), limits=replace(wanted().limits, most=1)).moves


def test_verdict_tells_a_decision_and_survives_its_writing() -> None:
    decision, _ = turn(Memory(), Seen(9, 1, (record(5.5, bucket(0, 1)),)), wanted(), T + 6)
    found = verdicts.of(decision, 9, "No number meets it.", T)
    assert (found.target, found.before, found.binds, found.held, found.notice) == (4, 9, "max_replicas", "", "No number meets it.")
    assert found.reason == decision.reason
    assert verdicts.read(verdicts.written(found)) == found
    assert verdicts.read(None) is verdicts.read("{}") is None
    assert verdicts.key("a") != verdicts.key("b")

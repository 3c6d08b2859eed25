"""The traps of autoscaling that a pure decision can fall into, each with a test named after it.

Numbers are those of the list in issue 22. Of the adapter's and the simulator's traps, some have a side that is decided here.
"""

from dataclasses import fields, replace
from math import ceil, inf, nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scaling.decide import decide
from cluster.scaling.demand import start_s
from cluster.scaling.limits import Limits, Tuning
from cluster.scaling.observation import Bucket, Observation, Report, Served, Start
from cluster.scaling.schedules import schedule
from cluster.scaling.several import Claim, share
from cluster.scaling.state import State, from_json
from cluster.scaling.work import NO_WORK, Pace, Slo, Work
from tests.unit.cluster.scaling.seen import EACH, FRESH, LIMITS, NOW, PACE, PLAIN, buckets, report, seen, settled, shifted

BARE = replace(LIMITS, tuning=PLAIN)


@pytest.mark.parametrize("running", [2, 5])
def test_trap_01_unknown_load_holds_the_target_and_not_the_running_replicas(running: int) -> None:
    found = decide(Observation(5, running, (Start(NOW),) * (5 - running)), LIMITS, FRESH, NOW)
    assert (found.target, found.held) == (5, "no report")


NUMBERS = st.floats(allow_nan=True) | st.integers(-5, 10**9).map(float)
WORKS = st.builds(Work, NUMBERS, NUMBERS, NUMBERS)
BUCKETS = st.builds(Bucket, st.just(NOW - 10) | NUMBERS, st.just(10.0) | NUMBERS, NUMBERS, WORKS, NUMBERS)
REPORTS = st.builds(
    Report,
    taken_s=st.just(NOW) | NUMBERS,
    arrivals=st.lists(BUCKETS, max_size=4).map(tuple),
    backlog=WORKS,
    waiting_requests=NUMBERS,
    running_requests=NUMBERS,
    in_flight=WORKS,
    start_times_s=st.lists(NUMBERS, max_size=3).map(tuple),
    served=st.lists(st.builds(Served, NUMBERS, NUMBERS, WORKS, NUMBERS, NUMBERS), max_size=3).map(tuple),
    missing=st.integers(0, 2),
)


@given(
    st.builds(
        Observation,
        target=st.integers(0, 200),
        ready=st.integers(0, 200),
        starting=st.lists(st.builds(Start, NUMBERS, st.integers(0, 9)), max_size=3).map(tuple),
        draining=st.integers(0, 200),
        report=REPORTS,
    ),
    st.sampled_from([0, 1, 7]),
)
def test_trap_03_decision_raises_for_no_observation_and_stays_within_the_range(observation: Observation, least: int) -> None:
    state, limits = FRESH, replace(LIMITS, least=least)
    for later in (0, 5, 60, 4000):
        found = decide(observation, limits, state, NOW + later)
        assert least <= found.target <= limits.most
        assert from_json(found.state.to_json()) == found.state
        state = found.state


def test_trap_04_report_of_another_release_holds_the_target() -> None:
    found = decide(seen(9, report(release="0.1.0")), replace(LIMITS, release="0.2.0"), FRESH, NOW)
    assert (found.target, found.held) == (9, "other release")
    assert "'0.1.0'" in found.reason
    assert "'0.2.0'" in found.reason


def test_trap_03_amounts_below_nothing_raise_nothing() -> None:
    below = Work(-5.0, -5.0, -5.0)
    assert decide(seen(5, replace(report(), arrivals=buckets([1.0] * 3, below))), LIMITS, FRESH, NOW).target == 5


ZERO = replace(BARE, least=0)


def test_trap_05_held_requests_of_a_model_without_replicas_start_one() -> None:
    found = decide(seen(0, report([0.0] * 70, waiting=1)), ZERO, FRESH, NOW)
    assert found.target == 1


def test_trap_05_model_at_zero_without_requests_stays_there_even_where_its_history_was_lost() -> None:
    assert decide(seen(0, report([0.0] * 70)), ZERO, FRESH, NOW).target == 0
    assert decide(seen(0, report([0.0] * 3)), ZERO, FRESH, NOW).target == 0
    assert decide(seen(0, Report(NOW)), ZERO, FRESH, NOW).target == 0


def test_trap_06_from_zero_as_many_start_as_the_held_requests_need() -> None:
    found = decide(seen(0, report([0.0] * 69 + [6.0], waiting=60)), ZERO, FRESH, NOW)
    assert found.target >= 6


@pytest.mark.parametrize("age_s", [31, 3600])
def test_trap_07_stale_report_holds_the_target(age_s: float) -> None:
    found = decide(seen(5, report([40.0] * 60, now=NOW - age_s)), LIMITS, FRESH, NOW)
    assert (found.target, found.held) == (5, "stale report")


def test_trap_08_lost_reports_are_not_idleness() -> None:
    state = settled(seen(5, report([4.5] * 60)), BARE).state
    for later in range(65, 600, 5):
        found = decide(Observation(5, 5), BARE, state, NOW + later)
        state = found.state
        assert found.target == 5
    back = seen(5, report([0.0] * 5, now=NOW + 600))
    assert decide(back, BARE, state, NOW + 600).target == 5, "what was seen before the outage does not count as patience"


def test_trap_08_reports_of_some_gateways_only_buy_and_never_shed() -> None:
    assert settled(seen(5, report([1.0] * 60, missing=1)), BARE, 600).target == 5
    assert settled(seen(5, report([8.0] * 60, missing=1)), BARE).target > 5
    assert settled(seen(5, report([1.0] * 60)), BARE, 600).target == 4


def test_trap_08_gap_in_the_history_is_not_a_load_of_nothing() -> None:
    gap = replace(report(), arrivals=(*buckets([4.0] * 20, until=NOW - 300), *buckets([4.0] * 3)))
    assert decide(seen(5, gap), BARE, FRESH, NOW).demand == pytest.approx(4.0)


@pytest.mark.parametrize("wrong", [nan, inf, 1e160])
def test_trap_08_number_that_is_none_holds_the_target_and_is_not_remembered(wrong: float) -> None:
    found = decide(seen(5, report(backlog=Work(wrong))), LIMITS, FRESH, NOW)
    assert (found.target, found.held) == (5, "failed report")
    poisoned = replace(report(), arrivals=(*buckets([4.0] * 20, until=NOW - 10), Bucket(NOW - 10, 10, 1, Work(wrong))))
    assert decide(seen(5, poisoned), BARE, FRESH, NOW).demand == pytest.approx(4.0)


def test_trap_09_starting_replicas_are_counted_and_none_is_bought_twice() -> None:
    starting = [Start(NOW - 20)] * 3
    observation = seen(8, report([7.9] * 60), starting)
    assert settled(observation, BARE, 60).target == 8


def test_trap_09_backlog_that_starting_replicas_will_have_cleared_buys_nothing() -> None:
    waits = report([5.0] * 60, waiting=200)
    assert decide(seen(8, waits, [Start(NOW - 95)] * 3), BARE, FRESH, NOW).target == 8
    assert decide(seen(8, waits, [Start(NOW)] * 3), BARE, FRESH, NOW).target > 8, "these come too late for it"


@pytest.mark.parametrize("start", [Start(NOW - 301), Start(NOW - 5, failures=2)], ids=["overdue", "failed"])
def test_trap_09_start_that_does_not_end_is_made_up_for(start: Start) -> None:
    found = decide(seen(5, report([4.5] * 60), [start]), BARE, FRESH, NOW)
    assert found.target == 6
    assert "1 starting that do not become ready" in found.reason


def test_trap_09_where_all_starts_fail_only_one_more_is_tried() -> None:
    target, failed = 5, [Start(NOW - 1000, 9)]
    for _ in range(10):
        target = decide(seen(target, report([4.5] * 60), failed), BARE, FRESH, NOW).target
        failed = [Start(NOW - 1000, 9)] * (target - 4)
    assert target == 6


def under_backlog(work: float, youngest_s: float = 1000.0, itl_s: float = 0.0, each: Work = EACH) -> tuple[Served, ...]:
    return tuple(Served(NOW - 50 + 10 * index, 10 * 5, each.times(10 * 5 * work), youngest_s, itl_s) for index in range(6))


def test_trap_10_cold_starts_do_not_teach_the_pace() -> None:
    cold = decide(seen(5, report(served=under_backlog(0.3, youngest_s=20))), LIMITS, FRESH, NOW)
    assert cold.state.factor == 1
    warm = decide(seen(5, report(served=under_backlog(0.7))), LIMITS, FRESH, NOW)
    assert 0.7 < warm.state.factor < 1
    again = decide(seen(5, report(served=under_backlog(0.7))), LIMITS, warm.state, NOW)
    assert again.state.factor == warm.state.factor, "what was learned is not learned twice"


def test_trap_10_without_a_backlog_nothing_teaches_and_what_is_learned_is_bounded() -> None:
    assert settled(seen(5), LIMITS, 600).state.factor == 1
    state = FRESH
    for later in range(0, 10_000, 60):
        moved = tuple(replace(one, ended_s=one.ended_s + later) for one in under_backlog(9.0))
        state = decide(shifted(seen(5, report(served=moved)), later), LIMITS, state, NOW + later).state
    assert state.factor == 2


def test_trap_10_pace_beyond_the_objective_teaches_downwards_only() -> None:
    limits = replace(LIMITS, slo=Slo(2, 0.05))
    assert decide(seen(5, report(served=under_backlog(1.5, itl_s=0.2))), limits, FRESH, NOW).state.factor == 1
    assert decide(seen(5, report(served=under_backlog(1.5, itl_s=0.04))), limits, FRESH, NOW).state.factor > 1
    assert decide(seen(5, report(served=under_backlog(0.6, itl_s=0.2))), limits, FRESH, NOW).state.factor < 1


def test_trap_11_occupancy_is_not_capacity() -> None:
    """A KV cache that is 16 % full says nothing of what a replica can do: the time of prompts and answers asks for more all the same."""
    assert EACH.kv_token_s * 4.5 / 5 / PACE.kv_tokens < 0.2
    assert settled(seen(2, report([4.5] * 60)), BARE).target == 5
    full = Work(50, 5, 90_000)
    rates = replace(report(), arrivals=buckets([4.5] * 60, full))
    assert settled(seen(2, rates), BARE).target == ceil(4.5 * 0.9), "and where the cache is the scarcer, it counts"
    served = report(served=under_backlog(1.0, each=full))
    assert decide(seen(5, served), BARE, FRESH, NOW).state.factor == 1, "an engine without free blocks shows nothing of its speed"


def test_trap_12_longer_prompts_at_the_same_rate_are_more_load() -> None:
    longer = replace(report(), arrivals=buckets([4.0] * 30, until=NOW - 100) + buckets([4.0] * 10, replace(EACH, prefill_tokens=20_000)))
    assert decide(seen(5, longer), BARE, FRESH, NOW).target >= 9


def hits(share: float, rates: int = 60, until: float = NOW) -> tuple[Bucket, ...]:
    """Four requests a second whose prompts of 10,000 tokens are in caches by a share."""
    return buckets([4.0] * rates, Work(10_000 * (1 - share), 500, 20_000), until, 10_000 * share)


def test_trap_12_misses_of_new_replicas_caches_buy_no_more_replicas() -> None:
    before = settled(seen(5, replace(report(), arrivals=hits(0.5))), BARE, 600)
    state, target = before.state, before.target
    for later in range(610, 780, 10):
        arrivals = (*hits(0.5, 20, NOW + 600), *hits(0.0, (later - 600) // 10, NOW + later))
        observation = seen(target, replace(report(now=NOW + later), arrivals=arrivals), ready=6)
        found = decide(observation, BARE, state, NOW + later)
        state = found.state
        assert found.target == target, "caches of new replicas are empty for a while"
    for later in range(780, 900, 10):
        arrivals = (*hits(0.5, 20, NOW + 600), *hits(0.0, (later - 600) // 10, NOW + later))
        found = decide(seen(target, replace(report(now=NOW + later), arrivals=arrivals), ready=6), BARE, state, NOW + later)
        state = found.state
    assert found.target > target, "but not for ever"


def test_trap_12_step_down_leaves_room_for_the_prompts_that_are_lost_from_caches() -> None:
    cached = replace(report(), arrivals=buckets([3.9] * 60, cached=10_000))
    assert settled(seen(5, report([3.9] * 60)), BARE, 2400).target == 4
    assert settled(seen(5, cached), BARE, 2400).target == 5


def test_trap_13_closed_loop_of_clients_ends_where_their_requests_wait_no_longer() -> None:
    """300 clients who ask again as soon as they are answered: at more than its pace a replica still gets a little faster with its batch."""
    clients, target, state, ready = 300.0, 2, FRESH, 2
    starts: list[float] = []
    history: list[Bucket] = []
    for turn in range(720):
        now = NOW + 10 * turn
        ready += sum(begun + 100 <= now for begun in starts)
        starts = [begun for begun in starts if begun + 100 > now]
        running = min(clients, 100.0 * ready)
        batch = running / ready
        rate = ready * batch / (20 + 0.667 * batch)  # one request a second at a batch of 60
        history.append(Bucket(now - 10, 10, 10 * rate, EACH.times(10 * rate)))
        waiting = clients - running
        seen_now = Report(now, tuple(history[-360:]), EACH.times(waiting), waiting, running, (100.0,) * 5)
        found = decide(Observation(target, ready, tuple(Start(one) for one in starts), report=seen_now), LIMITS, state, now)
        state = found.state
        starts += [now] * (found.target - target)
        ready -= max(0, target - found.target)
        target = found.target
    assert 6 <= target <= 14
    assert target * 60 >= clients


def test_trap_14_latency_of_a_new_replica_cannot_buy_another() -> None:
    """All traffic that a router sends to a new replica makes its first tokens slow: the decision sees work, and no latency at all."""
    names = {field.name for kind in (Observation, Report, Bucket, Start) for field in fields(kind)}
    assert not any("ttft" in name or "latency" in name for name in names)
    assert settled(seen(6, report([5.5] * 60)), BARE, 600).target == 6


def test_trap_15_objective_that_no_number_of_replicas_meets_is_said_once_and_not_bought() -> None:
    limits = replace(BARE, unmeetable="no number of replicas meets slo.ttft_s 0.1")
    first = decide(seen(5, report([4.5] * 60)), limits, FRESH, NOW)
    second = decide(seen(5, report([4.5] * 60)), limits, first.state, NOW)
    assert (first.notice, second.notice) == (limits.unmeetable, "")
    assert (first.target, second.target) == (5, 5)
    mended = decide(seen(5, report([4.5] * 60)), BARE, second.state, NOW)
    assert decide(seen(5, report([4.5] * 60)), limits, mended.state, NOW).notice == limits.unmeetable, "a new config is told anew"


def test_trap_16_draining_replicas_hold_their_gpus() -> None:
    limits = replace(BARE, gpus_per_replica=2, gpus_most=16)
    found = decide(seen(5, report([12.0] * 60), draining=2), limits, FRESH, NOW)
    assert (found.target, found.binds) == (6, "gpus")
    assert decide(seen(5, report([12.0] * 60)), limits, FRESH, NOW).target == 8
    assert decide(seen(7, report([12.0] * 60), draining=3), limits, FRESH, NOW).target == 7, "what is asked for keeps its claim"


def test_trap_18_counts_are_whole_replicas() -> None:
    """Gangs: Ray's counts of ranks become replicas before the decision and ranks after it, so no part of a gang can be asked for."""
    assert isinstance(settled(seen(2, report([4.3] * 60)), BARE).target, int)


def test_trap_20_several_models_never_ask_for_more_gpus_than_exist() -> None:
    scout, maverick = share([Claim("scout", 0, 8, 1, 8), Claim("maverick", 1, 1, 0, 0, gpus_per_replica=4)], 8)
    assert (scout.target, maverick.target, maverick.due) == (4, 0, 1), "the start waits for the drain"
    scout, maverick = share([Claim("scout", 0, 8, 1, 4, draining=4), Claim("maverick", 1, 1, 0, 0, gpus_per_replica=4)], 8)
    assert (scout.target, maverick.target) == (4, 0)
    scout, maverick = share([Claim("scout", 0, 8, 1, 4), Claim("maverick", 1, 1, 0, 0, gpus_per_replica=4)], 8)
    assert (scout.target, maverick.target) == (4, 1)


@pytest.mark.parametrize(
    ("limits", "target", "binds"),
    [
        ({}, 12, None),
        ({"most": 9}, 9, "max_replicas"),
        ({"most": 9, "gpu_hour_price": 2.0, "hour_price_most": 15.0}, 7, "money"),
        ({"most": 9, "gpu_hour_price": 2.0, "hour_price_most": 15.0, "gpus_most": 6}, 6, "gpus"),
        ({"most": 9, "gpu_hour_price": 2.0, "hour_price_most": 50.0, "gpus_most": 20}, 9, "max_replicas"),
        ({"least": 20}, 20, "min_replicas"),
        ({"least": 20, "gpu_hour_price": 2.0, "hour_price_most": 15.0}, 7, "money"),
        ({"least": 13, "schedules": (schedule("daily 00:00-24:00", "UTC", 15),)}, 15, "schedule"),
        ({"least": 16, "schedules": (schedule("daily 00:00-24:00", "UTC", 15),)}, 16, "min_replicas"),
        ({"gpus_most": 9, "schedules": (schedule("daily 00:00-24:00", "UTC", 15),)}, 9, "gpus"),
        ({"hour_price_most": 3.0}, 12, None),
    ],
)
def test_trap_21_limits_have_one_order_and_the_one_that_binds_is_named(limits: dict[str, Any], target: int, binds: str | None) -> None:
    found = decide(seen(11, report([11.5] * 60)), replace(BARE, **limits), FRESH, NOW)
    assert (found.target, found.binds) == (target, binds)
    assert binds is None or f"by {binds}" in found.reason


def test_trap_22_schedule_that_ends_at_a_peak_drops_nothing_that_is_needed() -> None:
    night = replace(BARE, schedules=(schedule("daily 00:00-00:01", "UTC", 50),))
    assert settled(seen(50, report([45.5] * 60)), night, 2400).target >= 46
    assert settled(seen(50, report([49.5] * 60)), night, 600).target == 50


def test_trap_22_floor_leads_by_the_start_time_and_holds_while_the_load_is_unknown() -> None:
    midnight = NOW - NOW % 86_400 + 86_400
    floor = replace(BARE, schedules=(schedule("daily 00:00-12:00", "UTC", 6),))
    early = seen(1, report([0.5] * 60, now=midnight - 110))
    assert decide(early, floor, FRESH, midnight - 110).target == 1
    due = seen(1, report([0.5] * 60, now=midnight - 99))
    assert decide(due, floor, FRESH, midnight - 99).target == 6
    found = decide(Observation(1, 1), floor, FRESH, midnight + 60)
    assert (found.target, found.binds, found.held) == (6, "schedule", "no report")


def test_trap_23_rollout_counts_both_releases_and_gives_none_up() -> None:
    assert settled(seen(5, report([1.0] * 60), rolling=True), BARE, 600).target == 5
    assert settled(seen(5, report([7.5] * 60), rolling=True), BARE).target == 8


def test_trap_25_refused_requests_are_load_though_none_of_them_is_served() -> None:
    refused = replace(report(), arrivals=buckets([9.5] * 60), backlog=NO_WORK, waiting_requests=0.0, running_requests=4.0)
    assert settled(seen(4, refused), BARE).target == 10


def test_trap_28_constants_hold_no_number_of_a_trace() -> None:
    """The rule is tuned in seconds and shares; a model's own numbers are its pace and its start times, which it measures."""
    assert all(isinstance(getattr(Tuning(), field.name), float | str) for field in fields(Tuning))
    doubled = replace(LIMITS, pace=Pace(2 * PACE.prefill_tokens_s, 2 * PACE.decode_tokens_s, 2 * PACE.kv_tokens))
    twice = replace(report(), arrivals=buckets([8.0] * 60))
    assert settled(seen(5, twice), doubled).target == settled(seen(5), LIMITS).target


def test_trap_29_draining_and_starting_replicas_are_in_the_observation_for_who_counts_gpu_hours() -> None:
    assert {"starting", "draining"} <= {field.name for field in fields(Observation)}


def test_start_time_is_the_ninetieth_percentile_of_those_that_were_measured() -> None:
    assert start_s(report(start_times_s=tuple(float(one) for one in range(1, 11))), LIMITS) == 10
    assert start_s(report(start_times_s=(nan, inf, -1.0)), LIMITS) == LIMITS.expected_start_s
    assert State().track.seen == 0
    assert isinstance(Limits(PACE, 1, 2), Limits)

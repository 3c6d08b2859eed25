"""`cluster.scaling.decide`: up at once, down with patience, to zero and back, and what it says of it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scaling.decide import bounded, decide
from cluster.scaling.decision import cost
from cluster.scaling.limits import Limits, Tuning
from cluster.scaling.observation import Observation, Report, Start
from cluster.scaling.state import State
from cluster.scaling.work import NO_WORK, Pace, Slo, Work
from tests.unit.cluster.scaling.seen import FRESH, LIMITS, NOW, PLAIN, buckets, report, seen, settled, shifted

BARE = replace(LIMITS, tuning=PLAIN)


@given(st.floats(0.1, 60), st.integers(1, 80))
def test_settled_target_carries_the_load_and_margin_is_bought_with_it(load: float, target: int) -> None:
    observation = seen(target, report([load] * 60))
    assert settled(observation, BARE).target >= min(target, load) - 1e-6
    with_margin = settled(observation, LIMITS)
    assert with_margin.target >= min(target, load) - 1e-6
    assert with_margin.wanted >= with_margin.demand


def test_all_that_is_missing_is_bought_at_once() -> None:
    assert decide(seen(2, report([17.5] * 60)), BARE, FRESH, NOW).target == 18


@pytest.mark.parametrize(("spare", "bought"), [(0.6, 5), (0.8, 6), (0.2, 5)])
def test_need_becomes_whole_replicas_by_rounding_but_half_of_a_small_margin_stays(spare: float, bought: int) -> None:
    """A load of 4 replicas with margins of 1.2, 1.6 and 0.4; rounded up, all of these but the last would be 6."""
    assert decide(seen(2, report([4.0] * 60)), replace(LIMITS, tuning=replace(PLAIN, spare=spare)), FRESH, NOW).target == bought


def test_target_goes_down_to_what_a_rounded_need_is_and_stays_there() -> None:
    spare = replace(LIMITS, tuning=replace(PLAIN, spare=0.6))
    observation, state, targets = seen(8, report([4.0] * 60)), FRESH, []
    for later in range(0, 400, 5):
        found = decide(shifted(observation, later), spare, state, NOW + later)
        state, observation = found.state, replace(observation, target=found.target, ready=found.target)
        targets.append(found.target)
    assert targets[-1] == targets[-20] == 5


def test_what_waits_is_bought_by_the_time_that_clearing_it_may_take() -> None:
    waits = seen(5, report([4.9] * 60, waiting=180))
    assert decide(waits, BARE, FRESH, NOW).target == 8
    assert decide(waits, replace(BARE, clear_s=180), FRESH, NOW).target == 6


def test_what_will_wait_when_a_start_is_over_is_bought_at_once_where_replicas_are_behind() -> None:
    """4 replicas are missing for the 60 s that a backlog may last: 4 more, beside half a replica for what waits."""
    behind = seen(2, report([6.0] * 60, waiting=30))
    assert decide(behind, BARE, FRESH, NOW).target == 11
    assert decide(behind, replace(BARE, slo=Slo(16.0, 0.1)), FRESH, NOW).target == 7, "it can begin within its objective yet"
    assert decide(behind, replace(BARE, slo=Slo(3.0, 0.1)), FRESH, NOW).target == 11


def test_start_that_was_bought_for_what_will_wait_is_not_taken_back_while_that_is_expected() -> None:
    bought = seen(11, report([6.0] * 60, waiting=30), [Start(NOW - 5)] * 9)
    found = settled(bought, BARE, 45)
    assert found.target == 11
    assert not found.state.regrets
    assert settled(bought, BARE, 90).target == 7, "the starts are nearly over, and what waits then is little"
    assert decide(seen(2, report([6.0] * 60)), BARE, FRESH, NOW).target == 6


def test_nothing_is_given_up_while_more_is_in_flight_than_the_others_should_carry() -> None:
    """As seen in a whole herd: 50 clients that ask again when they are answered; one replica of twelve requests is full, and two start."""
    by_twelve = replace(BARE, pace=Pace(1e12, 1e12, 12.0), clear_s=10)
    each = Work(kv_token_s=2.0)
    full = replace(
        report(waiting=38),
        arrivals=buckets([3.6] * 60, each),
        backlog=each.times(38),
        running_requests=12.0,
        in_flight=Work(kv_token_s=50.0),
    )
    starts = [Start(NOW - 5)] * 2
    found = settled(seen(3, full, starts), by_twelve, 120)
    assert found.target == 3
    assert found.reason.endswith(", 4.2 for what waits or runs: 3 stay while that would not fit into fewer, for 3 GPUs.")
    over = replace(full, waiting_requests=0.0, backlog=NO_WORK, in_flight=NO_WORK)
    assert settled(seen(3, over, starts), by_twelve, 120).target == 1, "all of them have been answered"


def followed(observation: Observation) -> list[int]:
    """Returns the targets of 200 s under the same load, one each 5 s; replicas follow at once."""
    state, targets = FRESH, []
    for later in range(0, 200, 5):
        found = decide(shifted(observation, later), BARE, state, NOW + later)
        state, observation = found.state, replace(observation, target=found.target, ready=found.target)
        targets.append(found.target)
    return targets


def test_steps_down_are_one_by_one_and_each_waits_for_evidence() -> None:
    targets = followed(seen(7, report([4.5] * 60)))
    assert targets[:9] == [7] * 9, "patience"
    assert {one - other for one, other in pairwise(targets)} == {0, 1}
    assert targets[-1] == 5
    assert sum(one == 6 for one in targets) == 3, "15 s between two steps"


def test_many_replicas_that_nobody_needs_go_by_quarters() -> None:
    targets = followed(seen(32, report([4.5] * 60)))
    assert [one for one, other in pairwise(targets) if one != other] == [32, 24, 18, 14, 11, 9, 7, 6]
    assert targets[-1] == 5


def test_headroom_is_the_margin_where_it_is_more_than_what_was_learned() -> None:
    four, twice = seen(4, report([4.0] * 60)), replace(BARE, headroom=1.0)
    found = decide(four, twice, FRESH, NOW)
    assert found.target == 8
    assert found.wanted == pytest.approx(8.0)
    assert "4.0 of margin by scaling.headroom" in found.reason
    wide = replace(twice, tuning=replace(BARE.tuning, spare=3.0))
    assert decide(four, wide, FRESH, NOW).wanted == pytest.approx(10.0), "learned room is part of it"
    assert "scaling.headroom" not in decide(four, wide, FRESH, NOW).reason
    assert "scaling.headroom" not in decide(seen(1, report([0.0] * 60)), twice, FRESH, NOW).reason
    assert settled(seen(9, report([4.0] * 60)), twice, 2400).target == 8, "a step down leaves it, too"


def test_replicas_that_are_not_ready_go_together() -> None:
    observation = replace(seen(12, report([4.5] * 60)), ready=5)
    assert settled(observation, BARE, 45).target == 5


def steadily(target: int, loads: Sequence[float], state: State = FRESH, begun: float = NOW) -> tuple[list[int], State]:
    """The targets while one bucket after the other comes, each step being taken."""
    targets = []
    for count in range(1, len(loads) + 1):
        now = begun + 10 * count
        found = decide(seen(target, replace(report(now=now), arrivals=buckets(loads[:count], until=now))), BARE, state, now)
        target, state = found.target, found.state
        targets.append(target)
    return targets, state


def test_one_replica_less_by_a_hair_is_waited_for_long() -> None:
    targets, _ = steadily(5, [3.3, 3.8] * 100)
    assert targets[:180] == [5] * 180
    assert targets[-1] == 4


def test_step_down_that_is_taken_back_at_the_same_load_doubles_the_patience() -> None:
    calm, state = steadily(5, [3.1, 3.6] * 8)
    assert calm[-1] == 4
    wave, state = steadily(4, [4.7] * 4, state, NOW + 160)
    assert wave[-1] == 5
    assert state.regrets == 1
    again, _ = steadily(5, [3.1, 3.6] * 40, state, NOW + 200)
    assert again.index(4) > calm.index(4)
    forgiven, _ = steadily(5, [3.1, 3.6] * 40, replace(state, regretted_s=NOW - 15_000), NOW + 200)
    assert forgiven.index(4) < again.index(4)


def test_rise_after_a_step_down_is_no_regret() -> None:
    calm = settled(seen(5, report([3.9] * 60)), BARE, 45)
    rise = decide(shifted(seen(4, report([*[3.9] * 52, *[9.5] * 8])), 80), BARE, calm.state, NOW + 80)
    assert rise.target > 8
    assert rise.state.regrets == 0


def test_last_replica_goes_when_nobody_has_asked_for_long() -> None:
    zero = replace(BARE, least=0)
    quiet = report([0.0] * 70)
    assert settled(seen(1, quiet), zero, 60).target == 0
    assert settled(seen(1, quiet), BARE, 60).target == 1
    for not_yet in (replace(quiet, running_requests=1.0), report([0.0] * 30), report([*[0.0] * 40, 0.01, *[0.0] * 20])):
        assert settled(seen(1, not_yet), zero, 60).target == 1


def test_start_that_cannot_end_is_given_up_when_nobody_has_asked_for_long() -> None:
    stuck = seen(1, report([0.0] * 70), [Start(NOW - 4000, failures=9)])
    assert decide(stuck, replace(BARE, least=0), FRESH, NOW).target == 0
    assert decide(seen(1, report([0.0] * 30), [Start(NOW - 4000, failures=9)]), replace(BARE, least=0), FRESH, NOW).target == 1


def test_model_goes_to_zero_by_way_of_one() -> None:
    assert settled(seen(2, report([0.0] * 70)), replace(BARE, least=0), 60).target == 1


def test_first_request_after_a_silence_is_answered_even_where_it_was_refused() -> None:
    assert decide(seen(0, report([*[0.0] * 69, 0.1])), replace(BARE, least=0), FRESH, NOW).target == 1


@pytest.mark.parametrize(
    ("at", "held", "says"),
    [
        (None, "no report", "nobody has reported the load: 5 are held"),
        (report(error="RuntimeError: gone"), "failed report", "could not be observed (RuntimeError: gone)"),
        (Report(NOW), "no history", "no arrivals have been observed yet"),
        (report(now=NOW - 60), "stale report", "older than 30 s"),
    ],
)
def test_target_is_held_with_a_reason(at: Report | None, held: str, says: str) -> None:
    found = decide(Observation(5, 3, report=at), LIMITS, FRESH, NOW)
    assert (found.target, found.held) == (5, held)
    assert says in found.reason


def test_limits_hold_where_the_load_is_unknown() -> None:
    found = decide(Observation(5, 5), replace(LIMITS, most=3), FRESH, NOW)
    assert (found.target, found.binds) == (3, "max_replicas")
    assert found.reason == "nobody has reported the load: only the limits move 5 to 3, for 3 GPUs."


def test_reason_says_what_was_seen_what_is_expected_why_and_what_it_costs() -> None:
    found = decide(seen(2, report([4.5] * 60, waiting=60)), replace(BARE, gpu_hour_price=2.5), FRESH, NOW)
    assert found.reason == (
        "4.5 replicas of load now, 4.5 expected in 100 s, 0.0 of margin, 3.5 for what waits: 8 instead of 2, for 20.00 an hour."
    )
    rolling = decide(seen(5, report([4.5] * 60), rolling=True), BARE, FRESH, NOW)
    assert "two releases side by side, so none is given up: 5 stay" in rolling.reason


@pytest.mark.parametrize(
    ("target", "rate", "limits", "says"),
    [
        (2, 0.1, BARE, "2 stay until it is sure that fewer will do, for 2 GPUs."),
        (2, 1.9, BARE, "2 stay, for 2 GPUs."),
        (2, 0.1, replace(BARE, least=2), "2 stay, for 2 GPUs."),
        (1, 0.1, replace(BARE, least=0), "1 stay, for 1 GPUs."),
    ],
)
def test_reason_says_why_replicas_stay_that_the_load_does_not_ask_for(target: int, rate: float, limits: Limits, says: str) -> None:
    found = decide(seen(target, report([rate] * 60)), limits, FRESH, NOW)
    assert found.reason.endswith(f" of margin: {says}")


def test_cost_is_in_gpus_where_they_have_no_price() -> None:
    assert cost(replace(LIMITS, gpus_per_replica=0.5), 3) == "1.5 GPUs"


def test_forecast_none_has_spare_and_no_quantile() -> None:
    steps = report([4.0 + 2 * (step // 12 % 2) for step in range(120)])
    none = decide(seen(5, steps), replace(LIMITS, tuning=Tuning(forecast="none")), FRESH, NOW)
    last = decide(seen(5, steps), replace(LIMITS, tuning=Tuning(forecast="last")), FRESH, NOW)
    assert none.wanted < last.wanted
    assert none.wanted > none.demand


def test_long_pause_between_calls_is_no_patience() -> None:
    state = settled(seen(5, report([1.0] * 60)), BARE, 40).state
    assert decide(shifted(seen(5, report([1.0] * 60)), 400), BARE, state, NOW + 400).target == 5


def test_bounds_of_a_fleet_without_limits_change_nothing() -> None:
    assert bounded(7, seen(7), LIMITS, NOW, 100) == (7, None)


def test_same_bucket_by_another_clock_is_not_taken_twice() -> None:
    first = decide(seen(5), LIMITS, State(), NOW)
    again = replace(report(), arrivals=buckets([9.0] * 60, until=NOW + 2))
    assert decide(seen(5, again), LIMITS, first.state, NOW + 2).state.track == first.state.track

"""`cluster.scaling.forecast`: the level through noise and steps, the trend and its trust, the quantile of the errors."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.scaling.forecast import ERRORS, FAST_S, JUDGED, NEW, Load, Track, advance, ahead, restated
from cluster.scaling.limits import Forecast, Tuning

TREND = Tuning(jump=0.0)
BUCKET_S, HORIZON_S = 10.0, 100.0


def follow(loads: Sequence[float], tuning: Tuning = TREND, track: Track = NEW, begun: float = 0.0) -> Track:
    buckets = (Load(begun + BUCKET_S * (index + 1), BUCKET_S, one) for index, one in enumerate(loads))
    return advance(track, buckets, HORIZON_S, tuning)


def noisy(loads: Sequence[float], deviation: float, seed: int = 1) -> list[float]:
    random = Random(seed)
    return [max(0.0, random.gauss(one, deviation)) for one in loads]


def test_nothing_seen_is_no_load() -> None:
    assert ahead(NEW, HORIZON_S, TREND) == 0


@given(st.floats(0, 1e6), st.integers(1, 100))
def test_constant_load_is_foretold_exactly_and_without_a_margin(load: float, count: int) -> None:
    track = follow([load] * count)
    assert ahead(track, HORIZON_S, TREND) == pytest.approx(load)
    assert track.error == pytest.approx(0, abs=1e-6 * load)


def test_level_under_noise_is_much_steadier_than_a_bucket() -> None:
    levels = []
    track = NEW
    for index, one in enumerate(noisy([20.0] * 720, 3.0)):
        track = follow([one], TREND, track, BUCKET_S * index)
        levels.append(ahead(track, HORIZON_S, TREND))
    settled = levels[120:]
    assert max(abs(one - 20) for one in settled) < 4.0
    assert sum(abs(one - 20) for one in settled) / len(settled) < 0.8
    assert track.noise == pytest.approx(9, rel=0.4)


def test_level_of_a_load_that_has_been_steady_for_long_is_moved_by_no_crowd() -> None:
    """An hour has so many moments that some are far from usual: a level that believes each of them moves replicas to and fro."""
    beyond, error = 0, 3.0 * sqrt(gain := 1 - exp(-BUCKET_S / FAST_S)) / sqrt(2 - gain)
    for seed in range(20):
        loads, track = noisy([20.0] * 720, 3.0, seed), follow([])
        for index, one in enumerate(loads):
            track = follow([one], TREND, track, BUCKET_S * index)
            beyond += index >= 360 and abs(track.level - 20) > 1.5 * error
    assert beyond <= 20 * 360 / 500


def test_noise_of_a_load_that_has_gone_goes_with_it() -> None:
    """Else the room for a busy load's noise keeps replicas for a quarter of an hour behind its end."""
    busy = follow(noisy([4.0] * 180, 2.0))
    gone = follow(noisy([0.1] * 30, 0.3, 2), TREND, busy, BUCKET_S * 180)
    assert busy.noise > 2.0
    assert gone.noise < busy.noise / 2.5
    assert gone.level == pytest.approx(0.2, abs=0.2)


@pytest.mark.parametrize("change", [-1.5, 1.5])
def test_load_that_is_a_little_more_or_less_for_long_is_known_within_minutes(change: float) -> None:
    """Half of a bucket's deviation: the short mean alone cannot tell it from noise."""
    levels = []
    for seed in range(20):
        before = follow(noisy([20.0] * 360, 3.0, seed))
        levels.append(follow(noisy([20.0 + change] * 60, 3.0, -seed), TREND, before, BUCKET_S * 360).level)
    assert sum(levels) / len(levels) == pytest.approx(20.0 + change, abs=0.4)


@pytest.mark.parametrize("deviation", [0.0, 0.3])
def test_step_is_followed_within_a_minute(deviation: float) -> None:
    track = follow(noisy([4.0] * 60 + [6.0] * 6, deviation))
    assert track.level == pytest.approx(6, abs=0.5)


def test_bucket_that_noise_cannot_explain_moves_the_level_at_once() -> None:
    assert follow([*noisy([2.0] * 60, 0.2), 12.0, 12.0]).level > 9


def test_one_wild_bucket_among_usual_ones_is_as_doubtful_as_one_bucket() -> None:
    track = follow(noisy([20.0] * 360, 3.0))
    for index, one in enumerate((35.0, 20.0, 20.0)):
        track = follow([one], TREND, track, BUCKET_S * (360 + index))
        assert track.level < 24.5


def test_ramp_earns_trust_and_is_foretold() -> None:
    ramp = [5 + 0.1 * index for index in range(90)]
    track = follow(ramp)
    assert track.trust > 0.9
    assert ahead(track, HORIZON_S, TREND) == pytest.approx(ramp[-1] + 0.1 * HORIZON_S / BUCKET_S, rel=0.1)


def test_steps_cost_the_trend_its_trust() -> None:
    steps = [4.0 + 2 * (index // 36 % 2) for index in range(360)]
    assert follow(steps).trust < 0.5


def test_noise_foretells_no_change() -> None:
    track = follow(noisy([20.0] * 360, 3.0))
    assert abs(ahead(track, HORIZON_S, TREND) - track.level) < 1


def test_error_is_the_quantile_of_what_the_forecast_missed() -> None:
    """A load that jumps by 2 for a third of the time, too short for a trend."""
    jumps = ([4.0] * 24 + [6.0] * 12) * 8
    assert follow(jumps).error > 1
    assert follow([4.0] * 288).error == 0
    assert follow(jumps, replace(TREND, quantile=0.5)).error < follow(jumps).error


def test_jump_that_was_never_seen_fades_as_forecasts_prove_right() -> None:
    tuning = replace(TREND, jump=0.8)
    assert follow([4.0] * 30, tuning).error == pytest.approx(1.6)
    assert follow([4.0] * 360, tuning).error == 0
    assert follow([16.0] * 30, tuning).error == pytest.approx(3.2)


def test_jump_that_is_over_leaves_less_room_as_the_load_is_less() -> None:
    crowd = follow([1.0] * 60 + [9.0] * 12)
    after = follow([1.0] * 12, TREND, crowd, BUCKET_S * 72)
    assert crowd.error > 4
    assert 0.5 < after.error < 0.5 * crowd.error
    assert follow([0.0] * 60, TREND, crowd, BUCKET_S * 72).error < 0.1, "a load that is gone has no jump"


def test_restated_load_is_the_same_load_in_other_replicas() -> None:
    noise = noisy([4.0] * 60, 0.5)
    first, other = restated(follow(noise), 1.5), follow([1.5 * one for one in noise])
    assert (first.level, first.fast, first.slow, first.last) == pytest.approx((other.level, other.fast, other.slow, other.last))
    assert (first.noise, first.doubt) == pytest.approx((other.noise, other.doubt))
    assert first.pending == follow(noise).pending


@pytest.mark.parametrize(("kind", "expected"), [("last", 13.9), ("none", 13.9), ("drift", 14.9)])
def test_other_forecasts_of_a_ramp(kind: Forecast, expected: float) -> None:
    tuning = replace(TREND, forecast=kind)
    ramp = follow([5 + 0.1 * index for index in range(90)], tuning)
    assert ahead(ramp, HORIZON_S, tuning) == pytest.approx(expected, abs=0.6)


def test_drift_without_a_past_is_the_level() -> None:
    assert ahead(replace(NEW, seen=1, level=3.0), HORIZON_S, replace(TREND, forecast="drift")) == 3


def test_last_value_misses_a_ramp_by_what_the_trend_adds() -> None:
    """The forecast adds as much as its error is less: its error against the last value's, at the same horizon."""
    ramp = [5 + 0.1 * index for index in range(120)]
    last = replace(TREND, forecast="last")
    assert sum(follow(ramp).errors[-20:]) < 0.4 * sum(follow(ramp, last).errors[-20:])


def test_trend_never_foretells_less_than_nothing() -> None:
    assert ahead(follow([20 - 0.4 * index for index in range(50)]), 300, TREND) == 0


@pytest.mark.parametrize("quiet", [0.0, 0.1])
def test_noise_of_a_load_that_comes_after_hours_without_any_is_learned(quiet: float) -> None:
    track = follow([*[quiet] * 1440, *noisy([20.0] * 360, 3.0)])
    assert track.noise == pytest.approx(9, rel=0.4)


def test_one_step_teaches_no_noise() -> None:
    before = follow(noisy([2.0] * 60, 0.2))
    assert follow([12.0, 12.0], TREND, before, BUCKET_S * 60).noise < 1.5 * before.noise


def test_after_a_long_gap_the_level_begins_anew() -> None:
    before = follow(noisy([4.0] * 60, 0.5))
    assert before.rise + before.fall > 0
    after = follow([9.0], TREND, before, begun=5000)
    assert (after.level, after.rise, after.fall) == (9, 0, 0)
    assert after.trend == 0
    assert not [one for one in after.pending if one.due_s < 5000]
    assert after.errors == before.errors


def test_what_is_remembered_is_bounded() -> None:
    track = follow(noisy([20.0] * 4000, 3.0))
    assert len(track.errors) == ERRORS
    assert len(track.pending) <= JUDGED + 2


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=60))
def test_forecast_of_any_load_is_a_number_and_not_below_zero(loads: list[float]) -> None:
    for kind in ("trend", "drift", "last", "none"):
        tuning = Tuning(forecast=kind)
        track = follow(loads, tuning)
        assert 0 <= ahead(track, HORIZON_S, tuning) < 1e6
        assert track.error >= 0
        assert 0 <= track.trust <= 1

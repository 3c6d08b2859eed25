"""Loads that are generated have the rates that their text says, and are the same for the same seed."""

import itertools

import pytest

from deployments.simulation.loads.generated import DAY_S, Lengths, UnknownLoad, load

SHORT = Lengths(100, 10, 0.5)


def counts(text: str, span_s: float, seed: int = 1) -> list[int]:
    """Requests of each span."""
    made = load(text, SHORT)
    spans = [0] * round(made.until_s / span_s)
    for one in made.requests(seed):
        spans[int(one.at_s // span_s)] += 1
    return spans


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("step:2@100,4.5@200", [200, 450, 450]),
        ("ramp:0-10@200", [225, 725]),
        ("flash:1,20@100+60/300", [100, 1240, 100]),
        ("mix:3@100/200", [300, 300]),
    ],
)
def test_each_span_has_the_requests_of_its_rate(text: str, spans: list[int]) -> None:
    assert counts(text, 100.0) == spans


def test_same_seed_gives_the_same_requests_in_order_and_another_seed_others() -> None:
    one, same, other = (list(load("step:5@60", SHORT).requests(seed)) for seed in (1, 1, 2))
    assert one == same != other
    assert [each.at_s for each in one] == sorted(each.at_s for each in one)
    assert sum(each.prompt_tokens for each in one) / len(one) == pytest.approx(100, rel=0.15)


def test_mix_shifts_to_prompts_of_four_times_the_length_at_the_same_rate() -> None:
    requests = list(load("mix:10@100/200", SHORT).requests(1))
    before, after = ([one.prompt_tokens for one in requests if (one.at_s < 100) is first] for first in (True, False))
    assert sum(after) / len(after) == pytest.approx(4 * sum(before) / len(before), rel=0.15)


def test_week_has_its_mean_rate_busy_days_and_quiet_weekends() -> None:
    week = load("week:5", SHORT, seed=3)
    hours = [week.per_s(at_s) for at_s in range(0, int(7 * DAY_S), 1200)]
    days = [sum(hours[day * 72 : (day + 1) * 72]) / 72 for day in range(7)]
    assert sum(hours) / len(hours) == pytest.approx(5, rel=0.1)
    assert max(days[5:]) < 0.6 * min(days[:5])
    nights, noons = ([week.per_s(day * DAY_S + hour * 3600) for day in range(5)] for hour in (2, 14))
    assert sum(noons) > 2 * sum(nights)
    assert len(set(hours)) > 400  # clients have bursts


def test_time_after_the_last_step_has_no_requests() -> None:
    assert load("step:2@10", SHORT).per_s(11.0) == 0.0


@pytest.mark.parametrize("text", ["", "wave:3", "step:2", "step:2@10,", "ramp:2@10", "flash:1,2@3/4", "mix:1", "week:x"])
def test_text_that_is_no_load_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UnknownLoad, match=r"step:|is none of these loads; write for example"):
        load(text, SHORT)


def test_last_span_may_be_shorter() -> None:
    assert len(list(itertools.islice(load("step:2@15", SHORT).requests(1), 100))) == 30


@pytest.mark.parametrize("text", ["step:2@100,4.5@205", "ramp:0-10@200", "week:0.01"])
def test_requests_are_counted_before_they_are_made(text: str) -> None:
    made = load(text, SHORT, 1)
    assert made.count(made.until_s) == pytest.approx(sum(1 for _ in made.requests(1)), abs=1)


def test_count_until_a_time_has_no_later_requests() -> None:
    assert load("step:2@100,1000000@100", SHORT).count(95.0) == 190

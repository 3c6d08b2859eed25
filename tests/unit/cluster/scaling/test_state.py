"""`cluster.scaling.state`: to JSON and back, bounded, and harmless to lose."""

import json
from math import sin

import pytest

from cluster.scaling.decide import decide
from cluster.scaling.observation import Report
from cluster.scaling.state import State, from_json
from tests.unit.cluster.scaling.seen import FRESH, LIMITS, NOW, buckets, report, seen, settled


def test_state_of_a_day_is_small_and_comes_back_the_same() -> None:
    state = FRESH
    for step in range(0, 8640, 7):
        now = NOW + 10 * step
        rates = [4 + 3 * sin(step / 60)] * 7
        state = decide(seen(6, Report(now, buckets(rates, until=now), start_times_s=(100.0,))), LIMITS, state, now).state
    text = state.to_json()
    assert len(text) < 8000
    assert from_json(text) == state


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "{}",
        '{"track": {}}',
        json.dumps({**json.loads(State().to_json()), "factor": "fast"}),
        json.dumps({**json.loads(State().to_json()), "of_another_release": 1}),
        json.dumps({**json.loads(State().to_json()), "peaks": [[1]]}),
        json.dumps({**json.loads(State().to_json()), "track": {"pending": [{"due_s": 1}], "errors": []}}),
        json.dumps({**json.loads(State().to_json()), "track": {"pending": [], "errors": [], "until_s": None}}),
    ],
)
def test_damaged_state_is_a_fresh_one(text: str) -> None:
    assert from_json(text) == State()


def test_whole_numbers_are_numbers() -> None:
    assert from_json(json.dumps({**json.loads(State().to_json()), "down_s": 5})).down_s == 5


def test_lost_state_is_made_again_from_the_history_and_moves_nothing() -> None:
    rates = [4 + (step % 7) / 10 for step in range(360)]
    kept = settled(seen(6, report(rates)), LIMITS, 10)
    lost = decide(seen(kept.target, report(rates)), LIMITS, FRESH, NOW)
    assert lost.target == kept.target
    assert lost.state.track.level == pytest.approx(kept.state.track.level, rel=0.05)
    assert lost.state.track.errors

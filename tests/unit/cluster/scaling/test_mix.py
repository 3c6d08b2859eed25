"""The pace of the requests that come: what the decision remembers of their shape, and how it restates the load."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cluster.catalogue import sizes
from cluster.catalogue.checkpoints import META_FP8
from cluster.catalogue.hardware import GPUS
from cluster.planner.memory.engine import Engine, Settings
from cluster.scaling.decide import decide
from cluster.scaling.demand import MIXED, pace
from cluster.scaling.limits import Limits
from cluster.scaling.observation import Bucket
from cluster.scaling.pace import replica_of, sustained
from cluster.scaling.state import State
from cluster.scaling.work import USUAL, Shape, Slo, Work
from configs.parallelism import Parallelism
from tests.unit.cluster.scaling.seen import FRESH, NOW, PLAIN, report, seen

REPLICA = replica_of(Engine(sizes.SCOUT, META_FP8, GPUS["H100"], Parallelism(tensor=4), Settings(131_072)))
SLO = Slo(3.0, 0.1)
LIMITS = Limits(sustained(REPLICA, USUAL, SLO).pace, 1, 100, SLO, expected_start_s=100.0, tuning=PLAIN, replica=REPLICA)
LONG = Shape(16_000, 300, 2000, 1.5)


def came(shape: Shape, rates: Sequence[float], until: float = NOW) -> tuple[Bucket, ...]:
    """Buckets of 10 s with so many requests of a shape a second."""
    begun = until - 10 * len(rates)
    each = Work(shape.uncached_tokens, shape.answer_tokens, (shape.prompt_tokens + shape.answer_tokens / 2) * 10)
    squared = shape.prompt_tokens**2 * (1 + shape.variation)
    return tuple(
        Bucket(begun + 10 * index, 10, 10 * rate, each.times(10 * rate), 10 * rate * shape.cached_tokens, 10 * rate * squared)
        for index, rate in enumerate(rates)
    )


def after(*buckets: Bucket, state: State = FRESH, ready: int = 5) -> State:
    now = buckets[-1].begun_s + 10
    return decide(seen(ready, report(now=now, arrivals=buckets)), LIMITS, state, now).state


def test_pace_is_that_of_usual_requests_before_any_came() -> None:
    assert pace(FRESH, LIMITS).prefill_tokens_s == pytest.approx(LIMITS.pace.prefill_tokens_s, rel=0.01)
    assert pace(FRESH, replace(LIMITS, slo=None)) == pace(FRESH, replace(LIMITS, replica=None)) == LIMITS.pace


def test_pace_becomes_that_of_the_requests_that_come() -> None:
    state = after(*came(LONG, [3.0] * 60))
    shape, found = state.mix.shape, sustained(REPLICA, LONG, SLO)
    assert shape.prompt_tokens == pytest.approx(16_000, rel=0.02)
    assert (shape.answer_tokens, shape.cached_tokens, shape.variation) == pytest.approx((300, 2000, 1.5), rel=0.05)
    assert pace(state, LIMITS).decode_tokens_s == pytest.approx(found.pace.decode_tokens_s, rel=0.05)
    assert state.track.level == pytest.approx(3 / found.requests_s, rel=0.05)


def test_load_of_long_prompts_is_more_than_the_pace_of_usual_ones_says() -> None:
    longer = seen(2, report(arrivals=came(LONG, [3.0] * 60)))
    usual = replace(LIMITS, replica=None)
    assert decide(longer, LIMITS, FRESH, NOW).demand > 1.2 * decide(longer, usual, FRESH, NOW).demand


def test_mix_shift_at_the_same_rate_is_followed_within_a_start() -> None:
    state = after(*came(Shape(2000, 300), [6.0] * 60))
    shifted = after(*came(LONG, [6.0] * 10, NOW + 100), state=state)
    assert shifted.track.level == pytest.approx(6 / sustained(REPLICA, LONG, SLO).requests_s, rel=0.25)


def test_prompts_that_are_others_by_more_than_chance_begin_the_mix_anew() -> None:
    """A mean of two minutes would weigh the first long prompts at the pace of short ones."""
    state = after(*came(Shape(2000, 300, variation=0.3), [6.0] * 60))
    once = after(*came(Shape(8000, 300, variation=0.3), [6.0], NOW + 10), state=state)
    assert once.mix.shape.prompt_tokens > 7000
    longer = after(*came(Shape(2150, 300, variation=0.3), [6.0], NOW + 10), state=state)
    assert longer.mix.shape.prompt_tokens < 2100, "chance may do that"
    assert longer.mix.requests > 500


def test_few_requests_are_averaged_over_more_time() -> None:
    state = after(*came(USUAL, [0.1] * 60))
    once = after(*came(LONG, [0.1], NOW + 10), state=state)
    assert once.mix.requests <= MIXED + 1
    assert once.mix.shape.prompt_tokens < 2 * USUAL.prompt_tokens, "one long prompt is no other mix"
    assert after(*came(USUAL, [0.0] * 60, NOW + 600), state=state).mix == state.mix, "silence says nothing"


def test_empty_caches_of_new_replicas_change_no_pace() -> None:
    warm = Shape(10_000, 300, 5000)
    state = after(*came(warm, [3.0] * 60))
    cold = after(*came(Shape(10_000, 300), [3.0] * 6, NOW + 60), state=state, ready=6)
    assert cold.mix.shape.cached_tokens == pytest.approx(5000, rel=0.05)


def test_load_is_restated_where_the_pace_turns_out_another() -> None:
    """The first requests are weighed at the usual pace; what they were is not forgotten, but weighed anew."""
    first = after(*came(LONG, [3.0]))
    later = after(*came(LONG, [3.0] * 6, NOW + 60), state=first)
    assert later.track.fast == pytest.approx(3 / sustained(REPLICA, LONG, SLO).requests_s, rel=0.1)

"""`cluster.scaling.pace`: the largest load within the objectives, and objectives that no load keeps."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.catalogue import sizes
from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import BF16, META_FP8
from cluster.catalogue.hardware import GPUS
from cluster.planner.memory.engine import Engine, Settings
from cluster.planner.speed import Step, step_costs, time_to_first_token_s
from cluster.scaling.pace import Sustained, pace_of, replica_of
from cluster.scaling.pace import sustained as sustained_by
from cluster.scaling.work import Mix, Shape, Slo
from configs.parallelism import Parallelism

SCOUT = Engine(sizes.SCOUT, META_FP8, GPUS["H100"], Parallelism(tensor=4), Settings(131_072))
#: The model of llm-d's published episode: 64 layers, 8 KV heads, bf16 on two H100.
QWEN_32B = Engine(Architecture(64, 5120, 64, 8, 128, 151_936, 25_600, 40_960), BF16, GPUS["H100"], Parallelism(tensor=2), Settings(32_768))
CHAT, SLO = Shape(4000, 500), Slo(2.0, 0.05)


def sustained(engine: Engine, shape: Shape, slo: Slo) -> Sustained:
    return sustained_by(replica_of(engine), shape, slo)


def test_shares_of_the_largest_load_add_up_to_one() -> None:
    found = sustained(SCOUT, CHAT, SLO)
    assert found.pace.time_share(found.each.times(found.requests_s)) == pytest.approx(1, rel=1e-3)
    assert found.pace.kv_share(found.each.times(found.requests_s)) < 1
    assert found.problem == ""


def test_load_is_the_largest_within_the_objectives() -> None:
    found = sustained(SCOUT, CHAT, SLO)
    assert found.itl_s == pytest.approx(SLO.itl_s, rel=1e-3), "the time between tokens is the objective that binds here"
    assert found.ttft_s < SLO.ttft_s
    strict = sustained(SCOUT, CHAT, replace(SLO, itl_s=10, ttft_s=0.3))
    assert strict.ttft_s == pytest.approx(0.3, rel=1e-2), "and the first token here"


def test_published_pace_of_another_model_is_met() -> None:
    """Of Qwen3-32B on two H100 llm-d reads 15,928 prompt tokens a second, and 1.4 to 1.5 requests a second of 4,000 and 1,000 tokens."""
    found = sustained(QWEN_32B, Shape(4000, 1000), Slo(3.0, 0.1, 0.9))
    assert found.pace.prefill_tokens_s == pytest.approx(15_928, rel=0.05)
    assert found.requests_s == pytest.approx(1.45, rel=0.3)


def test_prompts_that_caches_know_leave_more_for_answers() -> None:
    cold, warm = sustained(SCOUT, CHAT, SLO), sustained(SCOUT, replace(CHAT, cached_tokens=3000), SLO)
    assert warm.requests_s > 1.1 * cold.requests_s
    assert sustained(SCOUT, Shape(10, 500, 10), SLO).each.prefill_tokens == 1


@settings(max_examples=6, deadline=None)
@given(st.integers(100, 20_000), st.integers(10, 2000), st.floats(1.0, 4.0))
def test_looser_objectives_never_sustain_less(prompt: int, answer: int, times: float) -> None:
    shape = Shape(prompt, answer)
    tight, loose = sustained(SCOUT, shape, SLO), sustained(SCOUT, shape, Slo(SLO.ttft_s * times, SLO.itl_s * times))
    assert tight.requests_s > 0
    if not tight.problem:
        assert loose.running >= tight.running - 1e-6


@pytest.mark.parametrize("by", ["sequences", "cache"])
def test_batch_has_no_more_requests_than_room(by: str) -> None:
    told = SCOUT.settings
    small = replace(told, max_num_seqs=8) if by == "sequences" else replace(told, kv_cache_memory_bytes=2 << 30, context_tokens=16_384)
    found = sustained(replace(SCOUT, settings=small), CHAT, SLO)
    room = 8 if by == "sequences" else found.pace.kv_tokens / 4250
    assert found.running == pytest.approx(room, rel=0.02)
    assert found.itl_s < SLO.itl_s


def test_stages_of_a_pipeline_work_at_once() -> None:
    one = sustained(replace(SCOUT, parallel=Parallelism(tensor=4)), CHAT, Slo(10, 0.2))
    two = sustained(replace(SCOUT, parallel=Parallelism(tensor=4, pipeline=2)), CHAT, Slo(10, 0.2))
    assert two.pace.prefill_tokens_s == pytest.approx(2 * one.pace.prefill_tokens_s, rel=0.05)


def test_objective_that_an_idle_replica_misses_is_named_with_the_way_out() -> None:
    long = Shape(100_000, 500)
    first = sustained(SCOUT, long, SLO)
    idle_s = time_to_first_token_s(SCOUT, 100_000)
    assert first.problem.startswith("no number of replicas meets slo.ttft_s 2: an idle replica takes")
    assert "raise slo.ttft_s" in first.problem
    assert SLO.ttft_s < idle_s
    assert first.requests_s > 0, "the model still has a pace"
    token = sustained(SCOUT, CHAT, Slo(2, 0.001))
    assert token.problem.startswith("no number of replicas meets slo.itl_s 0.001")
    assert step_costs(SCOUT).seconds(Step(1, 4250)) > 0.001


def test_pace_follows_the_shape_and_is_the_same_for_nearly_the_same() -> None:
    replica = replica_of(SCOUT)
    chat, longer = pace_of(replica, CHAT, SLO), pace_of(replica, Shape(16_000, 500), SLO)
    assert chat.prefill_tokens_s == pytest.approx(sustained(SCOUT, CHAT, SLO).pace.prefill_tokens_s, rel=0.02)
    assert longer.decode_tokens_s < 0.9 * chat.decode_tokens_s
    assert pace_of(replica, Shape(4001, 500.1), SLO) == chat


@pytest.mark.parametrize("shape", [Shape(0, 0), Shape(1, 1e29), Shape(1e29, 1e-5, 1e29), Shape(1e29, 1e29), Shape(5, 5, variation=1e30)])
def test_pace_of_requests_that_nobody_can_have_counted_is_above_0(shape: Shape) -> None:
    found = pace_of(replica_of(SCOUT), shape, SLO)
    assert min(found.prefill_tokens_s, found.decode_tokens_s, found.kv_tokens) > 0


def test_unequal_prompts_leave_less_where_the_first_token_binds() -> None:
    equal, unequal = (sustained(SCOUT, Shape(16_000, 50, variation=one), Slo(3.0, 0.5)) for one in (0.0, 2.0))
    assert (equal.ttft_s, unequal.ttft_s) == pytest.approx((3.0, 3.0), rel=1e-2)
    assert unequal.requests_s < 0.9 * equal.requests_s
    loose = [sustained(SCOUT, replace(CHAT, variation=one), SLO).requests_s for one in (0.0, 2.0)]
    assert loose[0] == loose[1], "the time between tokens binds here"


def test_pace_falls_by_no_cliff_where_prompts_are_nearly_too_long_for_the_objective() -> None:
    """Within a step of 5 % in length the work of a replica changes by little, on both sides of where an idle one misses the objective."""
    done = [sustained(SCOUT, Shape(20_000 * 1.05**step, 300), Slo(1.0, 0.1)) for step in range(60)]
    assert {bool(one.problem) for one in done} == {False, True}
    tokens = [one.requests_s * one.each.prefill_tokens for one in done]
    assert all(0.8 < later / earlier < 1.25 for earlier, later in pairwise(tokens))


def test_objective_between_one_request_and_a_few_is_planned_as_one_that_cannot_be_met() -> None:
    alone_s = step_costs(SCOUT).seconds(Step(1, 4250))
    found = sustained(SCOUT, CHAT, Slo(3.0, alone_s * 1.0001))
    assert found.problem == ""
    assert found.requests_s > 0.1


def test_mix_is_the_average_request_and_how_unequal_they_are() -> None:
    mix = Mix(2, 3000, 1000, 300, 1000.0**2 + 3000.0**2)
    assert mix.shape == Shape(2000, 150, 500, 0.25)
    assert mix.faded(0.5).plus(mix.faded(0.5)) == mix
    assert Mix(1).shape == Mix().shape == Shape(0, 0)
    assert replace(mix, squared_tokens=0.0).shape.variation == 0, "nobody has counted the squares"


def test_engine_that_does_not_fit_has_no_pace() -> None:
    with pytest.raises(ValueError, match="the engine does not fit: "):
        sustained(replace(SCOUT, parallel=Parallelism()), CHAT, SLO)


def test_prompts_that_take_all_the_time_are_no_load() -> None:
    """Answers of one token: prompts alone fill the engine, and the line before it grows without bound at the end."""
    found = sustained(SCOUT, Shape(30_000, 1), Slo(60, 5, 0.99))
    assert found.ttft_s <= 60
    assert 0 < found.requests_s < 1 / time_to_first_token_s(SCOUT, 30_000) * 1.2

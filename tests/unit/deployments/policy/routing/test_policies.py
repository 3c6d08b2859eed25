"""`deployments.policy.routing.policies`: scores between 0 and 1, and who wins by them."""

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.routing import RoutingPolicy, RoutingWeights
from deployments.policy.routing import policies
from deployments.policy.routing.policies import Question
from deployments.policy.routing.types import Candidate, Pick, Reason, ReplicaState, ReplicaView, Trust
from tests.unit.samples import replica

WEIGHTS = RoutingWeights()
NO_WEIGHTS = RoutingWeights.model_validate(dict.fromkeys(RoutingWeights.model_fields, 0))
TOKENS = st.integers(0, 10**6)
VIEWS = st.builds(
    ReplicaView,
    st.text("abc", min_size=1, max_size=3),
    st.just("llama"),
    st.just("10.0.0.1"),
    st.just(9000),
    st.just(ReplicaState.READY),
    st.integers(0, 100),
    kv_usage=st.floats(0, 1),
    kv_tokens=st.sampled_from([0, 1000, 400_000]),
    ready_s=st.floats(0, allow_nan=False),
    trust=st.sampled_from(Trust),
)
CANDIDATES = st.builds(
    Candidate, VIEWS, st.integers(0, 1000), TOKENS, TOKENS, st.floats(0, 100), st.floats(0, 1), st.sampled_from([0.0, 1.0])
)
MANY = st.lists(CANDIDATES, min_size=2, max_size=6, unique_by=lambda one: one.view.id)
ALL_WEIGHTS = st.builds(RoutingWeights, **dict.fromkeys(RoutingWeights.model_fields, st.floats(0, 10)))
QUESTIONS = st.builds(Question, TOKENS, st.integers(0, 2**70), ALL_WEIGHTS.map(policies.weighed))


def candidate(
    name: str,
    requests: int = 0,
    wait: int = 0,
    hit: int = 0,
    crowding: float = 1.0,
    forget_age: float = 0.0,
    home: float = 0.0,
    **view: object,
) -> Candidate:
    """A candidate with these facts."""
    return Candidate(replace(replica(name), **view), requests, wait, hit, crowding, forget_age, home)  # type: ignore[arg-type]


def crowded_to(crowding: float) -> str:
    """Whom herd picks when the whole prompt is at one that has so much of its share."""
    return policies.herd([candidate("a", hit=900, crowding=crowding), candidate("b", crowding=0.5)], asked()).replica.id


def asked(tokens: int = 1000, turn: int = 0, weights: RoutingWeights = WEIGHTS) -> Question:
    return Question(tokens, turn, policies.weighed(weights))


@given(CANDIDATES, TOKENS, st.integers(1, 10**7), st.sampled_from(sorted(policies.SCORERS)))
def test_every_score_is_between_0_and_1(one: Candidate, tokens: int, horizon: int, name: str) -> None:
    assert 0 <= policies.SCORERS[name][0](one, tokens, horizon) <= 1


def test_every_weight_has_a_scorer() -> None:
    assert policies.SCORERS.keys() == RoutingWeights.model_fields.keys()


@given(MANY, QUESTIONS, st.sampled_from(sorted(policies.POLICIES)))
def test_every_policy_picks_a_candidate_and_always_the_same(many: list[Candidate], question: Question, name: str) -> None:
    pick = policies.POLICIES[name](many, question)
    assert (pick.replica, pick.hit_tokens) in [(one.view, one.hit_tokens) for one in many]
    assert policies.POLICIES[name](list(many), question) == pick


@given(MANY, QUESTIONS, st.randoms())
def test_order_of_candidates_does_not_matter_to_herd(many: list[Candidate], question: Question, dice: object) -> None:
    turned = many[1:] + many[:1]
    assert policies.herd(turned, question).replica == policies.herd(many, question).replica


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (candidate("a", hit=512), candidate("b"), Reason.PREFIX),
        (candidate("a"), candidate("b", wait=2000), Reason.LEAST_LOADED),
        (candidate("a"), candidate("b", requests=5), Reason.LEAST_LOADED),
        (candidate("a", home=1.0), candidate("b"), Reason.SESSION),
        (candidate("a", forget_age=1.0), candidate("b"), Reason.ROOM),
        (candidate("a"), candidate("b", kv_usage=1.0, kv_tokens=10**6), Reason.KV),
        (candidate("a"), candidate("b", ready_s=1.0), Reason.WARM),
        (candidate("a"), candidate("b", crowding=2.0), Reason.BALANCE),
        (candidate("a"), candidate("b", trust=Trust.SUSPECTED), Reason.TRUST),
    ],
)
def test_herd_weighs_everything_and_says_what_decided(one: Candidate, other: Candidate, reason: Reason) -> None:
    assert policies.herd([one, other], asked()) == Pick(one.view, reason, one.hit_tokens)


def test_herd_leaves_a_cache_when_waiting_for_it_costs_far_more() -> None:
    assert policies.herd([candidate("a", wait=5_000, hit=800), candidate("b")], asked()).replica.id == "a"
    assert policies.herd([candidate("a", wait=50_000, hit=800), candidate("b")], asked()).replica.id == "b"


def test_herd_leaves_a_cache_that_everybody_crowds_to() -> None:
    assert crowded_to(1.5) == "a"
    assert crowded_to(2.2) == "b"


def test_herd_without_weights_takes_the_fewest_requests() -> None:
    pick = policies.herd([candidate("a", requests=2), candidate("b", requests=1)], asked(weights=NO_WEIGHTS))
    assert (pick.replica.id, pick.reason) == ("b", Reason.LEAST_LOADED)


def test_prefix_takes_the_longest_however_busy_and_else_the_idlest() -> None:
    busy, idle = candidate("a", requests=99, hit=512), candidate("b")
    assert policies.longest_prefix([busy, idle], asked()) == Pick(busy.view, Reason.PREFIX, 512)
    assert policies.longest_prefix([busy._replace(hit_tokens=0), idle], asked()) == Pick(idle.view, Reason.LEAST_LOADED)


def test_least_loaded_counts_requests() -> None:
    one, other = candidate("a", requests=2), candidate("b", requests=1, wait=10**6)
    assert policies.least_loaded([one, other], asked()) == Pick(other.view, Reason.LEAST_LOADED)


def test_round_robin_takes_turns() -> None:
    many = [candidate(name) for name in "abc"]
    picks = [policies.round_robin(many, asked(turn=turn)) for turn in range(6)]
    assert "".join(pick.replica.id for pick in picks) == "abcabc"
    assert {pick.reason for pick in picks} == {Reason.ROUND_ROBIN}


def test_power_of_two_spreads_and_never_takes_the_busiest() -> None:
    many = [candidate(name, requests=number) for number, name in enumerate("abcd")]
    picks = [policies.power_of_two(many, asked(turn=turn)) for turn in range(600)]
    counts = {name: sum(pick.replica.id == name for pick in picks) for name in "abcd"}
    assert counts["d"] == 0
    assert counts["a"] == pytest.approx(300, abs=60)
    assert counts["c"] == pytest.approx(100, abs=40)
    assert {pick.reason for pick in picks} == {Reason.TWO_CHOICES}


def test_config_names_every_policy() -> None:
    assert set(get_args(RoutingPolicy)) == policies.POLICIES.keys()

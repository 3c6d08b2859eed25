"""`deployments.policy.routing`: filter, score, pick."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.schema import RoutingWeights
from deployments.policy import routing
from deployments.policy.routing import Candidate, Pick, Question, Reason, ReplicaState, ReplicaView, Trust, takes, unavailable
from tests.unit.samples import replica

READY, LEAVING, DEAD = ReplicaState
WEIGHTS = RoutingWeights()
NO_WEIGHTS = RoutingWeights.model_validate(dict.fromkeys(RoutingWeights.model_fields, 0))
TOKENS = st.integers(0, 10**6)
VIEWS = st.builds(
    ReplicaView,
    st.text("abc", min_size=1, max_size=3),
    st.just("llama"),
    st.just("10.0.0.1"),
    st.just(9000),
    st.just(READY),
    st.integers(0, 100),
    kv_usage=st.floats(0, 1),
    kv_tokens=st.sampled_from([0, 1000, 400_000]),
    ready_s=st.floats(0, allow_nan=False),
    trust=st.sampled_from(Trust),
)
CANDIDATES = st.builds(Candidate, VIEWS, st.integers(0, 1000), TOKENS, TOKENS, st.floats(0, 1), st.sampled_from([0.0, 1.0]))
MANY = st.lists(CANDIDATES, min_size=2, max_size=6, unique_by=lambda one: one.view.id)
ALL_WEIGHTS = st.builds(RoutingWeights, **dict.fromkeys(RoutingWeights.model_fields, st.floats(0, 10)))
QUESTIONS = st.builds(Question, TOKENS, st.integers(0, 2**70), ALL_WEIGHTS.map(routing.weighed))


def candidate(
    name: str, requests: int = 0, wait: int = 0, hit: int = 0, forget_age: float = 0.0, home: float = 0.0, **view: object
) -> Candidate:
    """A candidate with these facts."""
    return Candidate(replace(replica(name), **view), requests, wait, hit, forget_age, home)  # type: ignore[arg-type]


def asked(tokens: int = 1000, turn: int = 0, weights: RoutingWeights = WEIGHTS) -> Question:
    return Question(tokens, turn, routing.weighed(weights))


@pytest.mark.parametrize(
    ("replicas", "tried", "taken"),
    [
        ([], "", ""),
        ([replica("a", LEAVING), replica("b", DEAD)], "", ""),
        ([replica("a"), replica("b", LEAVING)], "", "a"),
        ([replica("a"), replica("b")], "a", "b"),
        ([replica("a"), replace(replica("b"), trust=Trust.AVOIDED)], "", "a"),
        ([replica("a"), replace(replica("b"), trust=Trust.SUSPECTED)], "", "ab"),
        ([replica("a"), replace(replica("b"), trust=Trust.AVOIDED)], "a", "b"),
        ([replica("a", DEAD), replace(replica("b"), trust=Trust.AVOIDED)], "", "b"),
    ],
)
def test_filter(replicas: list[ReplicaView], tried: str, taken: str) -> None:
    assert "".join(one.id for one in takes(replicas, frozenset(tried))) == taken


@given(CANDIDATES, TOKENS, st.integers(1, 10**7), st.sampled_from(sorted(routing.SCORERS)))
def test_every_score_is_between_0_and_1(one: Candidate, tokens: int, horizon: int, name: str) -> None:
    assert 0 <= routing.SCORERS[name][0](one, tokens, horizon) <= 1


def test_every_weight_has_a_scorer() -> None:
    assert routing.SCORERS.keys() == RoutingWeights.model_fields.keys()


@given(MANY, QUESTIONS, st.sampled_from(sorted(routing.POLICIES)))
def test_every_policy_picks_a_candidate_and_always_the_same(many: list[Candidate], question: Question, name: str) -> None:
    pick = routing.POLICIES[name](many, question)
    assert (pick.replica, pick.hit_tokens) in [(one.view, one.hit_tokens) for one in many]
    assert routing.POLICIES[name](list(many), question) == pick


@given(MANY, QUESTIONS, st.randoms())
def test_order_of_candidates_does_not_matter_to_herd(many: list[Candidate], question: Question, dice: object) -> None:
    turned = many[1:] + many[:1]
    assert routing.herd(turned, question).replica == routing.herd(many, question).replica


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
        (candidate("a"), candidate("b", trust=Trust.SUSPECTED), Reason.TRUST),
    ],
)
def test_herd_weighs_everything_and_says_what_decided(one: Candidate, other: Candidate, reason: Reason) -> None:
    assert routing.herd([one, other], asked()) == Pick(one.view, reason, one.hit_tokens)


def test_herd_leaves_a_cache_when_waiting_for_it_costs_far_more() -> None:
    assert routing.herd([candidate("a", wait=5_000, hit=800), candidate("b")], asked()).replica.id == "a"
    assert routing.herd([candidate("a", wait=50_000, hit=800), candidate("b")], asked()).replica.id == "b"


def test_herd_without_weights_takes_the_fewest_requests() -> None:
    pick = routing.herd([candidate("a", requests=2), candidate("b", requests=1)], asked(weights=NO_WEIGHTS))
    assert (pick.replica.id, pick.reason) == ("b", Reason.LEAST_LOADED)


def test_prefix_takes_the_longest_however_busy_and_else_the_idlest() -> None:
    busy, idle = candidate("a", requests=99, hit=512), candidate("b")
    assert routing.longest_prefix([busy, idle], asked()) == Pick(busy.view, Reason.PREFIX, 512)
    assert routing.longest_prefix([busy._replace(hit_tokens=0), idle], asked()) == Pick(idle.view, Reason.LEAST_LOADED)


def test_least_loaded_counts_requests() -> None:
    one, other = candidate("a", requests=2), candidate("b", requests=1, wait=10**6)
    assert routing.least_loaded([one, other], asked()) == Pick(other.view, Reason.LEAST_LOADED)


def test_round_robin_takes_turns() -> None:
    many = [candidate(name) for name in "abc"]
    picks = [routing.round_robin(many, asked(turn=turn)) for turn in range(6)]
    assert "".join(pick.replica.id for pick in picks) == "abcabc"
    assert {pick.reason for pick in picks} == {Reason.ROUND_ROBIN}


def test_power_of_two_spreads_and_never_takes_the_busiest() -> None:
    many = [candidate(name, requests=number) for number, name in enumerate("abcd")]
    picks = [routing.power_of_two(many, asked(turn=turn)) for turn in range(600)]
    counts = {name: sum(pick.replica.id == name for pick in picks) for name in "abcd"}
    assert counts["d"] == 0
    assert counts["a"] == pytest.approx(300, abs=60)
    assert counts["c"] == pytest.approx(100, abs=40)
    assert {pick.reason for pick in picks} == {Reason.TWO_CHOICES}


def test_unknown_policy_is_told_the_known_ones() -> None:
    assert routing.policy_named("herd") is routing.herd
    with pytest.raises(ValueError, match=r"gateway\.routing\.policy: there is no policy 'best'; there are herd, prefix"):
        routing.policy_named("best")


@pytest.mark.parametrize(
    ("ever_ready", "code", "word"), [(False, "engine_starting", "is starting"), (True, "engine_gone", "a replacement")]
)
def test_error_says_whether_it_was_ever_there(ever_ready: bool, code: str, word: str) -> None:
    error = unavailable("llama", ever_ready, 5)
    assert (error.status, error.reason, error.retry_after_s) == (503, code, 5)
    assert word in error.message
    assert error.message.endswith("Try again in 5 s.")

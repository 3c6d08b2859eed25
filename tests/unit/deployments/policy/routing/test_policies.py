"""`deployments.policy.routing.policies`: what speaks for a replica, which one wins by it, and the reason that is told."""

from math import inf
from typing import Any, NamedTuple, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from configs.routing import RoutingPolicy, RoutingWeights
from deployments.policy.request.calls import Priority
from deployments.policy.routing import hashing, policies
from deployments.policy.routing.columns import Columns
from deployments.policy.routing.flights import Flight
from deployments.policy.routing.policies import Question
from deployments.policy.routing.types import Pick, Reason, ReplicaView, Trust
from tests.unit.samples import replica

WEIGHTS = RoutingWeights()
NO_WEIGHTS = RoutingWeights.model_validate(dict.fromkeys(RoutingWeights.model_fields, 0))
VIEWS = st.builds(replace, st.just(replica()), ready_s=st.floats(0, allow_nan=False), trust=st.sampled_from(Trust))
#: In a prompt of so many blocks of one token; and when it is asked.
BLOCKS, NOW = 1000, 100


class Known(NamedTuple):
    """A replica, and what a prompt would find there."""

    view: ReplicaView
    hit: int = 0
    spare: float = inf
    last_used: int = 0


def known(name: str, requests: int = 0, wait: int = 0, hit: int = 0, last_used: int | None = None, **view: Any) -> Known:
    """A replica with these facts; `last_used`: it would forget what was used then."""
    seen = replace(replica(name, ongoing=requests), prefill_tokens=wait, **view)
    return Known(seen, hit) if last_used is None else Known(seen, hit, -1, last_used)


def asked(*many: Known, turn: int = 0, home: str | None = None, weights: RoutingWeights = WEIGHTS) -> Question:
    """A question about these replicas."""
    columns = Columns(policies.weighed(weights))
    columns.reserve(len(many))
    matches: dict[int, int] = {}
    for one in many:
        place = columns.join(one.view.id)
        columns.tell(place, one.view)
        columns.write(Flight(one.view, place), one.spare, one.last_used)
        if one.hit:
            matches[one.hit] = matches.get(one.hit, 0) | 1 << place
    columns.arrange([*columns.views])
    places = {view.id: place for place, view in columns.views.items()}
    key = None if home is None else next(key for key in range(1000) if hashing.weights(columns.seeds, key).argmax() == places[home])
    return Question(
        columns,
        columns.able(frozenset(), Priority.INTERACTIVE),
        BLOCKS,
        BLOCKS,
        {bits: hit for hit, bits in matches.items()},
        key,
        turn,
        now=NOW,
    )


def herd(*many: Known, weights: RoutingWeights = WEIGHTS, home: str | None = None) -> Pick:
    return policies.Herd(weights)(asked(*many, home=home, weights=weights))


def crowded_to(requests: int) -> str:
    """Whom herd picks when the whole prompt is at one of three that has so many requests, and the others have ten."""
    return herd(known("a", requests, hit=900), known("b", 10), known("c", 10)).replica.id


@given(VIEWS, st.sampled_from(sorted(policies.OF_REPORTS)))
def test_score_of_a_report_is_between_0_and_1(view: ReplicaView, name: str) -> None:
    assert 0 <= policies.OF_REPORTS[name][0](view) <= 1


def test_every_weight_weighs_something() -> None:
    assert policies.SCORES.keys() == RoutingWeights.model_fields.keys()


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (known("a", hit=512), known("b"), Reason.PREFIX),
        (known("a"), known("b", wait=2000), Reason.LEAST_LOADED),
        (known("a"), known("b", requests=1), Reason.LEAST_LOADED),
        (known("a", last_used=1), known("b", last_used=50), Reason.ROOM),
        (known("a"), known("b", last_used=NOW), Reason.ROOM),
        (known("a"), known("b", kv_usage=1.0, kv_tokens=10**6), Reason.KV),
        (known("a"), known("b", ready_s=1.0), Reason.WARM),
        (known("a"), known("b", requests=40), Reason.BALANCE),
        (known("a"), known("b", trust=Trust.SUSPECTED), Reason.TRUST),
    ],
)
def test_herd_weighs_everything_and_says_what_decided(one: Known, other: Known, reason: Reason) -> None:
    assert herd(one, other) == herd(other, one) == Pick(one.view, reason, one.hit)


@pytest.mark.parametrize("home", ["a", "b"])
def test_home_wins_where_all_else_is_equal(home: str) -> None:
    pick = herd(known("a"), known("b"), home=home)
    assert (pick.replica.id, pick.reason) == (home, Reason.SESSION)


def test_where_nothing_decides_the_last_id_wins() -> None:
    assert herd(known("a"), known("c"), known("b")).replica.id == "c"


def test_herd_leaves_a_cache_when_waiting_for_it_costs_far_more() -> None:
    assert herd(known("a", wait=5_000, hit=800), known("b")).replica.id == "a"
    assert herd(known("a", wait=50_000, hit=800), known("b")).replica.id == "b"


def test_herd_leaves_a_cache_that_everybody_crowds_to() -> None:
    assert crowded_to(20) == "a"
    assert crowded_to(80) == "c"


def test_prompts_of_unknown_length_are_taken_for_usual_ones() -> None:
    question = asked(known("a", waiting=3), known("b", wait=100))
    first = question.columns.views[0]
    question.columns.write(Flight(replace(first, prefill_tokens=None), 0), inf, 0)
    picks = [policies.Herd(WEIGHTS)(question._replace(usual_tokens=usual)).replica.id for usual in (10.0, 1000.0)]
    assert picks == ["a", "b"]


def test_herd_without_weights_takes_the_fewest_requests() -> None:
    pick = herd(known("a", requests=2), known("b", requests=1), weights=NO_WEIGHTS)
    assert (pick.replica.id, pick.reason) == ("b", Reason.LEAST_LOADED)


def test_prefix_takes_the_longest_however_busy_and_else_the_idlest() -> None:
    busy, idle = known("a", requests=99, hit=512), known("b")
    assert policies.longest_prefix(asked(busy, idle)) == Pick(busy.view, Reason.PREFIX, 512)
    assert policies.longest_prefix(asked(busy._replace(hit=0), idle)) == Pick(idle.view, Reason.LEAST_LOADED)


def test_prefix_of_no_tokens_is_no_reason() -> None:
    question = asked(known("a", requests=1, hit=512), known("b"))._replace(tokens=0)
    assert policies.longest_prefix(question).reason is Reason.LEAST_LOADED


def test_least_loaded_counts_requests() -> None:
    one, other = known("a", requests=2), known("b", requests=1, wait=10**6)
    assert policies.least_loaded(asked(one, other)) == Pick(other.view, Reason.LEAST_LOADED)


def test_round_robin_takes_turns() -> None:
    many = [known(name) for name in "abc"]
    picks = [policies.round_robin(asked(*many, turn=turn)) for turn in range(6)]
    assert "".join(pick.replica.id for pick in picks) == "abcabc"
    assert {pick.reason for pick in picks} == {Reason.ROUND_ROBIN}


def test_power_of_two_spreads_and_never_takes_the_busiest() -> None:
    question = asked(*(known(name, requests=number) for number, name in enumerate("abcd")))
    picks = [policies.power_of_two(question._replace(turn=turn)) for turn in range(600)]
    counts = {name: sum(pick.replica.id == name for pick in picks) for name in "abcd"}
    assert counts["d"] == 0
    assert counts["a"] == pytest.approx(300, abs=60)
    assert counts["c"] == pytest.approx(100, abs=40)
    assert {pick.reason for pick in picks} == {Reason.TWO_CHOICES}


def test_config_names_every_policy() -> None:
    assert set(get_args(RoutingPolicy)) == policies.POLICIES.keys()

"""`deployments.policy.routing.router`: what a gateway sent counts, and two gateways agree without talking."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.routing import Routing
from deployments.policy.request.prompt_blocks import NO_PROMPT, Prompt
from deployments.policy.routing.policies import POLICIES
from deployments.policy.routing.router import NobodyTakes, Router
from deployments.policy.routing.types import Ask, Pick, Reason, ReplicaState, ReplicaView, Trust
from tests.unit.samples import replica

A, B, C = (replace(replica(name), kv_tokens=100_000) for name in "abc")
LONG = Prompt(tuple(range(100, 140)), 40 * 128)
LEAST_LOADED = Routing(policy="least_loaded")
NAMES = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)
BLOCKS = st.lists(st.integers(0, 2**40), max_size=20, unique=True).map(tuple)


def prompt(*blocks: int) -> Prompt:
    return Prompt(blocks, len(blocks) * 128)


def sent(router: Router, replicas: tuple[ReplicaView, ...], asked: Prompt) -> Pick:
    """A request that is picked for, sent and answered."""
    pick = router.pick(replicas, Ask(asked))
    assert pick is not None
    with router.sending(pick, asked) as sending:
        sending.answered()
    return pick


def test_nobody_takes_requests() -> None:
    router = Router(Routing())
    for views, ask in (((), Ask()), ((replica("a", ReplicaState.DEAD),), Ask()), ((A, B), Ask(tried=frozenset("ab")))):
        with pytest.raises(NobodyTakes):
            router.pick(views, ask)


def test_the_only_one_is_picked_without_a_choice_and_none_where_all_are_full() -> None:
    router = Router(Routing())
    one, other = replace(A, slots=2, ongoing=1), replace(B, slots=2, ongoing=2)
    assert router.pick((A,), Ask()) == Pick(A, Reason.ONLY)
    assert router.pick((one, other), Ask()) == Pick(one, Reason.ROOM_LEFT)
    assert router.pick((other,), Ask()) is None
    sending = router.sending(Pick(one, Reason.ONLY), NO_PROMPT)
    assert router.pick((one, other), Ask()) is None
    sending.end()
    sending.end()
    assert router.requests(one) == 1


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_slow_replica_takes_requests_only_while_the_others_are_full(policy: str) -> None:
    router = Router(Routing.model_validate({"policy": policy}))
    slow, other = replace(A, slow=True, slots=2), replace(B, slots=2, ongoing=1)
    picked = router.pick((slow, other), Ask(LONG))
    assert picked is not None
    assert picked.replica is other
    full = replace(other, ongoing=2)
    assert router.pick((slow, full), Ask(LONG)) == Pick(slow, Reason.ROOM_LEFT)
    assert router.pick((slow,), Ask(LONG)) == Pick(slow, Reason.ONLY)


def test_prompt_goes_where_its_beginning_went() -> None:
    router = Router(Routing())
    first = sent(router, (A, B, C), LONG)
    again = router.pick((A, B, C), Ask(prompt(*LONG.blocks, 1, 2)))
    assert again == Pick(first.replica, Reason.PREFIX, LONG.tokens)


def test_replica_that_has_gone_took_its_cache_along() -> None:
    router = Router(Routing())
    first = sent(router, (A, B), LONG).replica
    others = tuple(view for view in (A, B, C) if view is not first)
    assert router.pick(others, Ask(LONG)).hit_tokens == 0  # type: ignore[union-attr]
    assert router.pick((*others, first), Ask(LONG)).hit_tokens == 0  # type: ignore[union-attr]


def test_index_holds_no_more_than_the_cache_or_the_config_allows() -> None:
    small = replace(A, kv_tokens=1280)
    router = Router(Routing(index_tokens=2560))
    for view, most in ((small, 14), (replace(A, kv_tokens=0), 20), (A, 20)):
        router.pick((view,), Ask())
        for start in range(0, 1000, 7):
            with router.sending(Pick(view, Reason.ONLY), prompt(*range(start, start + 7))) as sending:
                sending.answered()
        # what waits does not push anything out: the last prompt had not been computed when it was put down
        assert router._index.size("a") <= most + 7


def test_what_was_sent_since_the_report_counts() -> None:
    router = Router(LEAST_LOADED)
    one, other = replace(A, ongoing=2), replace(B, ongoing=3)
    views = (one, other)
    with router.sending(Pick(one, Reason.ONLY), NO_PROMPT), router.sending(Pick(one, Reason.ONLY), NO_PROMPT):
        assert router.requests(one) == 4
        assert router.pick(views, Ask()).replica is other  # type: ignore[union-attr]
        reported = replace(one, ongoing=4)
        router.pick((reported, other), Ask())
        assert router.requests(reported) == 4
        late = replace(one, ongoing=0)
        router.pick((late, other), Ask())
        assert router.requests(late) == 2
    assert router.requests(late) == 0
    assert router.requests(C) == 0


def test_request_that_ended_since_the_report_makes_room_before_the_next_one() -> None:
    router = Router(LEAST_LOADED)
    idle = replace(A, slots=2)
    first, second = (router.sending(Pick(idle, Reason.ONLY), NO_PROMPT) for _ in range(2))
    full = replace(idle, ongoing=3)  # one is another gateway's
    assert router.pick((full,), Ask()) is None
    first.end()
    second.end()
    assert router.requests(full) == 1
    assert router.pick((full,), Ask()) is not None
    gone = replace(idle, ongoing=1)
    assert router.pick((gone,), Ask()) is not None
    assert router.requests(gone) == 1, "the next report has it"


def test_request_that_ended_is_no_longer_counted_whatever_happened() -> None:
    router = Router(LEAST_LOADED)
    with pytest.raises(ConnectionError), router.sending(Pick(A, Reason.ONLY), LONG):
        raise ConnectionError
    assert router.requests(A) == 0
    assert router._wait_tokens(A) == 0


def test_prompt_waits_until_it_is_answered() -> None:
    router = Router(Routing())
    router.pick((A, B), Ask())
    with router.sending(Pick(A, Reason.ONLY), LONG) as sending:
        assert router._wait_tokens(A) == LONG.tokens
        sending.answered()
        sending.answered()
        assert router._wait_tokens(A) == 0
        with router.sending(Pick(A, Reason.PREFIX, 5000), LONG):
            assert router._wait_tokens(A) == LONG.tokens - 5000


def test_waiting_requests_of_others_count_as_usual_prompts() -> None:
    router = Router(Routing())
    with router.sending(Pick(A, Reason.ONLY), LONG):
        busy = replace(A, waiting=3)
        router.pick((busy, B), Ask())
        assert router._wait_tokens(busy) == 3 * LONG.tokens


def test_what_the_replica_says_it_has_to_compute_is_believed() -> None:
    router = Router(Routing())
    told = replace(A, prefill_tokens=700, waiting=9)
    router.pick((told, B), Ask())
    with router.sending(Pick(told, Reason.ONLY), LONG) as sending:
        assert router._wait_tokens(told) == 700 + LONG.tokens
        late = replace(A, prefill_tokens=0)
        router.pick((late, B), Ask())
        assert router._wait_tokens(late) == LONG.tokens
        sending.answered()
        assert router._wait_tokens(late) == 0


@given(NAMES, BLOCKS, st.none() | st.text(max_size=5))
def test_two_gateways_send_what_nobody_has_seen_to_the_same_replica(names: list[str], blocks: tuple[int, ...], session: str | None) -> None:
    views = tuple(replica(name) for name in names)
    ask = Ask(prompt(*blocks), session)
    first, second = Router(Routing()).pick(views, ask), Router(Routing()).pick(views[::-1], ask)
    assert first == second


@given(st.lists(st.tuples(BLOCKS, st.booleans()), max_size=12), BLOCKS)
def test_same_past_and_same_views_make_the_same_pick(past: list[tuple[tuple[int, ...], bool]], asked: tuple[int, ...]) -> None:
    views = (A, B, C)
    picks = []
    for _ in range(2):
        router = Router(Routing())
        for blocks, answered in past:
            pick = router.pick(views, Ask(prompt(*blocks)))
            assert pick is not None
            sending = router.sending(pick, prompt(*blocks)).__enter__()
            if answered:
                sending.answered()
        picks.append(router.pick(views, Ask(prompt(*asked))))
    assert picks[0] == picks[1]


def test_conversations_spread_though_all_begin_alike() -> None:
    router = Router(Routing())
    views = tuple(replica(name) for name in "abcd")
    sent(router, views, prompt(1))
    homes = {router._home(views, Ask(prompt(1, number)), 1) for number in range(2, 60)}
    assert homes == set("abcd")


def test_session_decides_over_the_prompt_and_nothing_known_over_nobody() -> None:
    router = Router(Routing())
    views = tuple(replica(name) for name in "abcd")
    router.pick(views, Ask())
    homes = {router._home(views, Ask(prompt(number), session="me"), 0) for number in range(40)}
    assert len(homes) == 1
    assert router._home(views, Ask(), 0) is None
    assert router._home(views, Ask(LONG), len(LONG.blocks)) is None


def test_new_prompt_goes_where_least_is_lost() -> None:
    router = Router(Routing())
    views = tuple(replace(view, kv_tokens=400) for view in (A, B))  # four blocks, with what a gateway thinks they have more
    for number in range(3):
        for view in views:
            with router.sending(Pick(view, Reason.ONLY), prompt(*range(number * 10, number * 10 + 4))) as sending:
                sending.answered()
    with router.sending(Pick(views[0], Reason.ONLY), prompt(20, 21, 22, 23)) as sending:
        sending.answered()
    pick = router.pick(views, Ask(prompt(7)))
    assert pick is not None
    assert pick.replica.id == "b"


def test_request_is_alone_where_no_other_from_here_has_been_since() -> None:
    router = Router(Routing())
    first = router.sending(Pick(A, Reason.ONLY), NO_PROMPT)
    elsewhere = router.sending(Pick(B, Reason.ONLY), NO_PROMPT)
    assert (first.alone, elsewhere.alone) == (True, True)
    second = router.sending(Pick(A, Reason.ONLY), NO_PROMPT)
    second.end()
    assert (first.alone, second.alone, elsewhere.alone) == (False, False, True)
    first.end()
    assert router.sending(Pick(A, Reason.ONLY), NO_PROMPT).alone


def test_requests_of_other_gateways_are_what_a_report_has_beside_ones_own() -> None:
    router = Router(Routing())
    one = replace(A, ongoing=3)
    before = router.sending(Pick(one, Reason.ONLY), NO_PROMPT)
    again = replace(one)
    assert router.others((again,), "a") == 2, "the report came after the request"
    after = router.sending(Pick(again, Reason.ONLY), NO_PROMPT)
    assert router.others((again,), "a") == 2
    before.end()
    after.end()
    assert router.others((again,), "a") == 2
    assert router.others((replace(A, ongoing=0),), "a") == 0
    assert router.others((replace(A, trust=Trust.SUSPECTED),), "a") is None
    assert router.others((B,), "a") is None

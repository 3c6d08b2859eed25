"""`deployments.policy.routing.router`: what a gateway sent counts, and two gateways agree without talking."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from configs.routing import Routing, RoutingWeights
from deployments.policy.request.calls import Priority
from deployments.policy.request.prompt_blocks import NO_PROMPT, Prompt
from deployments.policy.routing.columns import Columns
from deployments.policy.routing.flights import Flight
from deployments.policy.routing.policies import POLICIES
from deployments.policy.routing.router import NobodyTakes, Router
from deployments.policy.routing.types import Ask, Pick, Reason, ReplicaState, ReplicaView, Trust
from tests.unit.samples import replica

A, B, C = (replace(replica(name), kv_tokens=100_000) for name in "abc")
LONG = Prompt(tuple(range(100, 140)), 40 * 128)
LEAST_LOADED = Routing(policy="least_loaded")
HOME_ONLY = Routing.model_validate({"weights": dict.fromkeys(RoutingWeights.model_fields, 0) | {"session": 1}})
NAMES = st.lists(st.text("abcdef", min_size=1, max_size=4), min_size=1, max_size=6, unique=True)
BLOCKS = st.lists(st.integers(0, 2**40), max_size=20, unique=True).map(tuple)


def prompt(*blocks: int) -> Prompt:
    return Prompt(blocks, len(blocks) * 128)


def picked(router: Router, replicas: Sequence[ReplicaView], ask: Ask) -> Pick | None:
    """The pick from these replicas."""
    router.update(replicas)
    return router.pick(ask)


def knows(*replicas: ReplicaView, routing: Routing | None = None) -> Router:
    """A router that knows these replicas."""
    router = Router(routing or Routing())
    router.update(replicas)
    return router


def requests(router: Router, replica: str = "a") -> int:
    return router._flights[replica].requests_now


def waits(router: Router, replica: str = "a") -> float:
    """Prompt tokens that a new request would wait for, without what running ones take."""
    router._write()
    place = router._flights[replica].place
    columns = router._columns
    return float(columns.load[place] - 64 * columns.requests[place] + int(columns.untold[place] * router._usual_tokens))


def home(router: Router, ask: Ask) -> str:
    """The one that a prompt goes to where nothing else speaks for anyone."""
    pick = router.pick(ask)
    assert pick is not None
    return pick.replica.id


def sent(router: Router, replicas: Sequence[ReplicaView], asked: Prompt) -> Pick:
    """A request that is picked for, sent and answered."""
    pick = picked(router, replicas, Ask(asked))
    assert pick is not None
    with router.sending(pick, asked) as sending:
        sending.answered()
    return pick


def test_nobody_takes_requests() -> None:
    router = Router(Routing())
    for views, ask in (((), Ask()), ((replica("a", ReplicaState.DEAD),), Ask()), ((A, B), Ask(tried=frozenset("ab")))):
        with pytest.raises(NobodyTakes):
            picked(router, views, ask)


@pytest.mark.parametrize(
    ("replicas", "tried", "taken"),
    [
        ([replica("a"), replica("b", ReplicaState.LEAVING)], "", "a"),
        ([replica("a"), replica("b")], "a", "b"),
        ([replica("a"), replica("b")], "c", "ab"),
        ([replica("a"), replace(replica("b"), trust=Trust.AVOIDED)], "", "a"),
        ([replica("a"), replace(replica("b"), trust=Trust.SUSPECTED)], "", "ab"),
        ([replica("a"), replace(replica("b"), trust=Trust.AVOIDED)], "a", "b"),
        ([replica("a", ReplicaState.DEAD), replace(replica("b"), trust=Trust.AVOIDED)], "", "b"),
    ],
)
def test_ready_replicas_that_have_not_failed_a_request_take_it_and_silent_ones_only_alone(
    replicas: list[ReplicaView], tried: str, taken: str
) -> None:
    router = knows(*replicas, routing=Routing(policy="round_robin"))
    picks = set()
    for _ in range(4):
        pick = router.pick(Ask(tried=frozenset(tried)))
        assert pick is not None
        picks.add(pick.replica.id)
        router.sending(pick, NO_PROMPT).end()
    assert picks == set(taken)


def test_the_only_one_is_picked_without_a_choice_and_none_where_all_are_full() -> None:
    router = Router(Routing())
    one, other = replace(A, slots=2, ongoing=1), replace(B, slots=2, ongoing=2)
    assert picked(router, (A,), Ask()) == Pick(A, Reason.ONLY)
    assert picked(router, (one, other), Ask()) == Pick(one, Reason.ROOM_LEFT)
    assert picked(router, (other,), Ask()) is None
    router.update((one, other))
    sending = router.sending(Pick(one, Reason.ONLY), NO_PROMPT)
    assert router.pick(Ask()) is None
    sending.end()
    sending.end()
    assert requests(router) == 1


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_a_slow_replica_takes_requests_only_while_the_others_are_full(policy: str) -> None:
    router = Router(Routing.model_validate({"policy": policy}))
    slow, other = replace(A, slow=True, slots=2), replace(B, slots=2, ongoing=1)
    pick = picked(router, (slow, other), Ask(LONG))
    assert pick is not None
    assert pick.replica is other
    full = replace(other, ongoing=2)
    assert picked(router, (slow, full), Ask(LONG)) == Pick(slow, Reason.ROOM_LEFT)
    assert picked(router, (slow,), Ask(LONG)) == Pick(slow, Reason.ONLY)


def test_prompt_goes_where_its_beginning_went() -> None:
    router = Router(Routing())
    first = sent(router, (A, B, C), LONG)
    again = picked(router, (A, B, C), Ask(prompt(*LONG.blocks, 1, 2)))
    assert again == Pick(first.replica, Reason.PREFIX, LONG.tokens)


def test_replica_that_has_gone_took_its_cache_along() -> None:
    router = Router(Routing())
    first = sent(router, (A, B), LONG).replica
    others = tuple(view for view in (A, B, C) if view is not first)
    assert picked(router, others, Ask(LONG)).hit_tokens == 0  # type: ignore[union-attr]
    assert picked(router, (*others, first), Ask(LONG)).hit_tokens == 0  # type: ignore[union-attr]


def test_index_holds_no_more_than_the_cache_or_the_config_allows() -> None:
    small = replace(A, kv_tokens=1280)
    router = Router(Routing(index_tokens=2560))
    for view, most in ((small, 14), (replace(A, kv_tokens=0), 20), (A, 20)):
        picked(router, (view,), Ask())
        for start in range(0, 1000, 7):
            with router.sending(Pick(view, Reason.ONLY), prompt(*range(start, start + 7))) as sending:
                sending.answered()
        # what waits does not push anything out: the last prompt had not been computed when it was put down
        assert router._index.size(0) <= most + 7


def test_what_was_sent_since_the_report_counts() -> None:
    one, other = replace(A, ongoing=2), replace(B, ongoing=3)
    router = knows(one, other, routing=LEAST_LOADED)
    with router.sending(Pick(one, Reason.ONLY), NO_PROMPT), router.sending(Pick(one, Reason.ONLY), NO_PROMPT):
        assert requests(router) == 4
        assert router.pick(Ask()).replica is other  # type: ignore[union-attr]
        reported = replace(one, ongoing=4)
        router.heard(reported)
        assert requests(router) == 4
        late = replace(one, ongoing=0)
        router.heard(late)
        assert requests(router) == 2
    assert requests(router) == 0


def test_request_that_ended_since_the_report_makes_room_before_the_next_one() -> None:
    idle = replace(A, slots=2)
    router = knows(idle, routing=LEAST_LOADED)
    first, second = (router.sending(Pick(idle, Reason.ONLY), NO_PROMPT) for _ in range(2))
    full = replace(idle, ongoing=3)  # one is another gateway's
    assert picked(router, (full,), Ask()) is None
    first.end()
    second.end()
    assert requests(router) == 1
    assert router.pick(Ask()) is not None
    gone = replace(idle, ongoing=1)
    assert picked(router, (gone,), Ask()) is not None
    assert requests(router) == 1, "the next report has it"


def test_request_that_ended_is_no_longer_counted_whatever_happened() -> None:
    router = knows(A, routing=LEAST_LOADED)
    with pytest.raises(ConnectionError), router.sending(Pick(A, Reason.ONLY), LONG):
        raise ConnectionError
    assert requests(router) == 0
    assert waits(router) == 0


def test_prompt_waits_until_it_is_answered() -> None:
    router = knows(A, B)
    with router.sending(Pick(A, Reason.ONLY), LONG) as sending:
        assert waits(router) == LONG.tokens
        sending.answered()
        sending.answered()
        assert waits(router) == 0
        with router.sending(Pick(A, Reason.PREFIX, 5000), LONG):
            assert waits(router) == LONG.tokens - 5000


def test_waiting_requests_of_others_count_as_usual_prompts() -> None:
    router = knows(A, B)
    with router.sending(Pick(A, Reason.ONLY), LONG):
        router.heard(replace(A, waiting=4))
        assert waits(router) == (1 + 3) * LONG.tokens


def test_what_the_replica_says_it_has_to_compute_is_believed() -> None:
    told = replace(A, prefill_tokens=700, waiting=9)
    router = knows(told, B)
    with router.sending(Pick(told, Reason.ONLY), LONG) as sending:
        assert waits(router) == 700 + LONG.tokens
        router.heard(replace(A, prefill_tokens=0))
        assert waits(router) == LONG.tokens
        sending.answered()
        assert waits(router) == 0


@given(NAMES, BLOCKS, st.none() | st.text(max_size=5))
def test_two_gateways_send_what_nobody_has_seen_to_the_same_replica(names: list[str], blocks: tuple[int, ...], session: str | None) -> None:
    views = tuple(replica(name) for name in names)
    ask = Ask(prompt(*blocks), session)
    first, second = knows(*views).pick(ask), knows(*views[::-1]).pick(ask)
    assert first == second


@given(st.lists(st.tuples(BLOCKS, st.booleans()), max_size=12), BLOCKS)
def test_same_past_and_same_views_make_the_same_pick(past: list[tuple[tuple[int, ...], bool]], asked: tuple[int, ...]) -> None:
    views = (A, B, C)
    picks = []
    for _ in range(2):
        router = knows(*views)
        for blocks, answered in past:
            pick = router.pick(Ask(prompt(*blocks)))
            assert pick is not None
            sending = router.sending(pick, prompt(*blocks)).__enter__()
            if answered:
                sending.answered()
        picks.append(router.pick(Ask(prompt(*asked))))
    assert picks[0] == picks[1]


def test_conversations_spread_though_all_begin_alike() -> None:
    router = knows(*(replica(name) for name in "abcd"), routing=HOME_ONLY)
    for name in "abcd":
        router.learn(name, prompt(1))
    homes = [home(router, Ask(prompt(1, number))) for number in range(2, 202)]
    assert {name: homes.count(name) for name in "abcd"} == pytest.approx(dict.fromkeys("abcd", 50), abs=20)


def test_only_what_had_its_home_at_a_replica_that_has_gone_moves_and_it_spreads() -> None:
    views = [replica(name) for name in "abcdefgh"]
    router = knows(*views, routing=HOME_ONLY)
    before = {number: home(router, Ask(prompt(number))) for number in range(800)}
    router.update(views[1:])
    moved = {number: home(router, Ask(prompt(number))) for number in range(800)}
    assert all(moved[number] == name for number, name in before.items() if name != "a")
    new = [moved[number] for number, name in before.items() if name == "a"]
    assert {name: new.count(name) for name in "bcdefgh"} == pytest.approx(dict.fromkeys("bcdefgh", len(new) / 7), abs=12)
    router.update(views)
    assert {number: home(router, Ask(prompt(number))) for number in range(800)} == before


def test_session_decides_over_the_prompt_and_nothing_known_over_nobody() -> None:
    router = knows(*(replica(name) for name in "abcd"), routing=HOME_ONLY)
    assert len({home(router, Ask(prompt(number), session="me")) for number in range(40)}) == 1
    for name in "abcd":
        router.learn(name, LONG)
    assert {home(router, ask) for ask in (Ask(), Ask(LONG))} == {"d"}, "all are equal, and the last id is the tie's"


def test_new_prompt_goes_where_least_is_lost() -> None:
    views = tuple(replace(view, kv_tokens=400) for view in (A, B))  # four blocks, with what a gateway thinks they have more
    router = knows(*views)
    for number in range(3):
        for view in views:
            with router.sending(Pick(view, Reason.ONLY), prompt(*range(number * 10, number * 10 + 4))) as sending:
                sending.answered()
    with router.sending(Pick(views[0], Reason.ONLY), prompt(20, 21, 22, 23)) as sending:
        sending.answered()
    pick = router.pick(Ask(prompt(7)))
    assert pick is not None
    assert pick.replica.id == "b"


def test_request_is_alone_where_no_other_from_here_has_been_since() -> None:
    router = knows(A, B)
    first = router.sending(Pick(A, Reason.ONLY), NO_PROMPT)
    elsewhere = router.sending(Pick(B, Reason.ONLY), NO_PROMPT)
    assert (first.alone, elsewhere.alone) == (True, True)
    second = router.sending(Pick(A, Reason.ONLY), NO_PROMPT)
    second.end()
    assert (first.alone, second.alone, elsewhere.alone) == (False, False, True)
    first.end()
    assert router.sending(Pick(A, Reason.ONLY), NO_PROMPT).alone


def test_requests_of_other_gateways_are_what_a_report_has_beside_ones_own() -> None:
    one = replace(A, ongoing=3, number=1)
    router = knows(one)
    before = router.sending(Pick(one, Reason.ONLY), NO_PROMPT)
    assert router.others("a") == 3
    router.heard(replace(one, number=2))
    assert router.others("a") == 2, "the report came after the request"
    after = router.sending(Pick(one, Reason.ONLY), NO_PROMPT)
    assert router.others("a") == 2
    before.end()
    after.end()
    assert router.others("a") == 2
    router.heard(replace(one, number=3, ongoing=0))
    assert router.others("a") == 0
    router.heard(replace(one, number=3, trust=Trust.SUSPECTED))
    assert (router.others("a"), router.others("b")) == (None, None)


@pytest.mark.parametrize("number", [0, 7])
def test_what_was_sent_since_a_report_still_counts_when_the_replica_is_doubted(number: int) -> None:
    """The very same report, told again, tells nothing of what was sent since."""
    told = replace(A, ongoing=2, number=number)
    router = knows(told, B)
    with router.sending(Pick(told, Reason.ONLY), LONG):
        router.update((told, B))
        assert requests(router) == 3
        if number:
            router.heard(replace(told, trust=Trust.SUSPECTED))
            assert (requests(router), waits(router)) == (3, LONG.tokens)


def test_report_of_a_replica_that_is_not_listed_and_a_prompt_sent_to_it_change_nothing() -> None:
    router = knows(A)
    router.heard(B)
    router.learn("b", LONG)
    with router.sending(Pick(B, Reason.ONLY), LONG) as sending:
        assert sending.alone
        assert router.pick(Ask()) == Pick(A, Reason.ONLY)
    router.update((A, B))
    assert router.pick(Ask(LONG)).hit_tokens == 0  # type: ignore[union-attr]


def test_request_of_a_replica_that_has_gone_changes_nothing_at_the_one_that_took_its_place() -> None:
    router = knows(A)
    sending = router.sending(Pick(A, Reason.ONLY), LONG)
    router.update((B,))
    assert router._flights["b"].place == 0
    with router.sending(Pick(B, Reason.ONLY), LONG):
        sending.answered()
        sending.end()
        assert (requests(router, "b"), waits(router, "b")) == (1, LONG.tokens)


def test_nothing_is_written_of_a_replica_until_there_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    write = Columns.write

    def noted(self: Columns, flight: Flight, spare: float, last_used: int) -> None:
        written.append(flight.view.id)
        write(self, flight, spare, last_used)

    monkeypatch.setattr(Columns, "write", noted)
    router = knows(A)
    for _ in range(3):
        pick = router.pick(Ask())
        assert pick is not None
        with router.sending(pick, NO_PROMPT) as sending:
            sending.answered()
    assert not written
    router.update((A, B))
    with router.sending(Pick(B, Reason.ONLY), LONG):
        router.pick(Ask(LONG))
        assert sorted(written) == ["a", "b"]  # each once, however often it has changed
        router.pick(Ask(LONG))
        assert len(written) == 2


@pytest.mark.parametrize(("view", "ask", "expected"), [
    (replace(A, slots=2, ongoing=1), Ask(), Reason.ONLY),
    (replace(A, slots=2, ongoing=2), Ask(), None),
    (replace(A, slots=2, ongoing=1), Ask(priority=Priority.BATCH), None),
    (replace(A, trust=Trust.AVOIDED, slow=True), Ask(), Reason.ONLY),
])  # fmt: skip
def test_only_replica_is_picked_while_it_has_room(view: ReplicaView, ask: Ask, expected: Reason | None) -> None:
    pick = knows(view).pick(ask)
    assert (None if pick is None else pick.reason) == expected


@pytest.mark.parametrize(("view", "ask"), [(replace(A, state=ReplicaState.LEAVING), Ask()), (A, Ask(tried=frozenset("a")))])
def test_only_replica_takes_no_request_that_it_has_failed_or_while_it_leaves(view: ReplicaView, ask: Ask) -> None:
    with pytest.raises(NobodyTakes):
        knows(view).pick(ask)

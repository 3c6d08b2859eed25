"""`deployments.policy.routing.columns`: places are given, kept and given back, and a number per set of places gets to each."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from deployments.policy.request.calls import Priority
from deployments.policy.routing.columns import Columns
from deployments.policy.routing.flights import Flight
from deployments.policy.routing.policies import OF_REPORTS
from deployments.policy.routing.types import ReplicaState, ReplicaView, Trust
from tests.unit.samples import replica

VIEWS = st.builds(
    replace,
    st.just(replica()),
    state=st.sampled_from([ReplicaState.READY, ReplicaState.LEAVING]),
    trust=st.sampled_from(Trust),
    slow=st.booleans(),
    slots=st.sampled_from([0, 1, 8, 256]),
    ongoing=st.integers(0, 9),
    waiting=st.integers(0, 1),
    kv_usage=st.sampled_from([0.0, 0.5, 1.0]),
    kv_tokens=st.sampled_from([0, 1000, 2000]),
    ready_s=st.sampled_from([0.0, 10.0, 100.0]),
)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40).filter(any))
def test_each_place_gets_the_number_of_the_set_that_it_is_in(expected: list[int]) -> None:
    columns = Columns()
    columns.reserve(len(expected))
    for _ in range(2):  # what is there from before does not matter
        sets = {number: sum(1 << place for place, one in enumerate(expected) if one == number) for number in expected if number}
        assert columns.spread({places: number for number, places in sets.items()}).tolist() == expected
        expected = expected[::-1]


def test_large_sets_that_leave_places_out_are_unpacked() -> None:
    columns = Columns()
    columns.reserve(16)
    assert columns.spread({0b11111111: 7, 0b1111100000000: 3}).tolist() == [7] * 8 + [3] * 5 + [0] * 3
    assert columns.spread({0b11111111: 7, 0b1111111100000000: 3}).tolist() == [7] * 8 + [3] * 8


def test_place_that_was_left_is_given_again_and_others_keep_theirs() -> None:
    columns = Columns()
    columns.reserve(2)
    views = [replace(replica(name, ongoing=number), slots=8) for number, name in enumerate("ab", 1)]
    for view in views:
        columns.tell(place := columns.join(view.id), view)
        columns.write(Flight(view, place), 1, 0)
    columns.leave(0)
    columns.reserve(3)
    able = columns.able(frozenset(), Priority.INTERACTIVE)
    assert (able.mask.tolist(), able.several, able.requests) == ([False, True, False], 1, 2)
    assert (columns.join("c"), columns.requests.tolist()) == (0, [0, 2, 0])


@given(st.lists(VIEWS, min_size=1, max_size=4), st.booleans())
def test_last_view_of_a_replica_stands_as_if_it_were_the_only_one(views: list[ReplicaView], was_left: bool) -> None:
    scores = [(score, 2.0) for score, _ in OF_REPORTS.values()]
    after_others, alone = Columns(scores), Columns(scores)
    for columns, told in ((after_others, views), (alone, views[-1:])):
        place = columns.join("a")
        for view in told:
            if was_left and columns.views:
                columns.leave(place)
                place = columns.join("a")
            columns.tell(place, view)
            columns.write(Flight(view, place), 1, 0)
    assert after_others.rows.tolist() == alone.rows.tolist()
    for priority in Priority:
        one, other = (columns.able(frozenset(), priority) for columns in (after_others, alone))
        assert (one.mask.tolist(), one.several, one.requests) == (other.mask.tolist(), other.several, other.requests)

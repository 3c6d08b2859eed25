"""`deployments.policy.routing.prefix_index`: who remembers how much, within bounds, forgetting as an engine does."""

from collections import OrderedDict
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.routing.prefix_index import PrefixIndex

PLACES = st.integers(0, 2)
A, B, C = 1, 2, 4
"""The sets of one place each."""
PROMPTS = st.lists(st.integers(0, 3), max_size=5).map(lambda turns: tuple(str(turns[: n + 1]).__hash__() for n in range(len(turns))))


def test_longest_beginning_of_each_replica() -> None:
    index = PrefixIndex()
    index.remember(0, (1, 2, 3), 10)
    index.remember(1, (1, 2, 9), 10)
    index.remember(2, (7, 8), 10)
    assert index.matches((1, 2, 3, 4)) == {A: 3, B: 2}
    assert index.matches((1, 2)) == {A | B: 2}
    assert index.matches((8,)) == {C: 1}
    assert index.matches((5, 1)) == index.matches(()) == {}


def test_blocks_after_a_gap_do_not_count() -> None:
    index = PrefixIndex()
    index.remember(0, (1, 3), 10)
    index.remember(1, (1, 2), 10)
    assert index.matches((1, 2, 3)) == {A: 1, B: 2}


def test_the_longest_unused_goes_first_and_of_a_prompt_its_end() -> None:
    index = PrefixIndex()
    index.remember(0, (1, 2, 3), 4)
    index.remember(0, (5, 6), 4)
    assert index.matches((1, 2, 3)) == {A: 2}
    index.remember(0, (1,), 4)
    index.remember(0, (7, 8), 4)
    assert index.matches((1, 2)) == {A: 1}
    assert index.matches((5,)) == {A: 1}


def test_what_is_forgotten_is_gone_for_this_replica_alone() -> None:
    index = PrefixIndex()
    index.remember(0, (1, 2), 10)
    index.remember(1, (1, 2), 10)
    index.forget(0)
    index.forget(5)
    assert index.matches((1, 2)) == {B: 2}
    index.remember(2, (1,), 10)
    assert index.matches((1,)) == {B | C: 1}
    assert (index.size(0), index.size(1)) == (0, 2)


def test_replica_that_is_full_would_forget_what_was_used_longest_ago() -> None:
    index = PrefixIndex()
    assert index.oldest(0, 2) == (inf, 0)
    index.remember(0, (1,), 2)
    index.remember(1, (2, 3), 2)
    index.remember(1, (2, 3), 2)
    assert index.oldest(0, 2) == (1, 1)
    assert (*index.oldest(1, 2), index.now) == (0, 3, 3)
    index.remember(1, (), 0)
    assert index.oldest(1, 2) == (inf, 0)


@given(st.lists(st.tuples(PLACES, PROMPTS, st.integers(0, 6)), max_size=40), PROMPTS)
def test_it_is_one_bounded_list_per_replica(sent: list[tuple[int, tuple[int, ...], int]], asked: tuple[int, ...]) -> None:
    index, lists = PrefixIndex(), [OrderedDict[int, None]() for _ in range(3)]
    for place, blocks, capacity in sent:
        index.remember(place, blocks, capacity)
        for block in reversed(blocks):
            lists[place].pop(block, None)
            lists[place][block] = None
        while len(lists[place]) > capacity:
            lists[place].popitem(last=False)
        assert index.size(place) == len(lists[place]) <= capacity
    expected: dict[int, int] = {}
    for place, kept in enumerate(lists):
        if depth := next((n for n, block in enumerate(asked) if block not in kept), len(asked)):
            expected[depth] = expected.get(depth, 0) | 1 << place
    assert index.matches(asked) == {places: depth for depth, places in expected.items()}

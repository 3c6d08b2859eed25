"""`deployments.policy.routing.prefix_index`: who remembers how much, within bounds, forgetting as an engine does."""

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.routing.prefix_index import PrefixIndex

NAMES = st.sampled_from(["a", "b", "c"])
PROMPTS = st.lists(st.integers(0, 3), max_size=5).map(lambda turns: tuple(str(turns[: n + 1]).__hash__() for n in range(len(turns))))


def test_longest_beginning_of_each_replica() -> None:
    index = PrefixIndex()
    index.remember("a", (1, 2, 3), 10)
    index.remember("b", (1, 2, 9), 10)
    index.remember("c", (7, 8), 10)
    assert index.matches((1, 2, 3, 4)) == {"a": 3, "b": 2}
    assert index.matches((1, 2)) == {"a": 2, "b": 2}
    assert index.matches((8,)) == {"c": 1}
    assert index.matches((5, 1)) == index.matches(()) == {}


def test_blocks_after_a_gap_do_not_count() -> None:
    index = PrefixIndex()
    index.remember("a", (1, 3), 10)
    index.remember("b", (1, 2), 10)
    assert index.matches((1, 2, 3)) == {"a": 1, "b": 2}


def test_the_longest_unused_goes_first_and_of_a_prompt_its_end() -> None:
    index = PrefixIndex()
    index.remember("a", (1, 2, 3), 4)
    index.remember("a", (5, 6), 4)
    assert index.matches((1, 2, 3)) == {"a": 2}
    index.remember("a", (1,), 4)
    index.remember("a", (7, 8), 4)
    assert index.matches((1, 2)) == {"a": 1}
    assert index.matches((5,)) == {"a": 1}


def test_what_is_forgotten_is_gone_for_this_replica_alone() -> None:
    index = PrefixIndex()
    index.remember("a", (1, 2), 10)
    index.remember("b", (1, 2), 10)
    index.forget("a")
    index.forget("never seen")
    assert index.matches((1, 2)) == {"b": 2}
    assert index.replicas == {"b"}
    index.remember("c", (1,), 10)
    assert index.matches((1,)) == {"b": 1, "c": 1}
    assert (index.size("a"), index.size("b")) == (0, 2)


def test_age_of_what_would_be_forgotten() -> None:
    index = PrefixIndex()
    assert index.forget_age("a", 3, 2) is None
    index.remember("a", (1,), 2)
    index.remember("b", (2, 3), 2)
    index.remember("b", (2, 3), 2)
    assert index.forget_age("a", 1, 2) is None
    assert index.forget_age("a", 2, 2) == 2
    assert index.forget_age("b", 1, 2) == 0


@given(st.lists(st.tuples(NAMES, PROMPTS, st.integers(0, 6)), max_size=40), PROMPTS)
def test_it_is_one_bounded_list_per_replica(sent: list[tuple[str, tuple[int, ...], int]], asked: tuple[int, ...]) -> None:
    index, lists = PrefixIndex(), {name: OrderedDict[int, None]() for name in "abc"}
    for name, blocks, capacity in sent:
        index.remember(name, blocks, capacity)
        for block in reversed(blocks):
            lists[name].pop(block, None)
            lists[name][block] = None
        while len(lists[name]) > capacity:
            lists[name].popitem(last=False)
        assert index.size(name) == len(lists[name]) <= capacity
    depths = {name: next((n for n, block in enumerate(asked) if block not in kept), len(asked)) for name, kept in lists.items()}
    assert index.matches(asked) == {name: depth for name, depth in depths.items() if depth}

"""`cluster.doctor.pairs`: who all-reduces with whom, and what the results say about each node."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.doctor.facts import Finding, Level
from cluster.doctor.pairs import PairResult, pair_findings, rounds


@given(st.integers(0, 40))
def test_every_pair_once_in_as_few_rounds_as_can_be(count: int) -> None:
    order = rounds(range(count))
    for pairs in order:
        busy = [node for pair in pairs for node in pair]
        assert len(busy) == len(set(busy)), "no node has two partners at once"
    met = Counter(frozenset(pair) for pairs in order for pair in pairs)
    assert set(met.values()) <= {1}
    assert len(met) == count * (count - 1) // 2
    assert len(order) == (0 if count < 2 else count - 1 + count % 2)


@given(st.integers(2, 40), st.integers(1, 16))
def test_with_fewer_rounds_every_node_still_has_partners(count: int, most: int) -> None:
    order = rounds(range(count), most)
    assert len(order) <= most
    met = Counter(node for pairs in order for pair in pairs for node in pair)
    assert max(met.values()) - min(met.values() if len(met) == count else [0]) <= 1


def result(one: str, other: str, gbyte_s: float | None = 40.0, backend: str = "nccl") -> PairResult:
    return PairResult((one, other), backend, gbyte_s, None if gbyte_s is not None else "timed out")


def found(*results: PairResult, **cards: float) -> dict[str, dict[Level, Finding]]:
    return {node: {one.level: one for one in findings} for node, findings in pair_findings(results, cards).items()}


def test_pairs_that_talk() -> None:
    said = found(result("a", "b"))
    assert said["a"][Level.OK].seen == "40.00 GB/s (nccl)"
    said = found(result("a", "b", 40.0), result("a", "c", 30.0), result("b", "c", 35.0))
    assert said["a"][Level.OK].seen == "30.00 GB/s with c (nccl)"
    assert found() == {}


def test_node_that_fails_with_everybody_is_sick_and_its_partners_are_not() -> None:
    said = found(result("a", "b"), result("a", "c", None), result("b", "c", None))
    assert said["c"].keys() == {Level.FAIL}
    assert said["c"][Level.FAIL].seen == "fails with a, b: timed out"
    assert said["a"].keys() == said["b"].keys() == {Level.WARN, Level.OK}


def test_of_two_nobody_knows_which_so_both_are() -> None:
    said = found(result("a", "b", None))
    assert said["a"].keys() == said["b"].keys() == {Level.FAIL}


@pytest.mark.parametrize(("slow", "level"), [(19.0, Level.WARN), (21.0, Level.OK)])
def test_pair_far_slower_than_the_others(slow: float, level: Level) -> None:
    said = found(result("a", "b"), result("a", "c"), result("b", "c"), result("a", "d"), result("b", "d", slow), result("c", "d"))
    assert level in said["d"]
    assert said["c"].keys() == {Level.OK}


@pytest.mark.parametrize(("backend", "level"), [("nccl", Level.WARN), ("gloo", Level.OK)])
def test_nccl_is_held_against_the_network_card(backend: str, level: Level) -> None:
    assert found(result("a", "b", 12.0, backend), a=50.0)["a"].keys() == {level}


def test_backends_are_not_held_against_each_other() -> None:
    """A head without GPU talks by gloo, a fortieth as fast as the others among themselves."""
    gpus = [result(one, other) for one, other in ("ab", "ac", "bc", "ad", "bd", "cd")]
    said = found(*gpus, *(result("head", one, 1.0, "gloo") for one in "abcd"))
    assert {level for levels in said.values() for level in levels} == {Level.OK}
    assert said["a"][Level.OK].seen == "40.00 GB/s with b (nccl)"
    assert said["head"][Level.OK].seen == "1.00 GB/s with a (gloo)"


@pytest.mark.parametrize(
    "said",
    [
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 256.00 MiB. GPU 0 has a total capacity of 79.19 GiB",
        "RayTaskError: Cuda failure 'out of memory'",
        "AcceleratorError: cudaErrorMemoryAllocation",
    ],
)
def test_pair_that_has_no_memory_beside_an_engine_is_not_checked(said: str) -> None:
    full = PairResult(("a", "b"), "unknown", error=said)
    assert (full.had_no_room, full.failed) == (True, False)
    told = found(full, result("a", "c", None))
    assert set(told["a"]) == {Level.FAIL, Level.NOT_CHECKED}, "what it tried with c counts"
    assert set(told["b"]) == {Level.NOT_CHECKED}

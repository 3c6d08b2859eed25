"""`deployments.policy.queue.demand`: what waits at gateways, told and heard, each line once, and forgotten when nobody says it any more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.policy.queue.demand import MOST_GATEWAYS, MOST_WAITING, REFUSED_S, TOLD_S, Lines, RecentRefusals, written

NOW = 100.0


@given(st.dictionaries(st.text("0123456789abcdef", min_size=1, max_size=8), st.integers(0, 1000), max_size=5))
def test_lines_of_all_gateways_add_up_and_each_counts_once(told: dict[str, int]) -> None:
    lines = Lines()
    for _ in range(3):
        for gateway, waiting in told.items():
            lines.learn(written(gateway, waiting), NOW)
    assert lines.waiting(NOW) == sum(told.values())


def test_gateway_that_says_less_has_less() -> None:
    lines = Lines()
    for waiting in (5, 2):
        lines.learn(written("a", waiting), NOW)
    assert lines.waiting(NOW) == 2
    lines.learn(written("a", 0), NOW)
    assert lines.waiting(NOW) == 0


def test_line_of_a_silent_gateway_is_forgotten() -> None:
    lines = Lines()
    lines.learn(written("a", 5), NOW)
    lines.learn(written("b", 1), NOW + 1)
    assert [lines.waiting(NOW + later_s) for later_s in (TOLD_S - 0.1, TOLD_S, TOLD_S + 1)] == [6, 1, 0]


@pytest.mark.parametrize(
    "told", ["", "a", "a.", ".3", "a.-1", "a.x", "a.1.2", "a b.1", "a.1\n", "a." + "9" * 10, "a" * 65 + ".1", "ä.1", "a.²"]
)
def test_nonsense_changes_nothing(told: str) -> None:
    lines = Lines()
    lines.learn(written("a", 3), NOW)
    lines.learn(told, NOW)
    assert lines.waiting(NOW) == 3


def test_what_is_told_is_bounded() -> None:
    lines = Lines()
    lines.learn("a.999999999", NOW)
    assert lines.waiting(NOW) == MOST_WAITING
    assert written("a", 10**12) == f"a.{MOST_WAITING}"
    for number in range(2 * MOST_GATEWAYS):
        lines.learn(written(f"b{number}", 1), NOW)
    assert lines.waiting(NOW) == MOST_WAITING
    lines.learn(written("a", 0), NOW)
    assert lines.waiting(NOW) == MOST_GATEWAYS - 1, "a gateway that was one too many is not kept"


def test_refusals_count_for_a_while() -> None:
    refusals = RecentRefusals()
    for second in range(3):
        refusals.add(NOW + second, retry_after_s=60)
    assert [refusals.count(NOW + later_s) for later_s in (2, REFUSED_S, REFUSED_S + 2)] == [3, 2, 0]


def test_client_that_comes_again_when_it_was_told_to_counts_once() -> None:
    refusals = RecentRefusals()
    for second in range(20):
        refusals.add(NOW + second, retry_after_s=1)
        assert refusals.count(NOW + second) == 1


def test_refusals_have_a_bound() -> None:
    refusals = RecentRefusals()
    for _ in range(MOST_WAITING + 5):
        refusals.add(NOW, retry_after_s=5)
    assert refusals.count(NOW) == MOST_WAITING

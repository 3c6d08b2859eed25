"""Requests that were refused lately count as demand until their clients may come again."""

from deployments.policy.queue.demand import MOST_WAITING, REFUSED_S, RecentRefusals

NOW = 100.0


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

"""What `make chaos` makes of clients that were told when to come again."""

from tests.multihost.clients import Promise, kept


def test_a_promise_is_measured_by_the_next_answer_that_anybody_gets() -> None:
    assert kept([(5.0, 3), (1.0, 8)], [9.2, 0.0, 9.0]) == [Promise(8, 8.0), Promise(3, 4.0)]


def test_nobody_knows_what_came_of_a_promise_after_the_last_answer() -> None:
    assert kept([(9.5, 1)], [0.0, 9.0]) == []

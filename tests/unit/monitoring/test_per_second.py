"""A bound on how often something is done in a second."""

from monitoring.observing.per_second import PerSecond


def test_second_has_room_for_so_many_and_the_next_one_again() -> None:
    bound = PerSecond()
    assert [bound.takes(now, 2) for now in (5.0, 5.5, 5.9, 5.99, 6.0)] == [True, True, False, False, True]
    assert (bound.told(), bound.told()) == (2, 0)

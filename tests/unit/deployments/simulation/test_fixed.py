"""The smallest fixed number that keeps the objectives is found from any guess, by few simulations."""

import pytest

from cluster.scaling.work import Slo
from deployments.simulation.fixed import fewest, keeps
from deployments.simulation.outcome import Outcome

SLO = Slo(1.0, 0.1, 0.9)


def outcome(is_good: bool) -> Outcome:
    found = Outcome()
    number = found.requests.arrived(0.0, 10, 1)
    found.requests.answered(number, 0.5 if is_good else 5.0, 0)
    found.requests.ended(number, 5.0 if not is_good else 0.5)
    return found


@pytest.mark.parametrize("near", [1, 2, 7, 8, 30, 900, 5000])
@pytest.mark.parametrize("needed", [1, 2, 8, 31, 1000])
def test_smallest_number_is_found_from_any_guess(near: int, needed: int) -> None:
    asked: list[int] = []

    def run(number: int) -> Outcome:
        asked.append(number)
        return outcome(number >= needed)

    found = fewest(run, SLO, near, 1024)
    assert found is not None
    assert found[0] == needed
    assert keeps(found[1], SLO)
    assert len(asked) == len(set(asked)) <= 22


def test_good_guess_takes_two_simulations() -> None:
    asked: list[int] = []
    fewest(lambda number: asked.append(number) or outcome(number >= 8), SLO, 8, 1024)  # type: ignore[func-returns-value]
    assert asked == [8, 7]


def test_no_number_is_found_where_none_keeps_the_objectives() -> None:
    assert fewest(lambda _: outcome(False), SLO, 3, 16) is None

"""The smallest fixed number of replicas that keeps the objectives, by as few simulations as it takes."""

from collections.abc import Callable

from cluster.scaling.work import Slo
from deployments.simulation.outcome import Outcome


def keeps(outcome: Outcome, slo: Slo) -> bool:
    """Returns whether as many requests as the objectives ask for kept both of them."""
    return outcome.attainment(slo) >= slo.quantile


def fewest(run: Callable[[int], Outcome], slo: Slo, near: int, most: int) -> tuple[int, Outcome] | None:
    """Returns the smallest number that keeps the objectives, and how it went; None where even the largest one does not.

    More replicas are taken to do no worse. The search begins at a guess, takes growing steps up or down, and halves what is left.

    Args:
        run: simulates a fixed number of replicas.
        slo: the objectives.
        near: a guess.
        most: the largest number that is looked at.
    """
    number = max(1, min(near, most))
    outcome, low, step = run(number), 0, 1
    found = (number, outcome) if keeps(outcome, slo) else None
    while found is None:
        if number == most:
            return None
        low, number = number, min(most, number + step)
        outcome, step = run(number), step * 2
        found = (number, outcome) if keeps(outcome, slo) else None
    while found[0] - low > 1:
        # Below a guess that holds the answer is near it; between two steps up it is anywhere.
        number = max((low + found[0]) // 2, found[0] - step)
        outcome, step = run(number), step * 2
        if keeps(outcome, slo):
            found = (number, outcome)
        else:
            low = number
    return found

"""A simulation over time: spans hold what came in them, and what never came is later than all else."""

from math import inf

import pytest

from cluster.scaling.work import Slo
from deployments.simulation.outcome import Change, Outcome
from deployments.simulation.report.series import MOST_SPANS, series

SLO = Slo(1.0, 0.1, 0.9)


def outcome(*went: tuple[float, float, float], until_s: float = 40.0) -> Outcome:
    """Requests of 11 tokens by arrival, first token, last token."""
    found = Outcome(gpus_per_replica=2, begun_with=1, until_s=until_s)
    for at_s, first_s, end_s in went:
        number = found.requests.arrived(at_s, 100, 11)
        if first_s < inf:
            found.requests.answered(number, at_s + first_s, 0)
            found.requests.ended(number, at_s + end_s)
    return found


def test_requests_count_in_the_span_in_which_they_came() -> None:
    found = series(outcome((0.0, 0.5, 1.0), (9.0, 2.0, 4.0), (25.0, inf, inf)), SLO)
    assert found.span_s == 10.0
    assert found.requests_s == (0.2, 0.0, 0.1, 0.0)
    assert found.prompt_tokens_s == (20.0, 0.0, 10.0, 0.0)
    assert (found.ttft_p50_s, found.ttft_p99_s) == ((2.0, None, None, None), (2.0, None, None, None))
    assert found.itl_p90_s[0] == pytest.approx(0.2)
    assert found.itl_p90_s[1:] == (None, None, None)
    assert found.attainment == (0.5, None, 0.0, None)


def test_replicas_are_those_at_the_end_of_each_span_and_gpu_hours_those_held_since_the_begin() -> None:
    one = outcome((0.0, 0.5, 1.0))
    one.changes.extend([Change(12.0, 3, 2, 1, 0), Change(15.0, 2, 0, 2, 0), Change(35.0, 1, 0, 1, 1)])
    found = series(one, SLO)
    assert (found.wanted, found.starting, found.ready, found.draining) == (
        (1.0, 2.0, 2.0, 1.0),
        (0.0, 0.0, 0.0, 0.0),
        (1.0, 2.0, 2.0, 1.0),
        (0.0, 0.0, 0.0, 1.0),
    )
    assert found.gpu_hours == pytest.approx([2 * replica_s / 3600 for replica_s in (10, 12 + 9 + 10, 51, 71)])


def test_long_and_empty_simulations_have_a_bounded_number_of_spans() -> None:
    assert len(series(outcome((0.0, 0.5, 1.0), until_s=1e6), SLO).ready) == MOST_SPANS
    assert len(series(Outcome(begun_with=1), SLO).ready) == 1

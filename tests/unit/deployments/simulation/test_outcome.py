"""What a simulation says at its end counts every request, also those that were refused."""

from math import inf

import pytest

from cluster.scaling.work import Slo
from deployments.simulation.outcome import Change, Outcome

SLO = Slo(1.0, 0.1, 0.9)


def outcome(*went: tuple[float, float, float, int]) -> Outcome:
    """Requests by arrival, first token, last token, tokens of the answer; infinite times are no times."""
    found = Outcome(gpus_per_replica=2, gpu_s=7200.0, until_s=1800.0)
    for at_s, first_s, end_s, tokens in went:
        number = found.requests.arrived(at_s, 100, tokens)
        if first_s < inf:
            assert found.requests.answered(number, at_s + first_s, 0) == pytest.approx(first_s)
        if end_s < inf:
            found.requests.ended(number, at_s + end_s)
    return found


def test_request_keeps_the_objectives_only_with_both_and_never_when_it_was_refused() -> None:
    found = outcome((0, 0.5, 1.4, 10), (0, 1.5, 2.0, 10), (0, 0.5, 2.0, 10), (0, inf, inf, 10), (0, 0.5, inf, 10), (0, 0.5, 0.5, 1))
    assert found.kept(SLO).tolist() == [True, False, False, False, False, True]
    assert found.attainment(SLO) == pytest.approx(2 / 6)


def test_time_out_of_slo_counts_the_bins_in_which_too_many_missed() -> None:
    good, bad = (0.5, 1.0, 10), (2.0, 3.0, 10)
    first = [(at_s, *good) for at_s in range(9)] + [(9.0, *bad)]
    second = [(10.0 + at_s, *good) for at_s in range(8)] + [(18.0, *bad), (19.0, *bad)]
    assert outcome(*first).out_of_slo_s(SLO) == 0.0
    assert outcome(*first, *second, (35.0, *bad)).out_of_slo_s(SLO) == 20.0


def test_replicas_on_average_and_gpu_hours_come_from_what_was_held() -> None:
    found = outcome((0, 0.5, 1.0, 10))
    assert (found.replicas, found.gpu_hours) == (2.0, 2.0)
    assert found.most == 0
    found.changes.append(Change(5.0, 2, 1, 2, 1))
    assert found.most == 4
    figures = found.figures(SLO)
    assert (figures["attainment"], figures["ttft_p99_s"], figures["requests"]) == (1.0, 0.5, 1)


def test_outcome_without_requests_or_time_has_figures_all_the_same() -> None:
    found = Outcome()
    assert (found.attainment(SLO), found.out_of_slo_s(SLO), found.replicas, found.figures(SLO)["itl_p50_s"]) == (1.0, 0.0, 0.0, 0.0)

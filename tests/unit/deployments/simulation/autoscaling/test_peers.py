"""Rules of others that a simulation can be asked for: they do what their sources say."""

import pytest

from cluster.scaling.work import Slo
from deployments.simulation.autoscaling import keda, signals
from deployments.simulation.autoscaling.hpa import Behaviour, Hpa, Policy
from deployments.simulation.autoscaling.llmd import SloAware, TokenAware
from deployments.simulation.autoscaling.observation import Observation, ReplicaSample, Sample

SLO = Slo(3.0, 0.1)


def sample(at_s: float, replicas: int, waiting: int = 0, ttft_s: tuple[float, ...] = (), step_s: float = 0.02, **more: int) -> Sample:
    """Each replica runs 10 requests, and has made their tokens at one pace since time 0."""
    each = [ReplicaSample(f"r{n}", 10, waiting, 0.5, 1e3, 0, int(at_s / step_s) * 10, waiting * 1000) for n in range(replicas)]
    return Sample(at_s, more.get("arrived", 0), 0, 0, 0, 0, 0, ttft_s, (), more.get("line", 0), 0, tuple(each))


def seen(now_s: float, samples: list[Sample], target: int, ready: int | None = None, starting: int = 0) -> Observation:
    return Observation(now_s, target, target - starting if ready is None else ready, ((now_s, 0),) * starting, 0, (), samples)


def test_quantile_of_a_histogram_is_as_far_up_in_its_bucket_as_the_share() -> None:
    assert signals.histogram_quantile(0.9, [0.021] * 10, signals.TPOT_BUCKETS_S) == pytest.approx(0.038)
    assert signals.histogram_quantile(0.9, [99.0], (1.0, 2.0)) == 2.0
    assert signals.histogram_quantile(0.5, [0.5, 0.5], (1.0,)) == 0.5
    assert signals.histogram_quantile(0.9, [], (1.0,)) is None


def test_hpa_holds_within_its_tolerance_of_a_tenth() -> None:
    hpa = Hpa(Behaviour(), 1, 100)
    assert hpa.by_average(0.0, 10, 10.9, 1.0) == 10
    assert hpa.by_average(15.0, 10, 12.0, 1.0) == 12


def test_hpa_takes_the_highest_of_its_window_down_and_the_lowest_up() -> None:
    hpa = Hpa(Behaviour(up_window_s=30.0, down_window_s=60.0), 1, 100)
    assert hpa.limited(0.0, 4, 4) == 4
    assert hpa.limited(15.0, 4, 8) == 4
    assert hpa.limited(31.0, 4, 6) == 6
    assert hpa.limited(50.0, 6, 1) == 6
    assert hpa.limited(120.0, 6, 1) == 1


def test_hpa_lets_so_many_pods_come_and_go_in_a_period() -> None:
    hpa = Hpa(Behaviour(Policy(4, 1.0, 60.0), Policy(1, 0.0, 120.0), 0.0, 0.0), 1, 100)
    assert hpa.limited(0.0, 2, 50) == 6
    assert hpa.limited(15.0, 6, 50) == 6
    assert hpa.limited(61.0, 6, 50) == 12
    assert hpa.limited(200.0, 12, 1) == 11
    assert hpa.limited(215.0, 11, 1) == 11


def test_llm_ds_slo_rule_credits_what_starts_and_holds_within_its_band() -> None:
    def asked(step_s: float, target: int, starting: int = 0) -> list[int]:
        rule, numbers = SloAware(SLO, 1, 20), []
        for at_s in range(15, 241, 15):
            samples = [sample(at_s - 5.0, target, step_s=step_s), sample(float(at_s), target, step_s=step_s)]
            numbers.append(rule.wanted(seen(float(at_s), samples, target, starting=starting)).replicas)
        return numbers

    assert set(asked(0.05, 4)) == {4, 5}  # reads 0.058: 4 + ceil(4 × (0.58 / 0.55 - 1))
    assert set(asked(0.05, 4, starting=1)) == {4}
    assert asked(0.03, 4) == [4] * 16  # reads 0.038: 0.38 asks for less than a whole one less
    assert set(asked(0.015, 4)) == {4, 3}  # one a time
    assert set(asked(0.015, 4)[:12]) == {4}  # and none within 180 s


def test_llm_ds_slo_rule_holds_between_its_thresholds() -> None:
    rule = SloAware(SLO, 1, 20)  # a first token after 1.4 s reads as 1.475 s: 0.49 of the objective
    assert [rule.wanted(seen(at_s, [sample(at_s, 4, ttft_s=(1.4,))], 4)).replicas for at_s in (15.0, 300.0)] == [4, 4]


def test_llm_ds_slo_rule_holds_without_a_latency() -> None:
    assert SloAware(SLO, 1, 8).wanted(seen(15.0, [], 3)).replicas == 3


def test_llm_ds_token_rule_takes_the_larger_of_backlog_and_caches() -> None:
    rule = TokenAware(16_000, 1, 20)
    assert rule.wanted(seen(15.0, [], 2)).replicas == 2
    assert rule.wanted(seen(30.0, [sample(30.0, 2, waiting=60)], 2)).replicas == 5
    assert TokenAware(16_000, 1, 20).wanted(seen(15.0, [sample(15.0, 4)], 2)).replicas == 3


def test_keda_counts_the_queue_and_llm_d_what_runs_too() -> None:
    samples = [sample(15.0, 2, waiting=8)]
    assert keda.production_stack(1, 20).wanted(seen(15.0, samples, 2)).replicas == 4
    assert keda.llm_d(1, 8).wanted(seen(15.0, samples, 2)).replicas == 6
    assert keda.llm_d(1, 8).wanted(seen(15.0, [], 2)).replicas == 2

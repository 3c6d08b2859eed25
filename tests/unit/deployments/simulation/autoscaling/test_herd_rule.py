"""Production's decision sees what was sampled, and a log of its decisions, replayed, gives the same ones."""

from dataclasses import replace

import pytest

from cluster.scaling.decide import decide
from cluster.scaling.limits import Limits
from cluster.scaling.schedules import schedule
from cluster.scaling.state import State
from cluster.scaling.work import Pace, Slo
from deployments.simulation.autoscaling.herd_rule import HerdRule
from deployments.simulation.autoscaling.observation import Lag, Observation, ReplicaSample, Sample
from deployments.simulation.cluster import Simulation
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes
from deployments.simulation.fleet import Pool, StartTimes
from deployments.simulation.loads.generated import Lengths, load
from deployments.simulation.setup import Setup

LIMITS = Limits(Pace(16_000, 2000, 250_000), 1, 8, Slo(3.0, 0.1), expected_start_s=60.0)


def sample(at_s: float, waiting: int = 0, ready_s: float = 500.0, **more: int) -> Sample:
    replica = ReplicaSample("a", 5, waiting, 0.5, ready_s, int(at_s) * 1000, int(at_s) * 100, waiting * 200)
    return Sample(at_s, 10, 1, 4000, 1000, more.get("output", 0), more.get("ended", 0), (), (0.02,) * more.get("ended", 0),
                  more.get("line", 0), more.get("line", 0) * 200, (replica,), 1_800_000)  # fmt: skip


def seen(now_s: float, *samples: Sample) -> Observation:
    return Observation(now_s, 2, 1, ((now_s - 5, 1),), 1, (60.0,), samples)


def test_without_a_sample_the_target_is_held() -> None:
    rule = HerdRule(LIMITS)
    assert rule.wanted(seen(5.0)).replicas == 2
    observation, now_s, decision = rule.decisions[-1]
    assert (observation.report, now_s, decision.held) == (None, 5.0, "no report")


def test_arrivals_become_buckets_once_with_usual_answers_and_what_caches_had() -> None:
    rule = HerdRule(LIMITS, output_tokens=100.0, itl_s=0.02)
    first, second = sample(5.0), sample(10.0)
    rule.wanted(seen(11.0, first, second))
    rule.wanted(seen(16.0, first, second, sample(15.0)))
    report = rule.decisions[-1][0].report
    assert report is not None
    assert [(one.begun_s, one.seconds, one.requests) for one in report.arrivals] == [(5.0, 5.0, 10), (10.0, 5.0, 10)]
    bucket = report.arrivals[0]
    assert (bucket.work.prefill_tokens, bucket.work.decode_tokens, bucket.cached_tokens) == (3000, 1000.0, 1000)
    assert bucket.squared_tokens == 1_800_000
    assert bucket.work.kv_token_s == pytest.approx((4000 + 500) * 2.0)
    assert (report.taken_s, report.start_times_s, report.running_requests) == (15.0, (60.0,), 5)
    start = rule.decisions[-1][0].starting[0]
    assert (start.begun_s, start.failures) == (11.0, 1)


def test_answers_that_end_teach_what_is_usual() -> None:
    rule = HerdRule(LIMITS, output_tokens=100.0)
    for at_s in range(5, 3000, 5):
        rule.wanted(seen(at_s + 6.0, sample(float(at_s)), sample(at_s + 5.0, output=4000, ended=10)))
    report = rule.decisions[-1][0].report
    assert report is not None
    assert report.arrivals[-1].work.decode_tokens == pytest.approx(10 * 400, rel=0.01)


def test_what_waits_is_backlog_and_what_was_served_meanwhile_is_told() -> None:
    rule = HerdRule(LIMITS, output_tokens=100.0)
    rule.wanted(seen(11.0, sample(5.0, waiting=2, line=1), sample(10.0, waiting=3, line=4)))
    report = rule.decisions[-1][0].report
    assert report is not None
    assert (report.waiting_requests, report.backlog.prefill_tokens, report.backlog.decode_tokens) == (7, 1400, 700.0)
    (served,) = report.served
    assert (served.ended_s, served.replica_s, served.youngest_s, served.itl_s) == (10.0, 5.0, 500.0, 0.0)
    assert (served.work.prefill_tokens, served.work.decode_tokens) == (5000, 500)


def test_what_waits_in_an_engine_at_two_moments_teaches_no_pace() -> None:
    rule = HerdRule(LIMITS)
    rule.wanted(seen(11.0, sample(5.0, waiting=2), sample(10.0, waiting=3)))
    report = rule.decisions[-1][0].report
    assert report is not None
    assert report.served == ()


def test_line_in_the_gateway_is_backlog_of_every_replica_and_the_time_between_tokens_is_told() -> None:
    rule = HerdRule(LIMITS)
    rule.wanted(seen(11.0, sample(5.0, line=1), sample(10.0, line=1, output=100, ended=10)))
    report = rule.decisions[-1][0].report
    assert report is not None
    assert report.served[0].itl_s == 0.02


def test_old_buckets_are_forgotten() -> None:
    rule = HerdRule(LIMITS, lag=Lag(keep_s=20.0))
    samples = [sample(at_s, line=1) for at_s in (5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0)]
    rule.wanted(seen(36.0, *samples))
    report = rule.decisions[-1][0].report
    assert report is not None
    assert report.arrivals[0].begun_s == 15.0
    assert report.served[0].ended_s == 15.0


def test_all_times_are_those_of_the_begin_so_that_schedules_hold() -> None:
    nine = schedule("mon 09:00-10:00", "UTC", 5)
    rule = HerdRule(replace(LIMITS, schedules=(nine,)), begins_s=4 * 86_400.0)
    early, late = (rule.wanted(seen(at_s + 1.0, sample(at_s - 5.0, line=1), sample(at_s, line=1))) for at_s in (3600.0, 9 * 3600.0))
    assert late.replicas >= 5 > early.replicas
    observation, now_s, _ = rule.decisions[-1]
    report = observation.report
    assert report is not None
    begun = {
        now_s - 1.0,
        report.taken_s,
        report.served[-1].ended_s,
        report.arrivals[-1].begun_s + 5.0,
        observation.starting[0].begun_s + 5.0 - 1.0,
    }
    assert begun == {4 * 86_400.0 + 9 * 3600.0}


def test_log_of_a_run_replayed_gives_the_same_decisions() -> None:
    pool = Pool(StartTimes((("start", 20.0),), 0.2))
    setup = replace(Setup(Size(100_000), StepTimes(SCOUT_ON_H100), pool), most=8, until_s=120.0)
    rule = HerdRule(LIMITS)
    outcome = Simulation(setup, rule, 1).run(load("step:1@60,4@60", Lengths(500, 50)).requests(1))
    state = State()
    for observation, now_s, decision in rule.decisions:
        again = decide(observation, LIMITS, state, now_s)
        assert again == decision
        state = again.state
    assert len(rule.decisions) > 20
    assert all(one.reason for one in outcome.decided)

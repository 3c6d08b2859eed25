"""A rule sees samples late, old ones while metrics are out, and never what nobody sampled."""

from random import Random

from deployments.simulation.autoscaling.monitor import Monitor
from deployments.simulation.autoscaling.observation import Lag, Observation, Sample
from deployments.simulation.autoscaling.rules import Planned, Static
from deployments.simulation.engine.clocked import ClockedEngine
from deployments.simulation.engine.request import Request, Size
from deployments.simulation.engine.scheduler import Scheduler
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes
from deployments.simulation.fleet import Fleet, Pool

TIMES = StepTimes(SCOUT_ON_H100)


def fleet() -> Fleet:
    return Fleet(Pool(), lambda: ClockedEngine(Scheduler(Size(10_000, sequences=1), TIMES)), Random(1))


def test_trap_27_sample_is_seen_only_after_it_was_pushed() -> None:
    own = fleet()
    monitor = Monitor(Lag(push_s=10.0))
    monitor.arrived(100)
    monitor.sample(own, 0, 0, 5.0)
    monitor.arrived(7)
    assert monitor.seen(own, 14.0).samples == []
    assert monitor.seen(own, 14.0).last(60.0) == []
    seen = monitor.seen(own, 15.0).samples
    assert [(one.at_s, one.arrived, one.prompt_tokens) for one in seen] == [(5.0, 1, 100)]


def test_trap_8_metrics_that_are_out_leave_the_last_sample_and_are_caught_up_afterwards() -> None:
    own = fleet()
    monitor = Monitor(Lag(), outages=((10.0, 20.0),))
    for at_s in (5.0, 10.0, 15.0, 20.0):
        monitor.arrived(1)
        monitor.refused()
        monitor.sample(own, 0, 0, at_s)
    assert [one.at_s for one in monitor.seen(own, 19.0).samples] == [5.0]
    assert [(one.at_s, one.arrived, one.refused) for one in monitor.seen(own, 20.0).samples] == [(5.0, 1, 1), (20.0, 3, 3)]


def test_sample_tells_of_every_replica_and_of_answers_since_the_last() -> None:
    own = fleet()
    own.begin(1)
    (member,) = own.ready.values()
    for number in range(2):
        member.engine.submit(Request(number, (), 100, 50), 0.0)
    member.engine.wake()
    monitor = Monitor(Lag())
    monitor.answered(0.5, 512)
    monitor.ended(20, 0.03)
    own.grow(2, 0.0)
    monitor.sample(own, 3, 300, 5.0)
    (sample,) = monitor.seen(own, 5.0).samples
    (said,) = sample.replicas
    assert (said.running, said.waiting, said.wait_tokens, said.ready_s) == (1, 1, 100, 5.0)
    assert (sample.ttft_s, sample.per_token_s, sample.found_tokens, sample.output_tokens) == ((0.5,), (0.03,), 512, 20)
    assert (sample.line, sample.line_tokens) == (3, 300)
    seen = monitor.seen(own, 5.0)
    assert (seen.target, seen.ready, seen.starting, seen.draining) == (2, 1, ((0.0, 0),), 0)


def test_old_samples_are_forgotten_but_for_the_last() -> None:
    own = fleet()
    monitor = Monitor(Lag(keep_s=10.0))
    for at_s in (1.0, 2.0):
        monitor.sample(own, 0, 0, at_s)
    assert [one.at_s for one in monitor.seen(own, 50.0).samples] == [2.0]


def test_window_holds_its_samples_and_at_least_the_newest() -> None:
    samples = [Sample(at_s, 0, 0, 0, 0, 0, 0, (), (), 0, 0, ()) for at_s in (1.0, 2.0, 3.0)]
    seen = Observation(3.5, 1, 1, (), 0, (), samples)
    assert [one.at_s for one in seen.last(2.0)] == [2.0, 3.0]
    assert [one.at_s for one in seen.last(0.1)] == [3.0]
    assert [one.at_s for one in seen.last(99.0)] == [1.0, 2.0, 3.0]


def test_fixed_number_and_plan_say_what_they_were_told() -> None:
    def at(now_s: float) -> Observation:
        return Observation(now_s, 1, 1, (), 0, (), ())

    assert Static(3).wanted(at(5.0)).replicas == 3
    plan = Planned(((0.0, 2), (10.0, 4)))
    assert [plan.wanted(at(now_s)).replicas for now_s in (0.0, 9.9, 10.0)] == [2, 2, 4]

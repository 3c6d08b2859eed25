"""A cluster in virtual time serves every request, whatever comes and goes, and the same for the same seed."""

from dataclasses import replace
from math import inf

import pytest

from cluster.scaling.work import Slo
from configs.schema import Limits
from deployments.simulation.autoscaling.observation import Lag, Observation
from deployments.simulation.autoscaling.rules import Planned, Static, Wanted
from deployments.simulation.cluster import Simulation
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes
from deployments.simulation.fleet import Pool, StartTimes
from deployments.simulation.loads.clients import clients
from deployments.simulation.loads.generated import Lengths
from deployments.simulation.loads.traces import Traced
from deployments.simulation.outcome import Outcome
from deployments.simulation.setup import Setup

SETUP = Setup(Size(100_000), StepTimes(SCOUT_ON_H100), limits=Limits(queue_s=60, queue_requests=10_000))
SLO = Slo(1.0, 0.05)


def steady(per_s: float, seconds: float, output_tokens: int = 20) -> list[Traced]:
    return [Traced(number / per_s, 200, output_tokens, ()) for number in range(int(per_s * seconds))]


def served(outcome: Outcome) -> bool:
    return max(outcome.requests.end_s) < inf


def starting(seconds: float, **more: float) -> Pool:
    return Pool(StartTimes((("start", seconds),)), **more)  # type: ignore[arg-type]


def test_every_request_is_served_at_what_the_engine_takes() -> None:
    outcome = Simulation(SETUP, Static(1)).run(steady(1.0, 20))
    assert len(outcome.requests) == 20
    assert served(outcome)
    alone = SETUP.step_times.step(200, 200 * 100, 0, 0)
    assert list(outcome.requests.first_s) == pytest.approx([alone] * 20)
    assert outcome.gpu_s == pytest.approx(outcome.until_s)


def test_same_seed_gives_the_same_outcome_and_starts_differ_by_seed() -> None:
    setup = replace(SETUP, pool=Pool(StartTimes((("start", 5.0),), spread=0.5)))
    rule = ((0.0, 1), (3.0, 3))
    one, same, other = (Simulation(setup, Planned(rule), seed).run(steady(20.0, 30, 100)) for seed in (1, 1, 2))
    assert one.requests.end_s == same.requests.end_s
    assert one.changes == same.changes != other.changes


def test_replicas_that_start_take_requests_when_they_are_ready_and_count_from_the_begin_of_their_start() -> None:
    setup = replace(SETUP, pool=starting(10.0), until_s=40.0)
    outcome = Simulation(setup, Planned(((0.0, 1), (5.0, 2)))).run(steady(5.0, 40))
    assert [(change.at_s, change.starting, change.ready) for change in outcome.changes] == [(5.0, 1, 1), (15.0, 0, 2)]
    assert outcome.gpu_s == 40.0 + 35.0
    assert [(one.at_s, one.before, one.after, one.reason) for one in outcome.decided] == [(5.0, 1, 2, "The plan.")]


def test_draining_replica_ends_what_it_has_and_takes_nothing_new() -> None:
    setup = replace(SETUP, replicas=2, pool=Pool(drain_s=20.0), until_s=60.0)
    outcome = Simulation(setup, Planned(((0.0, 2), (5.0, 1)))).run(steady(2.0, 30, 500))
    assert served(outcome)
    assert outcome.moved == 0
    at_s, *_, draining = outcome.changes[0]
    assert (at_s, draining) == (5.0, 1)
    assert outcome.changes[-1].draining == 0
    assert 60.0 < outcome.gpu_s < 60.0 + 20.0


def test_idle_replica_goes_at_once() -> None:
    outcome = Simulation(replace(SETUP, replicas=3, until_s=10.0), Planned(((0.0, 3), (5.0, 1)))).run(())
    assert outcome.gpu_s == pytest.approx(10.0 + 2 * 5.0)


def test_drain_that_takes_too_long_is_cut_off_and_its_requests_go_on_elsewhere() -> None:
    setup = replace(SETUP, replicas=2, pool=Pool(drain_s=1.0), until_s=60.0)
    outcome = Simulation(setup, Planned(((0.0, 2), (5.0, 1)))).run(steady(2.0, 10, 1000))
    assert served(outcome)
    assert outcome.moved > 0


def test_replica_that_dies_loses_no_request_and_another_one_starts() -> None:
    setup = replace(SETUP, replicas=2, pool=starting(10.0), deaths=(5.0,), until_s=40.0)
    outcome = Simulation(setup, Static(2)).run(steady(4.0, 20, 200))
    assert served(outcome)
    assert outcome.moved > 0
    assert outcome.refused == 0
    assert [(change.at_s, change.starting, change.ready) for change in outcome.changes] == [(5.0, 1, 1), (15.0, 0, 2)]


def test_moved_request_keeps_the_time_of_its_first_token() -> None:
    lone = Simulation(replace(SETUP, replicas=2), Static(2)).run([Traced(0.0, 200, 500, ())])
    moved = Simulation(replace(SETUP, replicas=2, deaths=(2.0,)), Static(2)).run([Traced(0.0, 200, 500, ())])
    assert moved.moved in (0, 1)
    both = Simulation(replace(SETUP, replicas=2, deaths=(2.0, 2.1)), Static(2)).run([Traced(0.0, 200, 500, ())])
    assert both.moved >= 1
    assert both.requests.first_s[0] == lone.requests.first_s[0] == moved.requests.first_s[0]
    assert both.requests.end_s[0] > lone.requests.end_s[0]


def test_requests_are_refused_while_nobody_is_there_and_begun_ones_wait_for_the_next_replica() -> None:
    setup = replace(SETUP, pool=starting(10.0), deaths=(1.0, 1.5), until_s=30.0)
    outcome = Simulation(setup, Static(1)).run([Traced(0.0, 200, 500, ()), Traced(5.0, 200, 10, ())])
    assert outcome.refused == 1
    assert outcome.requests.end_s[0] > 10.0
    assert outcome.requests.end_s[1] == inf


def test_failed_starts_are_tried_again_and_hold_gpus() -> None:
    setup = replace(SETUP, pool=Pool(StartTimes((("start", 5.0),), failing=1.0)), until_s=24.0)
    outcome = Simulation(setup, Planned(((0.0, 1), (3.0, 2)))).run(steady(1.0, 5))
    assert outcome.failed_starts == 4
    assert outcome.gpu_s == 24.0 + 21.0


def test_trap_16_start_waits_until_the_draining_replica_has_given_its_gpus_back() -> None:
    setup = replace(SETUP, replicas=2, pool=starting(1.0, most_gpus=2), until_s=60.0)
    outcome = Simulation(setup, Planned(((0.0, 2), (5.0, 1), (6.0, 2)))).run(steady(2.0, 30, 500))
    assert served(outcome)
    begun = next(change for change in outcome.changes if change.starting)
    assert begun.at_s > 6.0
    assert begun.draining == 0


def test_start_that_is_not_wanted_any_more_ends() -> None:
    setup = replace(SETUP, pool=starting(10.0), until_s=30.0)
    outcome = Simulation(setup, Planned(((0.0, 1), (2.0, 2), (5.0, 1)))).run(steady(1.0, 20))
    assert outcome.changes[-1][1:] == (1, 0, 1, 0)
    assert outcome.gpu_s == 30.0 + 3.0


def test_requests_that_wait_too_long_are_refused() -> None:
    setup = replace(SETUP, size=Size(100_000, sequences=1), limits=Limits(queue_s=2, queue_requests=100))
    outcome = Simulation(setup, Static(1)).run([Traced(0.0, 200, 500, ())] * 3)
    assert outcome.refused == 2
    assert outcome.attainment(SLO) == pytest.approx(1 / 3)


def test_waiting_requests_go_on_when_a_place_is_free() -> None:
    setup = replace(SETUP, size=Size(100_000, sequences=1))
    outcome = Simulation(setup, Static(1)).run([Traced(0.0, 200, 50, ())] * 3)
    assert served(outcome)
    assert sorted(outcome.requests.end_s) == list(outcome.requests.end_s)


def test_rule_sees_arrivals_and_a_line_and_stays_within_bounds() -> None:
    class Watching:
        lag = Lag(sample_s=1.0, sync_s=1.0)

        def __init__(self) -> None:
            self.seen: list[Observation] = []

        def wanted(self, seen: Observation) -> Wanted:
            self.seen.append(seen._replace(samples=tuple(seen.samples)))
            return Wanted(99)

    rule = Watching()
    limits = Limits(queue_s=600, queue_requests=10_000)
    setup = replace(SETUP, size=Size(100_000, sequences=1), pool=starting(100.0), most=2, reports_s=0.5, limits=limits)
    outcome = Simulation(setup, rule).run(steady(4.0, 10, 200))
    assert outcome.decided[0].after == 2
    samples = rule.seen[-1].samples
    assert max(one.line for one in samples) > 1
    assert max(one.line_tokens for one in samples) > 200
    assert sum(one.arrived for one in samples) == 40
    assert served(outcome)


def test_death_without_a_replica_changes_nothing() -> None:
    setup = replace(SETUP, replicas=0, least=0, deaths=(1.0,), until_s=5.0)
    assert Simulation(setup, Static(0)).run(()).gpu_s == 0.0


def test_nothing_is_counted_or_decided_after_the_end_of_the_time_and_requests_are_served_all_the_same() -> None:
    outcome = Simulation(replace(SETUP, until_s=2.0), Planned(((0.0, 1), (5.0, 3)))).run(steady(1.0, 10))
    assert (outcome.gpu_s, outcome.decided) == (2.0, [])
    assert served(outcome)


def test_clients_that_wait_never_have_more_requests_in_flight_than_they_are() -> None:
    askers = clients([(8, 0.0, 60.0)], Lengths(200, 50), 1)
    outcome = Simulation(replace(SETUP, size=Size(100_000, sequences=4), until_s=60.0), Static(1)).run(askers)
    asked = outcome.requests
    assert served(outcome)
    assert len(asked) > 10 * len(askers)
    ends = [(at + end, -1) for at, end in zip(asked.at_s, asked.end_s, strict=True)]
    in_flight, most = 0, 0
    for _, more in sorted(ends + [(at, 1) for at in asked.at_s]):
        in_flight += more
        most = max(most, in_flight)
    assert most == 8
    assert 55 < max(asked.at_s) < 60


def test_simulation_without_an_end_goes_on_until_a_client_asks_no_more() -> None:
    outcome = Simulation(SETUP, Static(1)).run(clients([(1, 0.0, 60.0)], Lengths(200, 50), 1))
    assert 59 < max(outcome.requests.at_s) < 60
    assert served(outcome)


def test_client_that_is_refused_asks_again_a_second_later() -> None:
    limits = Limits(queue_s=60, queue_requests=1)
    setup = replace(SETUP, size=Size(100_000, sequences=1), limits=limits, until_s=30.0)
    outcome = Simulation(setup, Static(1)).run(clients([(4, 0.0, 30.0)], Lengths(200, 400, 0.0), 1))
    assert outcome.refused > 20
    assert sum(end < inf for end in outcome.requests.end_s) > 3

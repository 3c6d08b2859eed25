"""A crowd in virtual time: the gateway's line lets those go first that can keep their objective, and engines do as much."""

from dataclasses import replace
from math import inf

import pytest

from cluster.scaling.work import Slo
from configs.schema import Limits
from deployments.simulation.autoscaling.rules import Static
from deployments.simulation.cluster import Simulation
from deployments.simulation.engine.request import Size
from deployments.simulation.engine.step_times import SCOUT_ON_H100, StepTimes
from deployments.simulation.loads.generated import Lengths, load
from deployments.simulation.outcome import Outcome
from deployments.simulation.setup import Setup

SETUP = Setup(
    Size(400_000, sequences=32), StepTimes(SCOUT_ON_H100), least=2, replicas=2, limits=Limits(queue_s=3600, queue_requests=100_000)
)
SLO = Slo(3.0, 10.0)
#: Prompts, answers, and requests a second of a crowd, each more than two replicas can do: by slots, and by prompts.
CROWDS = {"slots": (Lengths(500, 300), 12), "long prompts": (Lengths(2000, 200), 10)}


def crowd(name: str, ttft_s: float) -> Outcome:
    lengths, rate = CROWDS[name]
    asked = list(load(f"step:{rate}@60", lengths, 1).requests(1))
    return Simulation(replace(SETUP, ttft_s=ttft_s, until_s=60.0), Static(2)).run(asked)


@pytest.mark.parametrize("name", CROWDS)
def test_most_of_those_that_can_be_served_in_time_are(name: str) -> None:
    in_turn, late_last = crowd(name, inf), crowd(name, SLO.ttft_s)
    possible = len([end for at, end in zip(in_turn.requests.at_s, in_turn.requests.end_s, strict=True) if at + end <= 60]) / len(
        in_turn.requests
    )
    assert in_turn.attainment(SLO) < possible / 3, "all of a long line are late where it goes in turn"
    assert late_last.attainment(SLO) > possible


@pytest.mark.parametrize("name", CROWDS)
def test_engines_do_as_much(name: str) -> None:
    in_turn, late_last = crowd(name, inf), crowd(name, SLO.ttft_s)
    over = [max(at + end for at, end in zip(one.requests.at_s, one.requests.end_s, strict=True)) for one in (in_turn, late_last)]
    assert over[1] == pytest.approx(over[0], rel=0.03)


def test_short_crowd_leaves_more_in_time_and_hardly_more_are_refused() -> None:
    """By the usual limits, by which a request waits for half a minute at most."""
    asked = list(load("flash:4,30@100+4/400", CROWDS["slots"][0], 1).requests(1))
    setups = (replace(SETUP, limits=Limits(), ttft_s=ttft_s, until_s=400.0) for ttft_s in (inf, SLO.ttft_s))
    in_turn, late_last = (Simulation(setup, Static(2)).run(asked) for setup in setups)
    assert late_last.attainment(SLO) > in_turn.attainment(SLO) + 0.05
    assert late_last.refused - in_turn.refused < 0.02 * len(asked)

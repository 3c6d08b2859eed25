"""The simulator against somebody else's hardware: the episode that llm-d published for its SLO-aware scaling."""

from deployments.simulation.autoscaling.llmd import SloAware
from deployments.simulation.autoscaling.rules import Static
from deployments.simulation.cluster import Simulation
from tests.bench.scaling import episode


def test_llm_ds_rule_lands_where_they_measured_it() -> None:
    outcome = Simulation(episode.setup(), SloAware(episode.SLO, episode.LEAST, episode.MOST), 1).run(episode.requests(1))
    assert len(outcome.requests) == 12_480
    assert abs(outcome.attainment(episode.SLO) - 0.958) <= 0.05 * 0.958
    assert abs(outcome.replicas - 5.93) <= 0.05 * 5.93


def test_eight_replicas_keep_the_objectives_of_every_request() -> None:
    outcome = Simulation(episode.setup(), Static(8), 1).run(episode.requests(1))
    assert outcome.attainment(episode.SLO) > 0.99


def test_one_replica_takes_their_prompt_tokens_in_a_second() -> None:
    prompts = 8192 * 2000  # tokens that stand before each token, 2,000 on average in a prompt of 4,000
    assert abs(8192 / episode.TIMES.step(8192, prompts, 0, 0) - 15_928) < 0.1 * 15_928

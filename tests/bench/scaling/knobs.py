"""Each rule's own knob, from less replicas to more: what an operator of that rule would turn where its numbers do not suit a model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from cluster.scaling.work import Slo
from deployments.commands.simulating.peers import RayDefault
from deployments.simulation.autoscaling.herd_rule import HerdRule
from deployments.simulation.autoscaling.keda import KedaQueue
from deployments.simulation.autoscaling.llmd import SloAware, TokenAware
from deployments.simulation.autoscaling.rules import Rule
from tests.bench.scaling.dynamo import DynamoPlanner
from tests.bench.scaling.ray_rules import RayTtft
from tests.bench.scaling.scenarios import Scenario

HERD, HEADROOM = "herd", "herd, scaling.headroom"
#: Ours, by its two knobs.
OURS = (HERD, HEADROOM)


@dataclass(frozen=True, slots=True)
class Knob:
    """One number of a rule."""

    name: str
    values: tuple[float, ...]
    """From less replicas to more."""
    usual: float
    """Its source's, or ours."""
    rule: Callable[[Scenario, float], Rule]


def _herd(one: Scenario, times: float) -> Rule:
    tuning = one.limits.tuning
    return HerdRule(replace(one.limits, tuning=replace(tuning, spare=times * tuning.spare, jump=times * tuning.jump)), one.output_tokens)


def _headroom(one: Scenario, share: float) -> Rule:
    return HerdRule(replace(one.limits, headroom=share), one.output_tokens)


def _dynamo(one: Scenario, share: float) -> Rule:
    slo = Slo(share * one.slo.ttft_s, share * one.slo.itl_s, one.slo.quantile)
    return DynamoPlanner(slo, share * one.requests_s, one.prefill_tokens_s, *one.bounds)


KNOBS: Mapping[str, Knob] = {
    HERD: Knob("margin, times ours", (0.0, 0.5, 1.0, 1.25, 1.5, 2.0, 3.0), 1.0, _herd),
    HEADROOM: Knob("share of the expected load that is kept free", (0.5, 1.0, 1.5, 2.0, 3.0), 0.0, _headroom),
    "llm-d SLO-aware": Knob(
        "share of the objectives that is too much", (1.2, 0.9, 0.7, 0.55, 0.4), 0.55,
        lambda one, high: SloAware(one.slo, *one.bounds, high=high, low=high * 0.40 / 0.55),
    ),
    "llm-d token-aware": Knob(
        "seconds of prompts that wait", (12.0, 6.0, 3.0, 1.5, 0.75), 1.5,
        lambda one, seconds: TokenAware(one.prefill_tokens_s, *one.bounds, seconds=seconds),
    ),
    "KEDA queue, llm-d": Knob(
        "requests that run", (96.0, 64.0, 48.0, 32.0, 24.0, 16.0, 8.0), 16.0,
        lambda one, running: KedaQueue(*one.bounds, 1.0, running),
    ),
    "KEDA queue, production-stack": Knob(
        "requests that wait", (40.0, 20.0, 10.0, 5.0, 2.0), 5.0, lambda one, waiting: KedaQueue(*one.bounds, waiting)
    ),
    "Ray default": Knob(
        "requests under way", (128.0, 96.0, 64.0, 48.0, 32.0, 16.0), 32.0, lambda one, ongoing: RayDefault(ongoing, *one.bounds)
    ),
    "Ray TTFT": Knob("seconds to the first token", (3.0, 2.0, 1.0, 0.5), 2.0, lambda one, target_s: RayTtft(target_s, *one.bounds)),
    "Dynamo": Knob("share of the objectives and of the capacity", (1.0, 0.75, 0.5, 0.35), 1.0, _dynamo),
}  # fmt: skip
"""By the name of the rule."""

"""Runs the simulations that answer a question: the fewest fixed replicas, the herd's own rule, and the rules that it is compared with."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deployments.commands.simulating.rules import Compared
from deployments.commands.simulating.subject import MONDAY_S, Subject, first_guesses, usual_answers
from deployments.commands.simulating.words import MOST_REPLICAS
from deployments.progress import Say
from deployments.simulation.autoscaling.herd_rule import HerdRule
from deployments.simulation.autoscaling.rules import Rule, Static
from deployments.simulation.cluster import Simulation
from deployments.simulation.fixed import fewest, keeps
from deployments.simulation.loads.traces import Traced
from deployments.simulation.outcome import Outcome

HERD = "herd"


@dataclass(frozen=True, slots=True)
class Run:
    """One rule's simulation."""

    rule: str
    subject: Subject
    outcome: Outcome
    fixed: int | None = None
    """The number of replicas, where it is the same all the time."""
    is_fewest: bool = False
    """No smaller fixed number keeps the objectives."""

    @property
    def keeps(self) -> bool:
        """Returns whether as many requests as the objectives ask for kept them."""
        return keeps(self.outcome, self.subject.slo)

    @property
    def money(self) -> float | None:
        """Returns the price of all GPUs over the time; None without a price."""
        price = self.subject.gpu_hour_price
        return None if price is None else price * self.outcome.gpu_hours

    @property
    def figures(self) -> dict[str, Any]:
        """Returns the figures that a person compares."""
        gpus = {"rule": self.rule, "gpu": self.subject.engine.gpu.name, "gpus_per_replica": self.outcome.gpus_per_replica}
        return gpus | self.outcome.figures(self.subject.slo) | {"money": self.money, "keeps": self.keeps}


def runs(subject: Subject, requests: Sequence[Traced], until_s: float, rules: Sequence[Compared], seed: int, say: Say) -> Iterator[Run]:
    """Yields the simulations: first the fewest fixed replicas where a number keeps the objectives, then the herd's rule, then the others.

    Args:
        subject: the model.
        requests: in the order of their times; at least one.
        until_s: GPUs are counted until then.
        rules: those to compare with.
        seed: of the times that starts take.
        say: tells what is simulated.
    """
    setup = replace(subject.setup, until_s=until_s)
    first, busiest = first_guesses(requests, subject.pace)
    fixed = _fixed(subject, requests, until_s, seed, say)
    found = fewest(fixed, subject.slo, busiest, MOST_REPLICAS)
    if found is not None:
        yield Run(f"{found[0]} fixed", subject, found[1], found[0], is_fewest=True)
    begin = replace(setup, replicas=max(setup.least, min(setup.most, first)))

    def run(name: str, rule: Rule) -> Outcome:
        say(f"{name} on {subject.on}")
        return Simulation(begin, rule, seed).run(requests)

    if subject.limits is not None:
        answers = usual_answers(requests)
        yield Run(HERD, subject, run(HERD, HerdRule(subject.limits, answers, subject.slo.itl_s / 2, begins_s=MONDAY_S)))
    for one in rules:
        outcome = run(one.name, one.made()) if one.fixed is None else fixed(one.fixed)
        yield Run(one.name, subject, outcome, one.fixed)


def _fixed(subject: Subject, requests: Sequence[Traced], until_s: float, seed: int, say: Say) -> Callable[[int], Outcome]:
    def run(replicas: int) -> Outcome:
        say(f"{replicas} fixed replicas on {subject.on}")
        pool = replace(subject.setup.pool, most_gpus=float("inf"))
        setup = replace(subject.setup, until_s=until_s, least=replicas, most=replicas, replicas=replicas, pool=pool)
        return Simulation(setup, Static(replicas), seed).run(requests)

    return run

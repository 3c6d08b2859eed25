"""The rules of scaling that a simulation can be asked for by name, with the numbers that their sources give."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cluster.scaling.work import Slo
from deployments.commands.simulating.words import MOST_REPLICAS
from deployments.simulation.autoscaling import keda
from deployments.simulation.autoscaling.llmd import SloAware
from deployments.simulation.autoscaling.rules import Rule, Static

#: The names, and what each one stands for.
NAMES = {
    "static:N": "N replicas for ever",
    "ray:N": "Ray Serve's default rule, its own function: N requests in flight for each replica; without :N, the config's number",
    "keda": "KEDA on queues, vLLM production-stack's numbers: 5 requests that wait for each replica",
    "keda-llmd": "KEDA on queues, llm-d's numbers: 1 request that waits and 16 that run",
    "llmd-slo": "llm-d's SLO-aware rule, by measured latencies",
}
MOST_REQUESTS = 4096

Made = Callable[[], Rule]
"""Makes the rule anew for each simulation: it remembers."""


class UnknownRule(ValueError):
    """The name stands for no rule."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One rule that somebody asked for."""

    name: str
    made: Made
    fixed: int | None = None
    """It is this number of replicas from the begin to the end."""


def compared(names: Sequence[str], slo: Slo, bounds: tuple[int, int], target: float) -> list[Compared]:
    """Returns the rules by their names.

    Args:
        names: as somebody wrote them.
        slo: the objectives.
        bounds: the fewest and the most replicas.
        target: the config's requests in flight for each replica.

    Raises:
        UnknownRule: a name stands for none.
    """
    return [_rule(name, slo, bounds, target) for name in dict.fromkeys(names)]


def _rule(name: str, slo: Slo, bounds: tuple[int, int], target: float) -> Compared:
    least, most = bounds
    kind, mark, number = name.partition(":")
    if kind == "static":
        replicas = _number(name, number, MOST_REPLICAS)
        return Compared(name, lambda: Static(replicas), replicas)
    if kind == "ray":
        return Compared(name, _rays(_number(name, number, MOST_REQUESTS) if mark else target, least, most))
    simple: dict[str, Made] = {
        "keda": lambda: keda.production_stack(least, most),
        "keda-llmd": lambda: keda.llm_d(least, most),
        "llmd-slo": lambda: SloAware(slo, least, most),
    }
    if name not in simple:
        raise UnknownRule(f"--compare {name!r} is no rule that is known; known are {', '.join(NAMES)}")
    return Compared(name, simple[name])


def _rays(target: float, least: int, most: int) -> Made:
    def made() -> Rule:
        from deployments.commands.simulating.peers import RayDefault  # here, because it imports Ray

        return RayDefault(target, least, most)

    return made


def _number(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= most):
        raise UnknownRule(f"--compare {name!r} needs a whole number from 1 to {most:,} behind its colon: {name.partition(':')[0]}:8")
    return int(text)

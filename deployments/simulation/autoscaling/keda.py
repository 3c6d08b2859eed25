"""KEDA on the length of queues, as two projects ship it.

vLLM production-stack's tutorial on KEDA: `vllm:num_requests_waiting` above 5, every 15 s, cool-down of 360 s. llm-d's `keda-epp` with the
queue overlay: a queue of 1 and 16 running requests for each replica, the larger of both, every 15 s.
"""

from deployments.simulation.autoscaling.hpa import Behaviour, Hpa
from deployments.simulation.autoscaling.observation import Lag, Observation
from deployments.simulation.autoscaling.rules import Wanted

LAG = Lag(sample_s=15.0, sync_s=15.0)


class KedaQueue:
    """Triggers of type AverageValue: of each the total over its target, and of these the most."""

    def __init__(self, least: int, most: int, waiting: float = 5.0, running: float | None = None) -> None:
        """Args:
        least: fewest replicas.
        most: most replicas.
        waiting: requests that wait, for each replica.
        running: requests that run, for each replica; None: they are no trigger.
        """
        self.lag = LAG
        self._waiting, self._running = waiting, running
        self._hpas = [Hpa(Behaviour(), least, most), Hpa(Behaviour(), least, most)]

    def wanted(self, seen: Observation) -> Wanted:
        """Returns the HPA's number."""
        if not seen.samples:
            return Wanted(seen.target)
        last = seen.samples[-1]
        waiting = last.line + sum(one.waiting for one in last.replicas)
        running = sum(one.running for one in last.replicas)
        number = self._hpas[0].by_average(seen.now_s, seen.target, waiting, self._waiting)
        if self._running is not None:
            number = max(number, self._hpas[1].by_average(seen.now_s, seen.target, running, self._running))
        return Wanted(number, f"{waiting} wait, {running} run")


def production_stack(least: int, most: int) -> KedaQueue:
    """Makes the rule with vLLM production-stack's numbers."""
    return KedaQueue(least, most, 5.0)


def llm_d(least: int, most: int) -> KedaQueue:
    """Makes the rule with llm-d's numbers."""
    return KedaQueue(least, most, 1.0, 16.0)

"""Rules: how many replicas there should be, by what a rule sees."""

from typing import NamedTuple, Protocol

from deployments.simulation.autoscaling.observation import Lag, Observation


class Wanted(NamedTuple):
    """A rule's answer."""

    replicas: int
    reason: str = ""


class Rule(Protocol):
    """Something that scales. It is asked every `lag.sync_s`, and may remember what it saw."""

    @property
    def lag(self) -> Lag:
        """How late it sees and acts."""

    def wanted(self, seen: Observation) -> Wanted:
        """Returns the number of replicas that there should be."""


class Static:
    """The same number for ever."""

    def __init__(self, replicas: int) -> None:
        self.lag = Lag()
        self._wanted = Wanted(replicas, "A fixed number.")

    def wanted(self, seen: Observation) -> Wanted:
        """Returns the fixed number."""
        return self._wanted


class Planned:
    """A number for each time, as a plan has it: times in ascending order, the first one at 0."""

    def __init__(self, plan: tuple[tuple[float, int], ...], sync_s: float = 1.0) -> None:
        """Args:
        plan: from when on how many.
        sync_s: between two looks at it.
        """
        self.lag = Lag(sample_s=60.0, sync_s=sync_s)
        self._plan = plan

    def wanted(self, seen: Observation) -> Wanted:
        """Returns the plan's number for now."""
        return Wanted(next(replicas for from_s, replicas in reversed(self._plan) if from_s <= seen.now_s), "The plan.")

"""The replicas of all models, as far as admission needs to know them. A gateway's roster is one, and so is a simulation's."""

from collections.abc import Collection
from typing import Protocol

from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.routing.flights import Sending
from deployments.policy.routing.types import Ask, Pick


class Replicas(Protocol):
    """The replicas of all models, as far as admission needs to know them."""

    @property
    def models(self) -> Collection[str]:
        """Every model that there should be replicas of."""

    def ready(self, model: str) -> int:
        """Replicas of a model that take requests."""

    def start_s(self, model: str) -> float:
        """Seconds that a start of a model takes, as far as is known; 0 where it is not."""

    def assumed_start_s(self, model: str) -> float:
        """Returns the seconds that the config takes a start of a model to last; 0 of one that always has replicas."""

    def choose(self, model: str, ask: Ask) -> Pick | None:
        """The replica for a request; None where all are full. Raises `Unavailable` where none takes it."""

    def sending(self, chosen: Pick, prompt: Prompt) -> Sending:
        """Counts a request at a replica until it ends."""

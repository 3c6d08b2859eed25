"""The agents of some nodes, as Ray actors pinned to them. They take no resource and end with the crew.

Decides how an answer that does not come is told: a node that is lost is one failure among others, never an exception that stops all.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.catalogue.weights import Node
from cluster.doctor.facts import names
from deployments.ray_calls.nodes import living
from deployments.weights.agent import Agent
from deployments.weights.cache import WeightsError

#: Longest wait for an agent to start and answer; asking the Hub is the longest of it.
ANSWER_S = 120.0


class NodeLost(WeightsError):
    """A node went away in the middle."""


def alive() -> tuple[Node, ...]:
    """The cluster's nodes, in an order that is the same for whoever asks."""
    found = [Node(node.id, node.address, node.resources) for node in living()]
    return tuple(sorted(found, key=lambda node: node.id))


class Crew:
    """The agents of these nodes."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.names = names({node.id: node.address for node in nodes})
        actor = ray.remote(Agent)
        self._agents: dict[str, Any] = {
            node.id: actor.options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote()
            for node in nodes
        }

    @property
    def nodes(self) -> list[str]:
        """Their ids."""
        return list(self._agents)

    def start(self, node: str, method: str, *args: object) -> Any:  # noqa: ANN401 (ray.ObjectRef)
        """Asks an agent without waiting."""
        return getattr(self._agents[node], method).remote(*args)

    def ask(self, nodes: Iterable[str], method: str, *args: object) -> dict[str, Any]:
        """Each node's answer, or the `WeightsError` that it has instead."""
        refs = {node: self.start(node, method, *args) for node in nodes}
        return {node: self.answer(node, ref) for node, ref in refs.items()}

    def glance(self, nodes: Iterable[str], method: str, *args: object) -> dict[str, Any]:
        """The answers of those who give one within a second: who is slow is not lost."""
        refs = {self.start(node, method, *args): node for node in nodes}
        done, _ = ray.wait(list(refs), num_returns=len(refs), timeout=1) if refs else ([], [])
        return {refs[ref]: self.answer(refs[ref], ref) for ref in done}

    def done(self, refs: Iterable[Any], within_s: float) -> list[Any]:
        """The first of these questions that is answered, or none within this time."""
        found, _ = ray.wait(list(refs), timeout=within_s)
        return list(found)

    def answer(self, node: str, ref: Any) -> Any:  # noqa: ANN401
        """Returns the answer to a question, or the `WeightsError` in its place."""
        try:
            return ray.get(ref, timeout=ANSWER_S)
        except GetTimeoutError:
            return NodeLost(f"{self.names[node]} did not answer within {ANSWER_S:.0f} s.")
        except RayTaskError as error:
            if isinstance(error.cause, WeightsError):
                return error.cause
            return WeightsError(f"{self.names[node]}: {error.cause or error}".partition("\n")[0])
        except RayError as error:
            return NodeLost(f"The node was lost in the middle ({type(error).__name__}). `herd pull` again goes on from what has come.")

    def dismiss(self) -> None:
        """Ends the agents. What has come stays."""
        for agent in self._agents.values():
            with contextlib.suppress(RayError):
                ray.kill(agent)


@contextlib.contextmanager
def crew_of(nodes: Sequence[Node]) -> Iterator[Crew]:
    """A crew for a while."""
    crew = Crew(nodes)
    try:
        yield crew
    finally:
        crew.dismiss()

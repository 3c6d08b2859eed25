"""Ray Serve's `PrefixCacheAffinityRouter` as something that a trace can be replayed over.

It is Ray's own decision and Ray's own prefix tree that run: `_prefix_match_best_replicas` and `PrefixTree`, from the installed Ray. Ray
Serve around them is stood in for: the tree is called directly instead of as an actor, queue lengths are those of the requests in flight
(what Ray's cache of them would hold with one router), and the fallback, two replicas at random, is Ray's description of its own. Of the
replicas that the decision names the shortest queue is taken, as Ray does. A prompt is given as one character per block of 512 tokens: the
tree compares shares of lengths, so the scale does not matter to it.
"""

import random
from collections.abc import Coroutine, Sequence
from types import SimpleNamespace
from typing import Any
from unittest import mock

from ray.llm._internal.serve.routing_policies.prefix_aware import prefix_aware_router
from ray.llm._internal.serve.routing_policies.prefix_aware.prefix_tree import PrefixTree
from ray.serve._private.common import DeploymentID, ReplicaID

from deployments.policy.routing.types import ReplicaView
from deployments.simulation.loads.traces import Traced

#: Beyond the surrogates, where every number is a character.
_FIRST_CHARACTER = 0x10000


class _Remote:
    """A method as an actor's handle has it, called at once."""

    def __init__(self, method: Any) -> None:
        self.remote = method


class RaysRouter:
    """One router of Ray's, with its defaults unless said otherwise."""

    def __init__(self, imbalanced_threshold: float = float("inf"), match_rate_threshold: float = 0.1, seed: int = 1) -> None:
        self._tree = PrefixTree()
        self._dice = random.Random(seed)
        self._queues: dict[ReplicaID, int] = {}
        self._open: dict[int, ReplicaID] = {}
        self._clock = 0
        self._ids: list[ReplicaID] = []
        self._self = SimpleNamespace(
            _imbalanced_threshold=imbalanced_threshold,
            _match_rate_threshold=match_rate_threshold,
            _use_replica_queue_len_cache=True,
            _replica_queue_len_cache=self._queues,
            _tree_actor=SimpleNamespace(
                prefix_match=_Remote(self._tree.prefix_match), get_smallest_tenants=_Remote(self._tree.get_smallest_tenants)
            ),
            _extract_text_from_request=lambda text: text.args[0],
            _replicas={},
        )

    def choose(self, number: int, asked: Traced, views: Sequence[ReplicaView]) -> int:
        if not self._ids:
            self._know(views)
        text = "".join(chr(_FIRST_CHARACTER + block) for block in asked.blocks)
        candidates = list(self._self._replicas.values())
        with mock.patch.object(prefix_aware_router.ray, "get", lambda value: value):
            named = _result(
                prefix_aware_router.PrefixCacheAffinityRouter._prefix_match_best_replicas(
                    self._self, SimpleNamespace(args=(text,)), candidates
                )
            )[0]
        chosen = min(named or self._dice.sample(candidates, 2), key=lambda one: self._queues[one.replica_id]).replica_id
        self._clock += 1
        self._tree.insert(text, chosen.to_full_id_str(), self._clock)
        self._queues[chosen] += 1
        self._open[number] = chosen
        return self._ids.index(chosen)

    def answered(self, number: int) -> None:
        """Ray's router does not look at answers."""

    def ended(self, number: int) -> None:
        self._queues[self._open.pop(number)] -= 1

    def _know(self, views: Sequence[ReplicaView]) -> None:
        deployment = DeploymentID("engine", "simulated")
        self._ids = [ReplicaID(view.id, deployment) for view in views]
        self._self._replicas = {one: SimpleNamespace(replica_id=one, max_ongoing_requests=1 << 30) for one in self._ids}
        self._queues.update(dict.fromkeys(self._ids, 0))
        self._tree.add_tenants([one.to_full_id_str() for one in self._ids], 0)


def _result(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("Ray's decision waited for something")

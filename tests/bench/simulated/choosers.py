"""What a trace can be replayed over in virtual time: our router, with any of its policies, and Ray's."""

import zlib
from collections.abc import Sequence

from configs.routing import Routing
from deployments.policy.request.prompt_blocks import Prompt
from deployments.policy.routing.flights import Sending
from deployments.policy.routing.router import Router
from deployments.policy.routing.types import Ask, Pick, Reason, ReplicaView
from deployments.simulation.loads.traces import BLOCK_TOKENS, Traced


class Ours:
    """Our router: one, or several gateways that get every request by chance, and hear of each other from the replicas' reports."""

    def __init__(self, routing: Routing, gateways: int = 1, told: bool = True) -> None:
        """Args:
        routing: what the config says.
        gateways: how many.
        told: reports say what other gateways have sent, as they do in production.
        """
        self._routers = [Router(routing, BLOCK_TOKENS) for _ in range(gateways)]
        self._open: dict[int, Sending] = {}
        self._told = told and gateways > 1
        self._views: Sequence[ReplicaView] = ()
        self._news: list[tuple[Router, ReplicaView, Prompt]] = []

    def choose(self, number: int, asked: Traced, views: Sequence[ReplicaView]) -> int:
        if views is not self._views:
            self._views = views
            for router in self._routers:
                router.update(views)
            self._tell()
        router = self._routers[zlib.crc32(b"%d" % number) % len(self._routers)]
        prompt = Prompt(asked.blocks, asked.prompt_tokens)
        # A gateway lets a request wait while all replicas are full; a replay has no line, and the idlest takes it.
        pick = router.pick(Ask(prompt)) or Pick(min(views, key=lambda view: view.ongoing), Reason.ROOM_LEFT)
        self._open[number] = router.sending(pick, prompt).__enter__()
        if self._told:
            self._news.append((router, pick.replica, prompt))
        return views.index(pick.replica)

    def _tell(self) -> None:
        for sender, replica, prompt in self._news:
            for router in self._routers:
                if router is not sender:
                    router.learn(replica.id, prompt)
        self._news.clear()

    def answered(self, number: int) -> None:
        self._open[number].answered()

    def ended(self, number: int) -> None:
        self._open.pop(number).end()

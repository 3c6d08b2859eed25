"""What a trace can be replayed over in virtual time: our router, with any of its policies, and Ray's."""

import zlib
from collections.abc import Sequence

from configs.schema import Routing
from deployments.policy.prompt import Prompt
from deployments.policy.router import Router, Sending
from deployments.policy.routing import Ask, ReplicaView
from tests.bench.simulated.traces import BLOCK_TOKENS, Traced


class Ours:
    """Our router: one, or several gateways that know nothing of each other and get every request by chance."""

    def __init__(self, routing: Routing, gateways: int = 1) -> None:
        self._routers = [Router(routing, BLOCK_TOKENS) for _ in range(gateways)]
        self._open: dict[int, Sending] = {}

    def choose(self, number: int, asked: Traced, views: Sequence[ReplicaView]) -> int:
        router = self._routers[zlib.crc32(b"%d" % number) % len(self._routers)]
        prompt = Prompt(asked.blocks, asked.prompt_tokens)
        pick = router.pick(views, Ask(prompt))
        assert pick is not None
        self._open[number] = router.sending(pick, prompt).__enter__()
        return views.index(pick.replica)

    def answered(self, number: int) -> None:
        self._open[number].answered()

    def ended(self, number: int) -> None:
        self._open.pop(number).end()

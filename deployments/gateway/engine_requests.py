"""The way in which every engine is asked.

Decides which headers an engine gets: none of the client's.
"""

from deployments.gateway.request import Asked
from deployments.policy.routing import prompt_gossip as sent
from deployments.policy.routing.router import Sending
from deployments.policy.routing.types import ReplicaView
from deployments.wire.engine.answer import Answer
from deployments.wire.engine.client import Engines
from deployments.wire.types import Address


class Asking:
    """Asks engines, in this gateway's name."""

    def __init__(self, engines: Engines, own: str) -> None:
        """Args:
        engines: the way to them.
        own: this gateway's name, which goes with every prompt.
        """
        self._engines = engines
        self._own = own

    async def ask(self, asked: Asked, raw: bytes, replica: ReplicaView, sending: Sending) -> Answer:
        """An engine's answer, as far as its head.

        Raises:
            EngineGone: there is none.
        """
        call = asked.call
        headers = [(b"content-type", b"application/json"), (b"x-request-id", call.request_id.encode("ascii"))]
        if asked.ask.prompt.tokens:
            headers.append((sent.HEADER, sent.written(sent.Sent(self._own, sending.prefill_tokens, asked.ask.prompt))))
        address = Address(replica.host, replica.port)
        return await self._engines.exchange(address, b"POST", call.path.encode("ascii"), headers, raw)

"""The guard at an engine's door: who has the key for it may enter, and is counted while inside.

Decides from one header who enters, and remembers from another what prompts came, for all gateways to know. Knows neither Ray nor vLLM:
what stands behind it is any ASGI app.
"""

import hmac
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from pydantic import SecretStr

from deployments.policy.errors.client_errors import BadRequest
from deployments.policy.queue.demand import Lines
from deployments.policy.routing import load_query, poison
from deployments.policy.routing import prompt_gossip as sent

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
#: The replica's own requests carry it. A gateway forwards no header of a client's, so no client's request can.
UNCOUNTED = b"x-herd-canary"
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Report = Callable[[], Awaitable[dict[str, Any]]]


class Door:
    """ASGI: lets in who knows the key, and counts who is inside. Prometheus needs none, and sees only numbers."""

    def __init__(self, app: App, key: SecretStr, report: Report) -> None:
        """Args:
        app: what stands behind the door.
        key: made of the herd's secret for this purpose.
        report: the answer to a gateway that asks how the replica is.
        """
        self.ongoing = 0
        self._recent = sent.Recent()
        self._poison = poison.Poison()
        """Requests that a gateway has found to end engines, for the other gateways to hear of."""
        self._lines = Lines()
        self._app = app
        self._report = report
        self._expected = b"Bearer " + key.get_secret_value().encode()

    @property
    def waiting(self) -> int:
        """Requests that wait for this replica's model at the gateways, whichever replica gets them."""
        return self._lines.waiting(time.monotonic())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's own call."""
        if scope["type"] == "http" and scope["path"] == "/metrics":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            await _answer(send, 401, BadRequest("This engine answers to its cluster's gateways only.", code="unauthorized").body())
        elif scope["path"] == "/-/load":
            await _answer(send, 200, msgspec.json.encode(await self._load(scope.get("query_string", b""))))
        elif UNCOUNTED in headers:  # nobody's load
            await self._app(scope, receive, send)
        else:
            await self._counted(headers.get(sent.HEADER), scope, receive, send)

    async def _load(self, query: bytes) -> dict[str, Any]:
        asked = load_query.read(query)
        last, prompts = self._recent.after(asked.after)
        self._lines.learn(asked.waiting, time.monotonic())
        if asked.poison:
            self._poison.learn(poison.read(asked.poison), time.monotonic())
        known = {"poison": poison.written(self._poison.told(time.monotonic()))} if self._poison else {}
        return await self._report() | {"prefill_tokens": self._recent.prefill_tokens, "last": last, "prompts": prompts} | known

    async def _counted(self, told: bytes | None, scope: Scope, receive: Receive, send: Send) -> None:
        self.ongoing += 1
        tokens = self._recent.arrived(told) if told else 0

        def until_first(message: dict[str, Any]) -> Awaitable[None]:
            nonlocal tokens
            if tokens and message.get("body"):
                self._recent.computed(tokens)
                tokens = 0
            return send(message)

        try:
            await self._app(scope, receive, until_first if tokens else send)
        finally:
            self.ongoing -= 1
            self._recent.computed(tokens)


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

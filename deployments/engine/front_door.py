"""The guard at an engine's door: who has the key for it may enter, and is counted while inside.

Decides from one header who enters, and has every request that enters counted in the reports to gateways. Knows neither Ray nor vLLM:
what stands behind it is any ASGI app.
"""

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import SecretStr

from deployments.engine.load_reports import LoadReports, Report
from deployments.policy.errors.client_errors import BadRequest
from deployments.policy.routing import load_query
from deployments.policy.routing import prompt_gossip as sent
from deployments.policy.routing.load_query import LoadQuery

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
#: The replica's own requests carry it. A gateway forwards no header of a client's, so no client's request can.
UNCOUNTED = b"x-herd-canary"
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Door:
    """ASGI: lets in who knows the key, and counts who is inside. Prometheus needs none, and sees only numbers."""

    def __init__(self, app: App, key: SecretStr, report: Report) -> None:
        """Args:
        app: what stands behind the door.
        key: made of the herd's secret for this purpose.
        report: the answer to a gateway that asks how the replica is.
        """
        self.ongoing = 0
        self._app = app
        self._reports = LoadReports(report)
        self._expected = b"Bearer " + key.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI's own call."""
        if scope["type"] == "http" and scope["path"] == "/metrics":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._expected):
            await _answer(send, 401, BadRequest("This engine answers to its cluster's gateways only.", code="unauthorized").body())
        elif scope["path"] == "/-/load":
            await self._load(load_query.read(scope.get("query_string", b"")), receive, send)
        elif UNCOUNTED in headers:  # nobody's load
            await self._app(scope, receive, send)
        else:
            await self._counted(headers.get(sent.HEADER), scope, receive, send)

    def end_reports(self) -> None:
        """Lets go of the gateways that follow this replica; to be called before its server stops, which waits for them."""
        self._reports.end()

    async def _load(self, asked: LoadQuery, receive: Receive, send: Send) -> None:
        self._reports.learn(asked)
        if not asked.every_s:
            await _answer(send, 200, await self._reports.whole(asked.after))
            return
        gone = asyncio.ensure_future(_gone(receive))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]})
        try:
            await self._reports.stream(asked, lambda line: send({"type": "http.response.body", "body": line, "more_body": True}), gone.done)
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b""})

    async def _counted(self, told: bytes | None, scope: Scope, receive: Receive, send: Send) -> None:
        self.ongoing += 1
        tokens = self._reports.arrived(told)

        def until_first(message: dict[str, Any]) -> Awaitable[None]:
            nonlocal tokens
            if tokens and message.get("body"):
                self._reports.computed(tokens)
                tokens = 0
            return send(message)

        try:
            await self._app(scope, receive, until_first if tokens else send)
        finally:
            self.ongoing -= 1
            self._reports.computed(tokens)


async def _gone(receive: Receive) -> None:
    """Returns when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

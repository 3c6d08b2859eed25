"""A cloud's metadata server: says what the test lets it say, to machines that ask as the cloud wants to be asked."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web
from aiohttp.test_utils import TestServer

from deployments.gateway.replicas.reclaim_notices import TOKEN
from deployments.policy.fleet.reclaim_notices import AWS_SPOT, GCP_PREEMPTED

#: An answer to `AWS_SPOT`, and the reason that is made of it.
TERMINATES, TERMINATED = '{"action": "terminate", "time": "2020-01-01T00:00:00Z"}', "spot terminate"


class Metadata:
    """The server."""

    def __init__(self) -> None:
        self.says: dict[str, str] = {}
        self.asked: list[str] = []
        self.rounds = asyncio.Semaphore(0)
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path in (AWS_SPOT, GCP_PREEMPTED):
            self.rounds.release()
        if request.path == TOKEN and request.method == "PUT" and request.headers["x-aws-ec2-metadata-token-ttl-seconds"]:
            return web.Response(text="the-token")
        if request.headers.get("x-aws-ec2-metadata-token") != "the-token" and request.headers.get("metadata-flavor") != "Google":
            return web.Response(status=401)
        return web.Response(text=self.says[request.path]) if request.path in self.says else web.Response(status=404)


@contextlib.asynccontextmanager
async def fake_metadata() -> AsyncIterator[Metadata]:
    """A metadata server on this machine."""
    found, app = Metadata(), web.Application()
    app.router.add_route("*", "/{rest:.*}", found.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        found.url = str(server.make_url("")).rstrip("/")
        yield found

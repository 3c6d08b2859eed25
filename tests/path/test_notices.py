"""`deployments.gateway.replicas.reclaim_notices` against a metadata server.

What is asked, how, and that a notice is told until it is taken.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from configs.inventory import Cloud
from deployments.gateway.replicas.reclaim_notices import TOKEN, Notices
from deployments.policy.fleet.reclaim_notices import AWS_SPOT, GCP_PREEMPTED, Notice

SOON_S = 10.0


class Metadata:
    """A cloud's metadata server."""

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


@pytest.fixture
async def metadata() -> AsyncIterator[Metadata]:
    found, app = Metadata(), web.Application()
    app.router.add_route("*", "/{rest:.*}", found.answer)
    async with TestServer(app) as server:
        found.url = str(server.make_url("")).rstrip("/")
        yield found


@pytest.mark.parametrize(
    ("cloud", "question", "body", "why"),
    [
        ("aws", AWS_SPOT, '{"action": "terminate", "time": "2020-01-01T00:00:00Z"}', "spot terminate"),
        ("gcp", GCP_PREEMPTED, "TRUE", "preempted"),
    ],
)
async def test_notice_is_told_until_it_is_taken(metadata: Metadata, cloud: Cloud, question: str, body: str, why: str) -> None:
    told: list[Notice] = []
    taken = asyncio.Event()
    loop = asyncio.get_running_loop()

    def drain(notice: Notice) -> str | None:
        told.append(notice)
        if len(told) == 1:
            raise OSError("the head is away")
        if len(told) == 2:
            return "not now"
        loop.call_soon_threadsafe(taken.set)
        return None

    watching = Notices(drain, {cloud: metadata.url}, period_s=0.01)
    watching.follow(cloud)
    async with asyncio.timeout(SOON_S):
        for _ in range(3):
            await metadata.rounds.acquire()
        assert not told, "nothing is said yet"
        metadata.says[question] = body
        await taken.wait()
    await asyncio.sleep(0.1)
    asked = len(metadata.asked)
    await asyncio.sleep(0.1)
    assert ([one.why for one in told], len(metadata.asked)) == ([why] * 3, asked)
    await watching.stop()


async def test_machine_without_a_metadata_server_is_asked_on(metadata: Metadata) -> None:
    watching = Notices(lambda _: pytest.fail("there was no notice"), {"gcp": "http://127.0.0.1:1"}, period_s=0.01)
    watching.follow("gcp")
    await asyncio.sleep(0.2)
    assert not any(task.done() for task in watching._tasks)
    assert watching._tasks
    await watching.stop()
    assert not watching._tasks

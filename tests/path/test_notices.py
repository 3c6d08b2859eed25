"""`deployments.gateway.replicas.reclaim_notices` against a metadata server.

What is asked, how, and that a notice is told until it is taken.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from configs.inventory import Cloud
from deployments.gateway.replicas.reclaim_notices import Notices
from deployments.policy.fleet.reclaim_notices import AWS_SPOT, GCP_PREEMPTED, Notice
from tests.path.fake_metadata import TERMINATED, TERMINATES, Metadata, fake_metadata

SOON_S = 10.0


@pytest.fixture
async def metadata() -> AsyncIterator[Metadata]:
    async with fake_metadata() as server:
        yield server


@pytest.mark.parametrize(
    ("cloud", "question", "body", "why"),
    [
        ("aws", AWS_SPOT, TERMINATES, TERMINATED),
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


async def test_cloud_that_changes_is_asked_in_place_of_the_one_before_and_none_is_asked_where_there_is_none() -> None:
    async with fake_metadata() as aws, fake_metadata() as gcp, asyncio.timeout(SOON_S):
        watching = Notices(lambda _: pytest.fail("there was no notice"), {"aws": aws.url, "gcp": gcp.url}, period_s=0.01)
        watching.follow(None)
        await asyncio.sleep(0.1)
        assert not aws.asked + gcp.asked
        turns: tuple[tuple[Cloud, Metadata, Metadata], ...] = (("aws", aws, gcp), ("gcp", gcp, aws))
        for cloud, server, other in turns:
            watching.follow(cloud)
            watching.follow(cloud)
            assert len([task for task in watching._tasks if not task.cancelling()]) == 1, "the same cloud again is no change"
            for _ in range(3):
                await server.rounds.acquire()
            asked = len(other.asked)
            await server.rounds.acquire()
            assert len(other.asked) == asked
        watching.follow(None)
        await watching.stop()
        asked = len(gcp.asked)
        await asyncio.sleep(0.1)
        assert len(gcp.asked) == asked

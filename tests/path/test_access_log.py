"""The log lines of requests over real sockets: one for each, whatever became of it, and nothing of its text."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from monitoring.logs import LOGGER
from tests.path.begun import answer
from tests.path.fake_engine import WAIT_S, FakeEngine, answers, streams, then_hangs
from tests.path.herd import CHAT, LLAMA, STOPPING, Herd, asking, herd_of, limits, until
from tests.path.wire import connected, request
from tests.wire_format import event, vllm_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

PRIVATE = "my private words"


@pytest_asyncio.fixture(loop_scope="session")
async def logged(engine: FakeEngine) -> AsyncIterator[Herd]:
    """A gateway that logs each request."""
    async with herd_of([engine], limits(), access_log="all") as one:
        yield one


@pytest_asyncio.fixture(loop_scope="session")
async def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log, in which earlier tests' gateways write no more."""
    here = asyncio.get_running_loop()
    await asyncio.wait_for(asyncio.gather(*(task for task in STOPPING if task.get_loop() is here)), WAIT_S)
    caplog.set_level(logging.INFO, LOGGER)
    return caplog


def written(log: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    found = [json.loads(record.getMessage()) for record in log.records if record.name == LOGGER]
    return [line for line in found if line["event"] == "request"]


async def lines(log: pytest.LogCaptureFixture, count: int) -> list[dict[str, Any]]:
    """The lines, once there are so many: they are written a moment after their requests' ends."""
    await until(lambda: len(written(log)) >= count)
    found = written(log)
    assert len(found) == count
    return found


async def test_answered_request_is_one_line(logged: Herd, engine: FakeEngine, log: pytest.LogCaptureFixture) -> None:
    engine.script = streams(answer())
    await logged.chat({"x-request-id": "mine-1"}, stream=True, stream_options={"include_usage": True})
    (line,) = await lines(log, 1)
    assert 0 <= line.pop("ttft_s") <= line.pop("duration_s")
    assert line.pop("timestamp")
    assert line == {
        "level": "info",
        "event": "request",
        "id": "mine-1",
        "model": LLAMA,
        "endpoint": "chat",
        "outcome": "ok",
        "prompt_tokens": 3,
        "completion_tokens": 6,
        "replica": f"replica-{engine.port}",
        "attempts": 1,
    }


async def test_each_request_that_is_not_answered_is_one_line_with_why(
    logged: Herd, engine: FakeEngine, log: pytest.LogCaptureFixture
) -> None:
    engine.script = answers(500, vllm_error(500, PRIVATE))
    await logged.chat()
    await logged.chat(model=PRIVATE)
    await logged.http.post(CHAT, content=b"no json: " + PRIVATE.encode())
    await logged.http.post(CHAT, content=PRIVATE, headers={"content-type": "text/plain"})
    found = [(line["outcome"], line["error"], line["status"], line["model"]) for line in await lines(log, 4)]
    assert found == [
        ("engine_failed", "engine_failed", 502, LLAMA),
        ("client_error", "model_not_found", 404, "unknown"),
        ("client_error", "invalid_json", 400, "unknown"),
        ("client_error", "unsupported_media_type", 415, "unknown"),
    ]


async def test_client_that_hangs_up_is_one_line(logged: Herd, engine: FakeEngine, log: pytest.LogCaptureFixture) -> None:
    engine.script = then_hangs(event())
    async with connected(logged.port) as client:
        await client.send(request(asking(stream=True)))
        await client.head()
        client.hang_up()
        await engine.left()
    await logged.has_ended("cancelled")
    assert [(line["outcome"], line["attempts"]) for line in await lines(log, 1)] == [("cancelled", 1)]


async def test_nothing_of_the_text_or_of_a_key_is_in_a_line(logged: Herd, engine: FakeEngine, log: pytest.LogCaptureFixture) -> None:
    engine.queue = [streams(answer()), answers(400, vllm_error(400, PRIVATE))]
    for _ in range(2):
        told = {"authorization": "Bearer clients-key", "x-session-id": "clients-session"}
        await logged.chat(told, stream=True, user="clients-name", messages=[{"role": "user", "content": PRIVATE}])
    await lines(log, 2)
    assert not [text for text in (PRIVATE, "clients-", "0 1 2", "127.0.0.1") if text in log.text]


async def test_by_default_only_requests_that_did_not_end_well_have_lines(
    herd: Herd, engine: FakeEngine, log: pytest.LogCaptureFixture
) -> None:
    await herd.chat()
    await herd.chat(n=-1)
    assert [line["outcome"] for line in await lines(log, 1)] == ["client_error"]


async def test_lines_that_wait_are_written_before_a_stop_is_over(engine: FakeEngine, log: pytest.LogCaptureFixture) -> None:
    async with herd_of([engine], limits(), access_log="all", gathered_s=600) as one:
        await one.chat()
    await asyncio.wait_for(STOPPING[-1], WAIT_S)
    assert [line["outcome"] for line in written(log)] == ["ok"]

"""Engines that refuse, fail, hang or break off: what the client hears, what the roster thinks, what is counted."""

import json
from typing import Any

import pytest
from openai import APIError, AsyncOpenAI

from deployments.policy.routing.types import ReplicaState
from tests.path.conftest import Start
from tests.path.fake_engine import FakeEngine, Script, answers, fake_engine, then_breaks, then_hangs
from tests.path.herd import LLAMA, Herd
from tests.wire_format import DONE, chunk, error_event, event, vllm_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n"


def last_event(body: bytes) -> dict[str, Any]:
    """The error that a stream ends with."""
    assert body.endswith(b"\n\n")
    error: dict[str, Any] = json.loads(body.removesuffix(b"\n\n").rpartition(b"\n\ndata: ")[2])["error"]
    return error


async def test_refusal_of_the_engine_in_our_shape(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(400, vllm_error(400, "temperature must be non-negative, got -1.0.", "temperature"))
    answer = await herd.chat(stream=True)
    assert answer.status_code == 400
    assert answer.json()["error"] == {
        "message": "temperature must be non-negative, got -1.0.",
        "type": "invalid_request_error",
        "param": "temperature",
        "code": None,
    }
    assert herd.ended("client_error") == 1
    assert herd.state(engine) is ReplicaState.READY


async def test_prompt_too_long_has_its_code(herd: Herd, engine: FakeEngine) -> None:
    engine.script = answers(400, vllm_error(400, "This model's maximum context length is 2048 tokens. However, you requested 4000."))
    answer = await herd.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "context_length_exceeded")


@pytest.mark.parametrize(
    "script",
    [
        answers(500, vllm_error(500, "CUDA error at /opt/vllm/engine.py:17")),
        answers(500, b"Traceback (most recent call last): CUDA"),
        answers(502, {"detail": "CUDA"}),
    ],
)
async def test_failure_of_the_engine_tells_nothing_of_its_inside(herd: Herd, engine: FakeEngine, script: Script) -> None:
    engine.script = script
    answer = await herd.chat()
    assert (answer.status_code, answer.json()["error"]["code"], answer.headers["retry-after"]) == (502, "engine_failed", "1")
    assert "CUDA" not in answer.text
    assert herd.ended("engine_failed") == 1


@pytest.mark.parametrize(
    "script",
    [
        then_breaks(head=False),
        then_breaks(b"HTTP/1.1 200 O", head=False),
        then_breaks(HEAD, head=False),
        then_breaks(HEAD + b"\r\n" + b"{" * 99, head=False),
        then_breaks(b"SSH-2.0-OpenSSH_9\r\n", head=False),
        then_breaks(),
    ],
)
async def test_engine_that_breaks_off_before_the_first_byte(herd: Herd, engine: FakeEngine, script: Script) -> None:
    engine.script = script
    answer = await herd.chat(stream=True)
    assert (answer.status_code, answer.json()["error"]["code"], answer.headers["retry-after"]) == (503, "engine_gone", "5")
    assert herd.state(engine) is ReplicaState.DEAD
    assert herd.ended("engine_failed") == 1
    assert herd.open_now == (0, 0)


async def test_engine_that_listens_no_more(herd: Herd) -> None:
    async with fake_engine() as gone:
        pass
    herd.has(gone)
    answer = await herd.chat()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_gone")
    assert herd.state(gone) is ReplicaState.DEAD


async def test_next_request_goes_to_the_replica_that_is_left(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as second:
        herd.has(engine, second)
        engine.script = then_breaks(head=False)
        statuses = sorted([(await herd.chat()).status_code for _ in range(4)])
        assert statuses[:3] == [200, 200, 200]
        assert len(engine.requests) <= 1


@pytest.mark.parametrize(
    "after",
    [
        (),  # between two chunks
        (b"2000\r\ndata: {",),  # inside a chunk
        (b'8\r\ndata: {"\r\n',),  # inside an event
        (b"zz\r\n",),  # no HTTP any more
    ],
)
async def test_engine_that_breaks_off_inside_a_stream(herd: Herd, engine: FakeEngine, after: tuple[bytes, ...]) -> None:
    engine.script = then_breaks(b"%x\r\n%b\r\n" % (len(event()), event()), *after)
    answer = await herd.chat(stream=True)
    assert answer.status_code == 200
    assert answer.content.startswith(event())
    assert last_event(answer.content)["code"] == "engine_gone"
    assert herd.state(engine) is ReplicaState.DEAD
    assert herd.ended("engine_failed") == 1
    assert herd.open_now == (0, 0)


async def test_official_client_raises_its_own_error_when_a_stream_breaks(herd: Herd, engine: FakeEngine) -> None:
    engine.script = then_breaks(b"%x\r\n%b\r\n" % (len(event()), event()))
    async with AsyncOpenAI(base_url=f"{herd.url}/v1", api_key="none", max_retries=0) as client:
        stream = await client.chat.completions.create(model=LLAMA, messages=[{"role": "user", "content": "Hi"}], stream=True)
        with pytest.raises(APIError) as raised:
            assert [chunk.choices[0].delta.content async for chunk in stream] == ["llama"]
    assert raised.value.code == "engine_gone"
    assert "went away" in raised.value.message


async def test_engine_that_ends_its_stream_with_an_error(herd: Herd, engine: FakeEngine) -> None:
    error = error_event(500, "EngineCore encountered an issue.", kind="EngineDeadError")
    engine.script = then_breaks(*map(chunk, (event(), error, DONE, b"")))
    endings: tuple[dict[str, Any], ...] = ({"n": 2}, {})
    for more in endings:  # nobody could go on with two answers, and nobody is there to go on with one
        herd.has(engine)
        answer = (await herd.chat(stream=True, **more)).content
        assert answer.startswith(event())
        assert last_event(answer)["code"] == "engine_gone"
        assert herd.state(engine) is ReplicaState.DEAD
    assert herd.ended("engine_failed") == 2


@pytest.mark.parametrize("head", [False, True])
async def test_engine_that_never_begins(limited: Start, engine: FakeEngine, head: bool) -> None:
    herd = await limited(first_byte_s=0.5)
    engine.script = then_hangs(head=head)
    answer = await herd.chat(stream=True)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")
    assert "did not begin its answer" in answer.json()["error"]["message"]
    await engine.left()
    await herd.has_ended("timeout")
    assert herd.state(engine) is ReplicaState.READY


async def test_whole_answer_may_take_until_the_end(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(first_byte_s=0.05, total_s=0.4)
    engine.script = then_hangs(head=False)
    answer = await herd.chat()
    assert answer.status_code == 504
    assert herd.count("herd_request_seconds_sum", model=LLAMA) > 0.3


async def test_engine_that_never_ends(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(first_byte_s=1, total_s=1.2)
    engine.script = then_hangs(event())
    answer = await herd.chat(stream=True)
    assert answer.status_code == 200
    assert answer.content.startswith(event())
    assert last_event(answer.content)["code"] == "timeout"
    assert "did not finish its answer" in last_event(answer.content)["message"]
    await engine.left()
    await herd.has_ended("timeout")


async def test_model_that_starts_and_model_that_is_gone(herd: Herd, engine: FakeEngine) -> None:
    herd.has(model="scout")
    answer = await herd.chat(model="scout")
    assert (answer.status_code, answer.json()["error"]["code"], answer.headers["retry-after"]) == (503, "engine_starting", "5")
    for state in (ReplicaState.LEAVING, ReplicaState.DEAD):
        herd.has(engine, state=state)
        answer = await herd.chat()
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "engine_gone")
    assert herd.ended("unavailable") == 2
    assert not engine.requests


async def test_suspected_replica_is_back_when_it_says_so(herd: Herd, engine: FakeEngine) -> None:
    engine.queue = [then_breaks(head=False)]
    assert (await herd.chat()).status_code == 503
    assert (await herd.chat()).status_code == 503
    assert len(engine.requests) == 1
    herd.has(engine)
    assert (await herd.chat()).status_code == 200

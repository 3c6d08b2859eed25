"""An engine fails, another one answers: at once where the client has nothing yet, behind what it has where a stream broke off."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.path.begun import FAILURE, WHOLE, answer, breaking, chunks, said
from tests.path.conftest import Start
from tests.path.fake_engine import FakeEngine, Script, answers, fake_engine, streams, then_breaks
from tests.path.herd import LLAMA, Herd
from tests.wire_format import LAST, vllm_error

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def two(herd: Herd, engine: FakeEngine, other: FakeEngine, first: Script, second: Script) -> None:
    """Whichever is asked first fails, the next one does better."""
    herd.has(engine, other)
    scripts = [first, second]

    async def script(wire: Any) -> None:
        await scripts.pop(0)(wire)

    engine.script = other.script = script


def asked(engine: FakeEngine, other: FakeEngine, at: int) -> dict[str, Any]:
    """What the engines were asked, in order of time."""
    both = engine.requests + other.requests
    told: list[dict[str, Any]] = sorted((one.json for one in both), key=lambda body: len(body.get("vllm_xargs", {}).get("herd_tokens", [])))
    return told[at]


@pytest.mark.parametrize(
    "failure",
    [
        then_breaks(head=False),
        then_breaks(),
        answers(500, vllm_error(500, "dead")),
        answers(503, vllm_error(503, "full")),
        streams([FAILURE, LAST]),
    ],
    ids=["refused", "no first byte", "500", "503", "error as first event"],
)
async def test_before_the_first_byte_another_replica_answers(herd: Herd, engine: FakeEngine, failure: Script) -> None:
    async with fake_engine() as other:
        await two(herd, engine, other, failure, streams(answer()))
        got = await herd.chat(stream=True)
    assert (got.status_code, got.content) == (200, WHOLE)
    assert len(engine.requests) == len(other.requests) == 1
    assert herd.count("herd_retries_total", model=LLAMA, kind="again") == 1
    assert herd.ended("ok") == 1


async def test_whole_answer_is_asked_for_again(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as other:
        await two(herd, engine, other, then_breaks(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", head=False), answers(200, {"id": "1"}))
        assert (await herd.chat()).json() == {"id": "1"}


@pytest.mark.parametrize("after", range(1, 8))
@pytest.mark.parametrize("cut", [b"", b"4\r\ndata\r\n", chunks([FAILURE]), chunks([FAILURE, LAST]) + b"0\r\n\r\n"])
async def test_stream_goes_on_without_a_seam(herd: Herd, engine: FakeEngine, after: int, cut: bytes) -> None:
    async with fake_engine() as other:
        await two(herd, engine, other, breaking(after, cut), streams(answer(created=2)))
        got = await herd.chat(stream=True)
        told = asked(engine, other, 1)
    assert got.content == WHOLE
    assert told["vllm_xargs"]["herd_tokens"] == list(range(min(after, 6)))
    assert told["vllm_xargs"].get("herd_finish") == ("stop" if after >= 6 else None)
    assert told["return_token_ids"] is True
    assert herd.ended("ok") == 1
    assert herd.count("herd_tokens_total", model=LLAMA, kind="completion") == 6, "counted once"
    assert herd.count("herd_retries_total", model=LLAMA, kind="resumed") == 1
    assert herd.open_now == (0, 0)


async def test_what_was_whole_is_not_asked_for_again(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as other:
        await two(herd, engine, other, breaking(8), streams(answer()))
        assert (await herd.chat(stream=True)).content == WHOLE
        assert len(engine.requests) + len(other.requests) == 1


async def test_client_that_wants_token_ids_gets_them_from_both(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as other:
        await two(herd, engine, other, breaking(3), streams(answer()))
        assert (await herd.chat(stream=True, return_token_ids=True)).content == b"".join(answer())


async def three(herd: Herd, engine: FakeEngine, *scripts: Script) -> bytes:
    """A stream's answer, by three engines in turn."""
    left = list(scripts)

    async def script(wire: Any) -> None:
        await left.pop(0)(wire)

    async with fake_engine() as second, fake_engine() as third:
        herd.has(engine, second, third)
        engine.script = second.script = third.script = script
        return (await herd.chat(stream=True)).content


async def test_three_engines_for_one_stream(limited: Start, engine: FakeEngine) -> None:
    """Each gets further, so that it is not the request that they die of."""
    herd = await limited(attempts=2)
    further = then_breaks(chunks(answer(created=2)[:4]))
    assert await three(herd, engine, breaking(2), further, streams(answer(created=3))) == WHOLE


async def test_request_that_ends_every_engine_at_the_same_place_ends_no_more_than_the_config_says(
    limited: Start, engine: FakeEngine
) -> None:
    herd = await limited(attempts=2)
    no_further = then_breaks(chunks(answer(created=2)[:2]))
    content = await three(herd, engine, breaking(2), no_further, streams(answer(created=3)))
    assert content.startswith(b"".join(answer(ids=False)[:2]) + b'data: {"type":"error"')


async def test_no_more_replicas_than_the_config_says(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(attempts=2)
    async with fake_engine() as second, fake_engine() as third:
        herd.has(engine, second, third)
        engine.script = second.script = third.script = answers(500, vllm_error(500, "CUDA"))
        got = await herd.chat()
        assert (got.status_code, got.json()["error"]["code"]) == (502, "engine_failed")
        assert len(engine.requests + second.requests + third.requests) == 2


async def test_who_lost_the_only_engine_is_told_how_long_a_start_takes(herd: Herd, engine: FakeEngine) -> None:
    herd.roster.update(LLAMA, [replace(view, start_s=90.0) for view in herd.roster.replicas(LLAMA)])
    engine.script = then_breaks(head=False)
    got = await herd.chat()
    assert (got.status_code, got.json()["error"]["code"], got.headers["retry-after"]) == (503, "engine_gone", "90")


async def test_an_engine_that_says_something_else_is_not_gone_on_with(herd: Herd, engine: FakeEngine) -> None:
    other_words = [said(0), said(7), said(8, finish="stop"), LAST]
    async with fake_engine() as other:
        await two(herd, engine, other, breaking(3), streams(other_words))
        got = await herd.chat(stream=True)
    begin = b"".join(answer(ids=False)[:3])
    assert got.content.startswith(begin + b'data: {"type":"error"')
    assert b'"code":"engine_gone"' in got.content
    assert herd.ended("engine_failed") == 1


@pytest.mark.parametrize("more", [{"n": 2}, {"logprobs": True}])
async def test_what_cannot_be_continued_ends_in_an_error(herd: Herd, engine: FakeEngine, more: dict[str, Any]) -> None:
    async with fake_engine() as other:
        await two(herd, engine, other, breaking(3), streams(answer()))
        got = await herd.chat(stream=True, **more)
        assert len(engine.requests) + len(other.requests) == 1
    assert got.content.startswith(b"".join(answer()[:3]))
    assert b'"code":"engine_gone"' in got.content


async def test_refusal_of_a_request_is_final(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as other:
        await two(herd, engine, other, answers(400, vllm_error(400, "no")), streams(answer()))
        assert (await herd.chat(stream=True)).status_code == 400
        assert len(engine.requests) + len(other.requests) == 1


async def test_work_in_the_background_is_not_begun_twice(herd: Herd, engine: FakeEngine) -> None:
    async with fake_engine() as other:
        await two(herd, engine, other, then_breaks(head=False), answers(200, {}))
        got = await herd.http.post("/v1/responses", json={"model": LLAMA, "input": "Hi", "background": True})
        assert got.status_code == 503
        assert len(engine.requests) + len(other.requests) == 1


async def test_nobody_but_a_gateway_says_what_was_delivered(herd: Herd) -> None:
    got = await herd.chat(stream=True, vllm_xargs={"herd_tokens": [1]})
    assert (got.status_code, got.json()["error"]["param"]) == (400, "vllm_xargs")

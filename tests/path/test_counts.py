"""What is counted of a request that is answered: tokens, first piece, intervals, time."""

import asyncio
import json
from typing import Any

import pytest

from tests.path.fake_engine import FakeEngine, answers, steered, streams, then_hangs
from tests.path.herd import LLAMA, Herd, asking
from tests.path.wire import connected, request
from tests.wire_format import DONE, event, usage

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT_USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
OTHER_USAGE = {"input_tokens": 11, "output_tokens": 7}


def tokens(herd: Herd) -> tuple[float, float]:
    return herd.count("herd_tokens_total", model=LLAMA, kind="prompt"), herd.count("herd_tokens_total", model=LLAMA, kind="completion")


@pytest.mark.parametrize("stated", [CHAT_USAGE, OTHER_USAGE])
async def test_tokens_of_a_whole_answer(herd: Herd, engine: FakeEngine, stated: dict[str, int]) -> None:
    engine.script = answers(200, {"usage": stated})
    await herd.chat()
    assert tokens(herd) == (11, 7)


@pytest.mark.parametrize(
    "ending",
    [
        [usage(11, 7), DONE],
        [usage(11, 7) + DONE],
        [usage(11, 7)[:40], usage(11, 7)[40:] + DONE],
        [b"event: response.completed\ndata: " + json.dumps({"response": {"usage": OTHER_USAGE}}).encode() + b"\n\n"],
        [
            b"event: message_delta\ndata: " + json.dumps({"delta": {"stop_reason": "end_turn"}, "usage": OTHER_USAGE}).encode() + b"\n\n",
            b'event: message_stop\ndata: {"type": "x"}\n\n',
        ],
    ],
)
async def test_tokens_of_a_stream(herd: Herd, engine: FakeEngine, ending: list[bytes]) -> None:
    engine.script = streams([event(), event(), *ending])
    await herd.chat(stream=True)
    assert tokens(herd) == (11, 7)


@pytest.mark.parametrize(
    "body", [{}, {"usage": None}, {"usage": {"prompt_tokens": "x", "completion_tokens": -1}}, b"no_tokens but no JSON"]
)
async def test_answer_that_states_no_tokens(herd: Herd, engine: FakeEngine, body: Any) -> None:
    engine.script = answers(200, body)
    assert (await herd.chat()).status_code == 200
    assert tokens(herd) == (0, 0)


async def test_first_piece_and_intervals(herd: Herd, engine: FakeEngine) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    engine.script = steered(pieces)
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        for number in range(4):
            pieces.put_nowait(event())
            if number == 0:
                await client.head()
            await client.chunk()
        pieces.put_nowait(b"")
        await client.chunk()
    assert herd.count("herd_time_to_first_token_seconds_count", model=LLAMA) == 1
    assert herd.count("herd_inter_token_latency_seconds_count", model=LLAMA) == 3
    assert herd.count("herd_request_seconds_count", model=LLAMA) == 1
    first, rest = (herd.count(f"herd_{name}_seconds_sum", model=LLAMA) for name in ("time_to_first_token", "inter_token_latency"))
    assert 0 < first + rest <= herd.count("herd_request_seconds_sum", model=LLAMA)


async def test_stream_that_never_began_has_no_first_piece(herd: Herd, engine: FakeEngine) -> None:
    engine.script = then_hangs()
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await engine.asked()
        assert herd.count("herd_requests_open", model=LLAMA) == 1
        client.hang_up()
        await herd.has_ended("cancelled")
    assert herd.count("herd_time_to_first_token_seconds_count", model=LLAMA) == 0


async def test_every_pick_has_its_reason(herd: Herd, engine: FakeEngine) -> None:
    await herd.chat()
    assert herd.count("herd_picks_total", model=LLAMA, reason="only") == 1

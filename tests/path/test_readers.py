"""Readers of answers: they hold back, let go, cut with a reason and make the engine wait, whole or streamed, in `n=2`, over a death."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from deployments.gateway.readers.reader import Gate, Piece
from deployments.policy.routing.types import ReplicaState
from tests.path.begun import answer, breaking, chunks
from tests.path.conftest import Start
from tests.path.fake_engine import FakeEngine, Script, Wire, answers, fake_engine, steered, streams, then_breaks
from tests.path.herd import LLAMA, Herd, asking, until
from tests.path.readers import Cuts, Follows, HoldsBack, Log, finishes, read_by
from tests.path.test_slow_clients import Firehose
from tests.path.wire import connected, request
from tests.wire_format import CHAT, DONE, LAST, event

pytestmark = pytest.mark.asyncio(loop_scope="session")

LONG = answer(50)
LONG_SHOWN = b"".join(answer(50, ids=False))
TWO_CHOICES = [
    *(CHAT.write([{"index": n % 2, "delta": {"content": f"{n} "}, "finish_reason": None}]) for n in range(60)),
    CHAT.write([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    CHAT.write([{"index": 1, "delta": {}, "finish_reason": "length"}]),
    LAST,
]
TOLD = {"role": "assistant", "content": "0 1 2 3 4 5 6 7 8 9"}
BODY = {"id": "1", "choices": [{"index": n, "message": TOLD, "finish_reason": "stop"} for n in range(2)], "usage": {"prompt_tokens": 3}}


def events(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: {")]


def text(stream: bytes, index: int = 0) -> str:
    choices = (choice for one in events(stream) for choice in one["choices"] if choice["index"] == index)
    return "".join(choice["delta"].get("content", "") for choice in choices)


def in_turn(*scripts: Script) -> Script:
    left = list(scripts)

    async def script(wire: Wire) -> None:
        await left.pop(0)(wire)

    return script


@pytest.mark.parametrize("kinds", [(HoldsBack,), (HoldsBack, HoldsBack)], ids=["one", "two"])
@pytest.mark.parametrize(
    ("script", "body"), [(streams(LONG), {"stream": True}), (streams(TWO_CHOICES), {"stream": True, "n": 2}), (answers(200, BODY), {})]
)
async def test_answer_that_is_held_back_is_what_it_is_without_a_reader(
    herd: Herd, engine: FakeEngine, script: Script, body: dict[str, Any], kinds: Any
) -> None:
    engine.script = script
    before = await herd.chat(**body)
    log = read_by(herd.serving.pipeline, *kinds)
    after = await herd.chat(**body)
    assert (after.status_code, after.content) == (before.status_code, before.content)
    assert (log.made, log.ended, log.closed) == (len(kinds),) * 3
    assert herd.ended("ok") == 2
    assert herd.open_now == (0, 0)


async def test_stream_is_held_back_by_so_many_pieces(herd: Herd, engine: FakeEngine) -> None:
    pieces: asyncio.Queue[bytes] = asyncio.Queue()
    engine.script = steered(pieces)
    log = read_by(herd.serving.pipeline, HoldsBack)
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        for number in range(40):
            pieces.put_nowait(event(str(number)))
            await until(lambda number=number: log.read == number + 1)  # type: ignore[misc]
        await client.head()
        assert [await client.chunk() for _ in range(8)] == [event(str(number)) for number in range(8)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.reader.readexactly(1)
        pieces.put_nowait(DONE)
        pieces.put_nowait(b"")
        assert await client.chunks() == [*(event(str(number)) for number in range(8, 40)), DONE]
    assert log.texts == {0: "".join(map(str, range(40)))}


@pytest.mark.parametrize("after", [2, 20, 45])
async def test_stream_that_is_held_back_goes_on_over_a_death_without_a_seam(herd: Herd, engine: FakeEngine, after: int) -> None:
    """With 2 pieces said, its client has none of them."""
    log = read_by(herd.serving.pipeline, HoldsBack)
    async with fake_engine() as other:
        herd.has(engine, other)
        engine.script = other.script = in_turn(then_breaks(chunks(LONG[:after])), streams(answer(50, created=2)))
        got = await herd.chat(stream=True)
    assert got.content == LONG_SHOWN
    assert log.made == 1
    assert log.texts[0] == text(LONG_SHOWN), "nothing is read twice"
    assert herd.count("herd_retries_total", model=LLAMA, kind="resumed") == 1


async def test_two_choices_begin_anew_where_their_engine_dies_before_anything_is_shown(herd: Herd, engine: FakeEngine) -> None:
    log = read_by(herd.serving.pipeline, HoldsBack)
    async with fake_engine() as other:
        herd.has(engine, other)
        engine.script = other.script = in_turn(then_breaks(chunks(TWO_CHOICES[:10])), streams(TWO_CHOICES))
        got = await herd.chat(stream=True, n=2)
    assert got.content == b"".join(TWO_CHOICES)
    assert (log.made, log.closed, log.ended) == (2, 2, 1)
    assert herd.count("herd_retries_total", model=LLAMA, kind="again") == 1


async def test_answer_that_ends_each_engine_at_the_same_place_begins_anew_no_more_often_than_the_config_says(
    limited: Start, engine: FakeEngine
) -> None:
    herd = await limited(attempts=2)
    log = read_by(herd.serving.pipeline, HoldsBack)
    async with fake_engine() as second, fake_engine() as third:
        herd.has(engine, second, third)
        engine.script = second.script = third.script = then_breaks(chunks(TWO_CHOICES[:10]))
        refused = await herd.chat(stream=True, n=2)
        assert len(engine.requests + second.requests + third.requests) == 2
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_gone")
    assert (log.made, log.closed, log.ended) == (2, 2, 0)


async def test_two_choices_of_which_a_part_is_shown_end_in_an_error_and_show_nothing_that_is_not_cleared(
    herd: Herd, engine: FakeEngine
) -> None:
    log = read_by(herd.serving.pipeline, HoldsBack)
    engine.script = then_breaks(chunks(TWO_CHOICES[:40]))
    got = await herd.chat(stream=True, n=2)
    assert got.content.startswith(b"".join(TWO_CHOICES[:8]) + b'data: {"type":"error"')
    assert log.closed == 1
    assert herd.ended("engine_failed") == 1


@pytest.mark.parametrize("dies", [False, True])
async def test_stream_that_is_cut_ends_with_the_reason_and_no_other_engine_is_asked(herd: Herd, engine: FakeEngine, dies: bool) -> None:
    log = read_by(herd.serving.pipeline, Cuts)
    goes_on = streams([*answer(50, created=2)[:20]], pace_s=0.01)
    async with fake_engine() as other:
        herd.has(engine, other)
        engine.script = other.script = in_turn(breaking(3), goes_on) if dies else goes_on
        got = await herd.chat(stream=True)
        assert len(engine.requests) + len(other.requests) == 1 + dies
        assert {herd.state(engine), herd.state(other)} == {ReplicaState.READY} | ({ReplicaState.DEAD} if dies else set())
    assert text(got.content) == "0 1 2 3 4 5 "
    last = events(got.content)[-1]
    assert finishes(last["choices"]) == {0: "content_filter"}
    assert last["id"] == "chatcmpl-1"
    assert got.content.endswith(LAST)
    assert (log.made, log.closed, log.ended) == (1, 1, 0)
    assert herd.ended("ok") == 1
    assert herd.open_now == (0, 0)


async def test_stream_that_is_cut_stops_its_engine(herd: Herd, engine: FakeEngine) -> None:
    read_by(herd.serving.pipeline, Cuts)
    engine.script = streams((event(f"{number} ") for number in range(1_000_000)), pace_s=0.001)
    got = await herd.chat(stream=True)
    assert finishes(events(got.content)[-1]["choices"]) == {0: "content_filter"}
    await engine.left()
    assert herd.state(engine) is ReplicaState.READY


async def test_two_choices_are_cut_together_but_for_one_that_has_ended(herd: Herd, engine: FakeEngine) -> None:
    read_by(herd.serving.pipeline, Cuts)
    ended = CHAT.write([{"index": 1, "delta": {"content": "b"}, "finish_reason": "stop"}])
    engine.script = streams([ended, *LONG])
    got = await herd.chat(stream=True, n=2)
    assert [finishes(one["choices"]) for one in events(got.content) if finishes(one["choices"])] == [{1: "stop"}, {0: "content_filter"}]
    engine.script = streams(TWO_CHOICES)
    read_by(herd.serving.pipeline, Cuts)
    got = await herd.chat(stream=True, n=2)
    assert finishes(events(got.content)[-1]["choices"]) == {0: "content_filter", 1: "content_filter"}
    assert (text(got.content, 0), text(got.content, 1)) == ("0 2 4 6 8 ", "1 3 5 7 9 ")


async def test_whole_answer_is_cut(herd: Herd, engine: FakeEngine) -> None:
    read_by(herd.serving.pipeline, Cuts)
    engine.script = answers(200, BODY)
    got = (await herd.chat(n=2)).json()
    assert finishes(got["choices"]) == {0: "content_filter", 1: "content_filter"}
    assert {choice["message"]["content"] for choice in got["choices"]} == {"0 1 2 3 4 5 "}
    assert got["usage"] == {"prompt_tokens": 3}
    assert herd.ended("ok") == 1


async def test_whole_answer_is_asked_of_another_engine_and_read_once(herd: Herd, engine: FakeEngine) -> None:
    log = read_by(herd.serving.pipeline, Cuts)
    async with fake_engine() as other:
        herd.has(engine, other)
        engine.script = other.script = in_turn(then_breaks(head=False), answers(200, BODY))
        assert finishes((await herd.chat()).json()["choices"]) == {0: "content_filter", 1: "content_filter"}
    assert log.read == 1


class Late(Follows):
    """Clears or cuts when the test says so, from outside of the engine's bytes."""


async def test_verdict_that_comes_after_the_engines_last_word_is_waited_for(herd: Herd, engine: FakeEngine) -> None:
    log = read_by(herd.serving.pipeline, Late)
    engine.script = streams(LONG)
    verdicts: list[tuple[Callable[[Gate], None], bytes]] = [
        (lambda gate: gate.clear(len(LONG)), LONG_SHOWN),
        (lambda gate: gate.cut("content_filter"), b'data: {"id"'),
    ]
    for act, begin in verdicts:
        asked = asyncio.create_task(herd.chat(stream=True))
        await until(lambda: log.ended == len(log.gates) > 0)
        assert herd.open_now == (1, 1)
        (flight,) = herd.roster._router(LLAMA)._flights.values()
        await until(lambda flight=flight: flight.requests_now == 0)  # type: ignore[misc]
        assert not asked.done()
        act(log.gates[-1])
        got = await asked
        assert got.content.startswith(begin)
        log.gates.clear()
        log.ended = 0
    assert herd.ended("ok") == 2


async def test_client_that_leaves_while_its_answer_is_held_back_is_noticed(herd: Herd, engine: FakeEngine) -> None:
    log = read_by(herd.serving.pipeline, Late)
    engine.script = streams(LONG)
    async with connected(herd.port) as client:
        await client.send(request(asking(stream=True)))
        await until(lambda: log.ended == 1)
        client.hang_up()
        await herd.has_ended("cancelled")
    assert log.closed == 1
    log.gates[0].clear(3)
    log.gates[0].cut("late")
    log.gates[0].pause()
    log.gates[0].resume()


async def test_reader_that_never_decides_is_a_timeout(limited: Start, engine: FakeEngine) -> None:
    herd = await limited(first_byte_s=0.3, total_s=0.4)
    log = read_by(herd.serving.pipeline, Late)
    engine.script = streams(LONG)
    got = await herd.chat(stream=True)
    assert (got.status_code, got.json()["error"]["code"]) == (504, "timeout")
    assert log.closed == 1


class Fails(Follows):
    """Has a defect."""

    def read(self, piece: Piece) -> None:
        super().read(piece)
        if self.pieces == 3:
            raise ZeroDivisionError
        self.gate.clear(self.pieces)


async def test_defect_of_a_reader_is_the_servers_and_shows_nothing_more(herd: Herd, engine: FakeEngine) -> None:
    log = read_by(herd.serving.pipeline, Fails)
    engine.script = streams(LONG)
    got = await herd.chat(stream=True)
    assert got.content.startswith(b"".join(answer(50, ids=False)[:2]) + b'data: {"type":"error"')
    assert b'"code":"internal_error"' in got.content
    assert herd.ended("internal_error") == 1
    assert log.closed == 1
    assert herd.state(engine) is ReplicaState.READY


@pytest.mark.parametrize("waits", ["for all that is held back", "for a pause"])
async def test_engine_waits_for_a_reader(herd: Herd, engine: FakeEngine, waits: str) -> None:
    class Pauses(HoldsBack):
        def read(self, piece: Piece) -> None:
            super().read(piece)
            self.gate.clear(self.pieces)
            self.gate.pause()

    kind: Callable[[Gate, Log], Follows] = Pauses if waits == "for a pause" else Late
    log = read_by(herd.serving.pipeline, kind)
    engine.script = hose = Firehose()
    asked = asyncio.create_task(herd.chat(stream=True))
    await hose.stalls()
    assert hose.sent < 24 << 20
    while not asked.done():
        for gate in log.gates:
            gate.clear(log.read)
            gate.resume()
        await asyncio.sleep(0)
    assert len((await asked).content) > 64 << 20

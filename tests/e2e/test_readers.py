"""Readers of answers over real engines: one holds a stream back and changes no byte of it, one cuts it with a reason.

No field of a config makes a reader: the gateway here is built by the test, in front of the herd's own engines and with their door's key.
"""

import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import pytest

from configs.schema import Limits, Model
from deployments.gateway.readers.reader import Piece
from deployments.policy.routing.types import ReplicaState
from tests.e2e import own_gateway
from tests.e2e.conftest import SMALL, Herd, wait_for
from tests.e2e.own_gateway import views
from tests.path.herd import Herd as Gateway
from tests.path.readers import Cuts, Follows, HoldsBack, finishes, read_by
from tests.victims import process_of

pytestmark = pytest.mark.asyncio

SMOLLM = "smollm2-135m-instruct"
CHAT = "/v1/chat/completions"
#: Greedy, in the form that vLLM takes for two choices as well.
SURE = {"temperature": 1, "top_k": 1}
ASKED = {"model": SMOLLM, "messages": [{"role": "user", "content": "Tell me about llamas."}], "max_tokens": 80, **SURE}
#: A busy machine joins tokens to fewer pieces, so an answer whose engine dies in its middle is long.
LONG = ASKED | {"stream": True, "ignore_eos": True, "max_tokens": 600}
MODEL = Model(id=SMOLLM, kind="smollm2-135m", checkpoint="small:smollm2-135m-instruct", context_tokens=2048, engine=SMALL)


#: An engine starts in 15 to 30 s on two idle cores.
BACK_S = 300.0
#: A piece in the middle of a long answer, behind the first that a reader lets go which holds 32 back.
MIDDLE = 45
#: Characters of an answer: it is under way; and so many that an engine takes seconds for.
SOME, FAR = 100, 1000
FORMS = pytest.mark.parametrize(
    "more", [{"stream": True}, {"stream": True, "n": 2}, {}, {"n": 2}], ids=["stream", "streams", "whole", "wholes"]
)


@contextlib.asynccontextmanager
async def gateway(herd: Herd, replicas: Iterable[dict[str, Any]]) -> AsyncIterator[Gateway]:
    """A gateway of the test's own, over these replicas of the herd."""
    async with own_gateway.before(herd, MODEL, Limits(queue_s=60), views(replicas, SMOLLM)) as own:
        own.http.timeout = httpx.Timeout(120)
        yield own


def replaced(herd: Herd, victim: dict[str, Any]) -> None:
    """Waits for another replica in the place of a killed one, which the herd's own gateway may list for a moment longer."""

    def serve() -> bool:
        names = {one["id"] for one in herd.replicas(SMOLLM)}
        return len(names) == 2 and victim["id"] not in names

    wait_for("another replica", serve, BACK_S, every_s=1)


def said(stream: bytes) -> list[dict[str, Any]]:
    """What each choice of a stream says and how it ends, however an engine that is ahead of the network joins tokens."""
    texts: dict[int, str] = {}
    ends: dict[int, str] = {}
    for line in stream.split(b"\n"):
        for choice in json.loads(line[6:])["choices"] if line.startswith(b"data: {") else ():
            texts[choice["index"]] = texts.get(choice["index"], "") + (choice["delta"].get("content") or "")
            ends |= finishes([choice])
    return [{"index": index, "text": text, "finish": ends.get(index)} for index, text in sorted(texts.items())]


def resumed(gateway: Gateway) -> float:
    """Answers that another engine went on with."""
    return gateway.count("herd_retries_total", model=SMOLLM, kind="resumed")


@FORMS
async def test_answer_that_is_held_back_is_what_it_is_without_a_reader(herd: Herd, more: dict[str, Any]) -> None:
    async with gateway(herd, herd.replicas(SMOLLM)) as own:
        before = await own.http.post(CHAT, json=ASKED | more)
        log = read_by(own.serving.pipeline, HoldsBack)
        after = await own.http.post(CHAT, json=ASKED | more)
    assert before.status_code == after.status_code == 200
    if "stream" in more:
        assert said(after.content) == said(before.content)
        assert after.content.endswith(b"data: [DONE]\n\n")
    else:
        texts = [[choice["message"]["content"] for choice in one.json()["choices"]] for one in (before, after)]
        assert texts[0] == texts[1]
    assert (log.made, log.ended, log.closed) == (1, 1, 1)


@FORMS
async def test_answer_that_is_cut_ends_with_the_reason_and_its_engine_goes_on_serving(herd: Herd, more: dict[str, Any]) -> None:
    choices = int(more.get("n", 1))
    async with gateway(herd, herd.replicas(SMOLLM)) as own:
        whole = (await own.http.post(CHAT, json=ASKED)).json()["choices"][0]["message"]["content"]
        read_by(own.serving.pipeline, Cuts)
        cut = await own.http.post(CHAT, json=ASKED | more)
        assert cut.status_code == 200
        assert {one.state for one in own.roster.replicas(SMOLLM)} == {ReplicaState.READY}
    if "stream" in more:
        got = said(cut.content)
        assert all(whole.startswith(one["text"]) and len(one["text"]) <= Cuts.most for one in got)
        assert {one["finish"] for one in got} == {"content_filter"}
        assert len(got) == choices
    else:
        found = cut.json()["choices"]
        assert finishes(found) == dict.fromkeys(range(choices), "content_filter")
        assert [one["message"]["content"] for one in found] == [whole[: Cuts.most]] * choices


async def test_answer_that_is_held_back_goes_on_over_the_death_of_its_engine(herd: Herd) -> None:
    """The gateway knows one replica until the answer is under way, and then learns of the other one."""
    victim, other = wait_for("both replicas", lambda: len(found := herd.replicas(SMOLLM)) == 2 and found, BACK_S, every_s=1)
    process = process_of(victim)  # now: the engine goes on while that is looked for

    class Kills(Follows):
        """Lets all go, and kills the engine in the middle of its answer."""

        def read(self, piece: Piece) -> None:
            super().read(piece)
            if self.pieces == MIDDLE:
                own.roster.update(SMOLLM, views([victim, other], SMOLLM))
                process.kill()
            self.gate.clear(self.pieces)

        def end(self) -> None:
            super().end()
            self.gate.clear(self.pieces)

    async with gateway(herd, [victim]) as own:
        before = await own.http.post(CHAT, json=LONG)
        log = read_by(own.serving.pipeline, Kills, HoldsBack)
        after = await own.http.post(CHAT, json=LONG)
        assert resumed(own) == 1
    assert said(after.content) == said(before.content)
    assert after.content.endswith(b"data: [DONE]\n\n")
    assert (log.made, log.ended, log.closed) == (2, 2, 2), "one of each kind: what is said again is not read again"
    replaced(herd, victim)


async def test_answer_that_is_cut_behind_the_death_of_its_engine_ends_with_the_reason(herd: Herd) -> None:
    victim, other = wait_for("both replicas", lambda: len(found := herd.replicas(SMOLLM)) == 2 and found, BACK_S, every_s=1)

    process = process_of(victim)

    class KillsAndCuts(Cuts):
        """Kills the first engine, and cuts what the second one goes on with, far behind all that may be on its way from the first one."""

        most = sys.maxsize

        def read(self, piece: Piece) -> None:
            super().read(piece)
            if not limits and len(self.log.texts.get(0, "")) > SOME:
                own.roster.update(SMOLLM, views([victim, other], SMOLLM))
                process.kill()
                self.most = len(self.log.texts[0]) + FAR
                limits.append(self.most)

    limits: list[int] = []
    async with gateway(herd, [victim]) as own:
        read_by(own.serving.pipeline, KillsAndCuts)
        cut = await own.http.post(CHAT, json=LONG)
        assert resumed(own) == 1
    (got,) = said(cut.content)
    assert got["finish"] == "content_filter"
    assert limits[0] - FAR < len(got["text"]) <= limits[0], "some of it is the second engine's"
    replaced(herd, victim)


async def test_two_choices_that_are_cut_do_not_miss_their_engine(herd: Herd) -> None:
    """An answer that is cut asks no other engine, and no engine could go on with two choices."""
    victim = herd.replica(SMOLLM)

    class CutsAndKills(Cuts):
        def read(self, piece: Piece) -> None:
            super().read(piece)
            if max(map(len, self.log.texts.values()), default=0) > self.most and not killed:
                killed.append(victim["id"])
                process.kill()

    process = process_of(victim)
    killed: list[str] = []
    async with gateway(herd, [victim]) as own:
        read_by(own.serving.pipeline, CutsAndKills)
        cut = await own.http.post(CHAT, json=ASKED | {"stream": True, "n": 2})
        assert own.count("herd_retries_total", model=SMOLLM, kind="again") == 0
    assert {one["finish"] for one in said(cut.content)} == {"content_filter"}
    replaced(herd, victim)

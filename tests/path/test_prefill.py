"""Prefill and decode apart: the first engine computes a long prompt, the second one answers; and the second needs the first for nothing."""

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from msgspec.structs import replace

from configs.schema import Model, Prefill
from deployments.policy.routing.types import ReplicaState
from tests.path.fake_engine import FakeEngine, Script, answers, fake_engine, streams, then_breaks
from tests.path.herd import CHAT, LLAMA, Herd, asking, herd_of, limits
from tests.wire_format import vllm_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

POOL = f"{LLAMA}:prefill"
LONG = "once more, " * 100
BLOCKS = {"do_remote_prefill": True, "do_remote_decode": False, "remote_block_ids": [[1, 2]], "remote_host": "10.0.0.2", "remote_port": 1}
COMPUTED = answers(200, {"object": "chat.completion", "choices": [], "usage": {"prompt_tokens": 300}, "kv_transfer_params": BLOCKS})
SPLIT = (Model(id=LLAMA, kind="llama-3.1-8b", checkpoint="small:x", context_tokens=2048, prefill=Prefill(from_tokens=200)),)


@pytest_asyncio.fixture(loop_scope="session")
async def first() -> AsyncIterator[FakeEngine]:
    """Computes prompts."""
    async with fake_engine() as one:
        one.script = COMPUTED
        yield one


@contextlib.asynccontextmanager
async def apart(engine: FakeEngine, first: FakeEngine, **changed: float) -> AsyncIterator[Herd]:
    """A model whose prefill is apart."""
    async with herd_of([engine], limits(**changed), models=SPLIT) as herd:
        herd.has(first, model=POOL)
        yield herd


def by(herd: Herd, who: str) -> float:
    return herd.count("herd_prefills_total", model=LLAMA, by=who)


async def long(herd: Herd, **body: Any) -> int:
    return (await herd.http.post(CHAT, json=asking(messages=[{"role": "user", "content": LONG}], **body))).status_code


@pytest.mark.parametrize("stream", [False, True])
async def test_the_second_engine_is_told_where_the_kv_cache_is(engine: FakeEngine, first: FakeEngine, stream: bool) -> None:
    async with apart(engine, first) as herd:
        assert await long(herd, stream=stream, max_tokens=50) == 200
        assert (by(herd, "prefill"), by(herd, "decode")) == (1, 0)
        assert herd.ended("ok") == 1, "one request, though two engines worked for it"
    (computed,), (answered,) = first.requests, engine.requests
    assert (computed.json["model"], computed.json["max_tokens"], computed.json["stream"]) == (POOL, 1, False)
    assert computed.json["messages"] == answered.json["messages"]
    assert computed.headers["x-request-id"] == answered.headers["x-request-id"]
    assert computed.headers["authorization"] == answered.headers["authorization"]
    assert (answered.json["kv_transfer_params"], answered.json["max_tokens"]) == (BLOCKS, 50)


async def test_short_prompts_and_what_cannot_be_handed_over_are_computed_where_they_are_answered(
    engine: FakeEngine, first: FakeEngine
) -> None:
    async with apart(engine, first) as herd:
        assert (await herd.chat()).status_code == 200
        assert await long(herd, n=2) == 200
        assert (by(herd, "prefill"), by(herd, "decode")) == (0, 0)
    assert not first.requests
    assert all("kv_transfer_params" not in one.json for one in engine.requests)


@pytest.mark.parametrize(
    "script",
    [
        then_breaks(head=False),
        answers(500, vllm_error(500, "dead")),
        answers(400, vllm_error(400, "the other one will say so too")),
        answers(200, {"choices": []}),
        then_breaks(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{", head=False),
    ],
    ids=["refused", "500", "400", "nothing handed over", "broke off"],
)
async def test_what_goes_wrong_ahead_costs_no_answer(engine: FakeEngine, first: FakeEngine, script: Script) -> None:
    first.script = script
    async with apart(engine, first) as herd:
        assert await long(herd) == 200
        assert (by(herd, "prefill"), by(herd, "decode")) == (0, 1)
    assert "kv_transfer_params" not in engine.requests[0].json


async def test_while_no_prefill_engine_is_there_the_model_is_served_and_healthy(engine: FakeEngine, first: FakeEngine) -> None:
    async with apart(engine, first) as herd:
        herd.has(first, model=POOL, state=ReplicaState.DEAD)
        assert await long(herd) == 200
        health = await herd.http.get("/health")
        assert (health.status_code, health.json()["ready"]) == (200, {LLAMA: 1, POOL: 0})
        herd.has(model=LLAMA)
        assert (await herd.http.get("/health")).status_code == 503


async def test_full_prefill_engines_are_a_full_model(engine: FakeEngine, first: FakeEngine) -> None:
    async with apart(engine, first, queue_s=0.05) as herd:
        herd.has(first, model=POOL)
        herd.roster.update(POOL, [replace(herd.roster.replicas(POOL)[0], slots=1, ongoing=1, running=1)])
        refused = await herd.http.post(CHAT, json=asking(messages=[{"role": "user", "content": LONG}]))
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "overloaded")
    assert LLAMA in refused.json()["error"]["message"]
    assert POOL not in refused.json()["error"]["message"]
    assert int(refused.headers["retry-after"]) >= 1


async def test_the_next_engine_computes_the_prompt_itself(engine: FakeEngine, first: FakeEngine) -> None:
    """What was handed over has been taken."""
    async with fake_engine() as other:
        scripts: list[Script] = [then_breaks(head=False), streams([b"data: {}\n\n", b"data: [DONE]\n\n"])]

        async def script(wire: Any) -> None:
            await scripts.pop(0)(wire)

        engine.script = other.script = script
        async with apart(engine, first) as herd:
            herd.has(engine, other)
            assert await long(herd, stream=True) == 200
        told = [one.json for one in engine.requests + other.requests]
    assert sorted("kv_transfer_params" in one for one in told) == [False, True]
    assert len(first.requests) == 1


async def test_clients_ask_for_the_model_only(engine: FakeEngine, first: FakeEngine) -> None:
    async with apart(engine, first) as herd:
        listed = (await herd.http.get("/v1/models")).json()["data"]
        named = await herd.http.post(CHAT, json=asking(POOL))
        forged = await herd.http.post(CHAT, json=asking(kv_transfer_params=BLOCKS))
        targets = json.dumps((await herd.http.get("/-/targets")).json())
    assert [card["id"] for card in listed] == [LLAMA]
    assert (named.status_code, forged.status_code, forged.json()["error"]["param"]) == (404, 400, "kv_transfer_params")
    assert POOL in targets

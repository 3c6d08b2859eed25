"""A request's spans, as a real collector gets them: the tree of each course that a request may take, and nothing of its text."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from tests.otlp_receiver import Got, Receiver, otlp_receiver
from tests.path.begun import answer, breaking
from tests.path.fake_engine import WAIT_S, FakeEngine, Script, Wire, answers, fake_engine, streams, then_breaks, then_hangs
from tests.path.herd import CHAT, LLAMA, STOPPING, Herd, asking, herd_of, limits, until
from tests.path.wire import connected, request
from tests.wire_format import event, vllm_error

pytestmark = pytest.mark.asyncio(loop_scope="session")

SECRET_WORDS = "my private words"
#: A client's place in a trace, as W3C writes it.
CLIENTS_TRACE, CLIENTS_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CLIENTS = f"00-{CLIENTS_TRACE}-{CLIENTS_SPAN}-01"


@contextlib.asynccontextmanager
async def traced(*engines: FakeEngine, limited: dict[str, float] | None = None, **tracing: Any) -> AsyncIterator[tuple[Herd, Receiver]]:
    """A gateway whose spans come to a receiver."""
    with otlp_receiver() as receiver:
        wanted = {"endpoint": receiver.url, "sample_ratio": 1, **tracing}
        async with herd_of(engines, limits(**limited or {}), tracing=wanted) as herd:
            yield herd, receiver


async def spans(receiver: Receiver, count: int) -> list[Got]:
    """The spans of the only trace, once there are so many."""
    await until(lambda: len(receiver.spans) >= count)
    (tree,) = receiver.trees()
    assert len(tree) == count
    return tree


def of_request(tree: list[Got]) -> Got:
    (whole,) = [one for one in tree if one.kind == "server"]
    assert all(one.parent == whole.id for one in tree if one is not whole)
    assert all(whole.began_ns <= one.began_ns <= one.ended_ns <= whole.ended_ns for one in tree)
    return whole


async def test_answered_request_is_a_span_with_one_attempt_by_the_conventions(engine: FakeEngine) -> None:
    engine.script = streams(answer())
    before = time.time_ns()
    async with traced(engine) as (herd, receiver):
        assert (await herd.chat(stream=True, stream_options={"include_usage": True})).status_code == 200
        tree = await spans(receiver, 2)
    whole, attempt = of_request(tree), tree[1]
    assert before < whole.began_ns < whole.ended_ns < time.time_ns()
    assert (whole.name, whole.parent, whole.failed) == (f"chat {LLAMA}", "", False)
    ttft = whole.attributes.pop("herd.time_to_first_token_s")
    assert 0 < ttft < WAIT_S
    assert whole.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "llama_herd",
        "gen_ai.request.model": LLAMA,
        "gen_ai.response.model": LLAMA,
        "gen_ai.usage.input_tokens": 3,
        "gen_ai.usage.output_tokens": 6,
        "herd.outcome": "ok",
        "herd.attempts": 1,
    }
    assert (attempt.name, attempt.kind, attempt.failed) == (f"attempt {LLAMA}", "client", False)
    assert attempt.attributes["herd.replica"] == f"replica-{engine.port}"
    assert attempt.attributes["herd.pick"] == "only"
    assert whole.resource["service.name"] == "llama-herd-gateway"
    assert whole.resource["service.instance.id"] == "own"
    assert engine.requests[0].headers["traceparent"] == f"00-{attempt.trace}-{attempt.id}-01"


async def test_nothing_of_the_text_or_of_a_header_is_in_what_the_collector_gets(engine: FakeEngine) -> None:
    engine.queue = [streams(answer()), answers(400, vllm_error(400, SECRET_WORDS))]
    told = {"x-request-id": "clients-own-id", "x-session-id": "clients-session", "authorization": "Bearer clients-key"}
    async with traced(engine) as (herd, receiver):
        for _ in range(2):
            await herd.chat(told, stream=True, user="clients-name", messages=[{"role": "user", "content": SECRET_WORDS}])
        await until(lambda: len(receiver.spans) == 4)
        await herd.http.post(CHAT, json=asking(model=SECRET_WORDS), headers=told)
        await until(lambda: len(receiver.spans) == 5)
    sent = b"".join(receiver.batches)
    texts = (SECRET_WORDS, "clients-", "0 1 2", "the-secret-of-the-cluster")
    assert not [text for text in texts if text.encode() in sent]


async def test_refused_request_is_a_span_with_its_wait_and_the_code_of_its_error(engine: FakeEngine) -> None:
    engine.script = then_hangs()
    async with traced(engine, limited={"queue_s": 0.1}) as (herd, receiver):
        herd.roster.update(LLAMA, [replace(view, slots=1) for view in herd.roster.replicas(LLAMA)])
        async with connected(herd.port) as first:
            await first.send(request(asking(stream=True)))
            await engine.asked()
            assert (await herd.chat()).status_code == 429
            tree = await spans(receiver, 2)
    whole, wait = of_request(tree), tree[1]
    assert (whole.failed, whole.attributes["error.type"], whole.attributes["http.response.status_code"]) == (True, "overloaded", 429)
    assert whole.attributes["herd.outcome"] == "overloaded"
    assert (wait.name, wait.kind, wait.failed) == (f"queue {LLAMA}", "internal", True)
    assert wait.ended_ns - wait.began_ns > 0.09e9


def one_after_the_other(engines: Sequence[FakeEngine], scripts: list[Script]) -> None:
    """The first engine that is asked plays the first script, and so on."""

    async def script(wire: Wire) -> None:
        await scripts.pop(0)(wire)

    for engine in engines:
        engine.script = script


async def test_request_that_a_second_replica_answers_has_two_attempts(engine: FakeEngine) -> None:
    async with fake_engine() as other:
        one_after_the_other((engine, other), [then_breaks(head=False), answers(200, {"object": "chat.completion"})])
        async with traced(engine, other) as (herd, receiver):
            assert (await herd.chat()).status_code == 200
            tree = await spans(receiver, 3)
    whole, first, second = of_request(tree), *tree[1:]
    assert (whole.failed, whole.attributes["herd.attempts"], whole.attributes["herd.outcome"]) == (False, 2, "ok")
    assert (first.failed, first.attributes["error.type"]) == (True, "engine_gone")
    assert "herd.retry" not in first.attributes
    assert (second.failed, second.attributes["herd.retry"]) == (False, "again")
    asked = {one.attributes["herd.replica"] for one in tree[1:]}
    assert asked == {f"replica-{engine.port}", f"replica-{other.port}"}


async def test_stream_that_another_replica_goes_on_with_says_so(engine: FakeEngine) -> None:
    async with fake_engine() as other:
        one_after_the_other((engine, other), [breaking(3), streams(answer())])
        async with traced(engine, other) as (herd, receiver):
            assert (await herd.chat(stream=True)).status_code == 200
            tree = await spans(receiver, 3)
    assert of_request(tree).attributes["herd.outcome"] == "ok"
    assert [one.attributes.get("herd.retry") for one in tree[1:]] == [None, "resumed"]
    headers = [one.headers["traceparent"] for one in (*engine.requests, *other.requests)]
    assert sorted(headers) == sorted(f"00-{one.trace}-{one.id}-01" for one in tree[1:]), "each engine works for its own attempt"


async def test_client_that_hangs_up_ends_the_request_and_its_attempt(engine: FakeEngine) -> None:
    engine.script = then_hangs(event())
    async with traced(engine) as (herd, receiver):
        async with connected(herd.port) as client:
            await client.send(request(asking(stream=True)))
            await client.head()
            client.hang_up()
            await engine.left()
        tree = await spans(receiver, 2)
    assert of_request(tree).attributes["error.type"] == "cancelled"
    assert tree[1].attributes["error.type"] == "cancelled"
    assert not any(one.failed for one in tree), "it is no failure of the herd's"


@pytest.mark.parametrize("trusts", [True, False])
async def test_client_is_followed_into_its_trace_only_where_the_config_trusts_it(engine: FakeEngine, trusts: bool) -> None:
    async with traced(engine, trust_clients=trusts) as (herd, receiver):
        assert (await herd.chat({"traceparent": CLIENTS})).status_code == 200
        whole = of_request(await spans(receiver, 2))
    assert ((whole.trace, whole.parent) == (CLIENTS_TRACE, CLIENTS_SPAN)) is trusts
    assert (CLIENTS_TRACE in engine.requests[0].headers["traceparent"]) is trusts


async def test_trusted_client_decides_whether_spans_are_sent(engine: FakeEngine) -> None:
    async with traced(engine, trust_clients=True, sample_ratio=0) as (herd, receiver):
        for last in ("00", "01"):
            assert (await herd.chat({"traceparent": CLIENTS[:-2] + last})).status_code == 200
        await spans(receiver, 2)
    assert ["traceparent" in one.headers for one in engine.requests] == [False, True]


async def test_request_that_failed_is_sent_whatever_the_ratio_is(engine: FakeEngine) -> None:
    engine.queue = [answers(200, {"object": "chat.completion"}), answers(500, vllm_error(500, "CUDA"))]
    async with traced(engine, sample_ratio=0, errors_per_s=1) as (herd, receiver):
        assert (await herd.chat()).status_code == 200
        assert (await herd.chat()).status_code >= 500
        whole = of_request(await spans(receiver, 2))
    assert whole.failed
    assert not any("traceparent" in one.headers for one in engine.requests), "when they were asked, nobody knew"


async def test_gateway_without_tracing_tells_engines_nothing(herd: Herd, engine: FakeEngine) -> None:
    assert (await herd.chat({"traceparent": CLIENTS})).status_code == 200
    assert "traceparent" not in engine.requests[0].headers


async def test_collector_that_fails_touches_no_request(engine: FakeEngine) -> None:
    async with traced(engine, send_s=0.2) as (herd, receiver):
        receiver.status = 500
        assert (await herd.chat()).status_code == 200
        receiver.held.clear()
        began = time.monotonic()
        for _ in range(20):
            assert (await herd.chat()).status_code == 200
        assert time.monotonic() - began < WAIT_S
        receiver.held.set()
        receiver.status = 200
        await _asks_until(herd, lambda: bool(receiver.spans))


async def test_spans_that_wait_are_sent_before_a_stop_is_over(engine: FakeEngine) -> None:
    with otlp_receiver() as receiver:
        async with herd_of([engine], limits(), tracing={"endpoint": receiver.url, "sample_ratio": 1}) as herd:
            assert (await herd.chat()).status_code == 200
        await asyncio.wait_for(STOPPING[-1], WAIT_S)
        assert len(receiver.spans) == 2


async def test_stop_does_not_wait_for_a_collector_that_hangs(engine: FakeEngine) -> None:
    with otlp_receiver() as receiver:
        receiver.held.clear()
        async with herd_of([engine], limits(), tracing={"endpoint": receiver.url, "sample_ratio": 1, "send_s": 300}) as herd:
            assert (await herd.chat()).status_code == 200
        await asyncio.wait_for(STOPPING[-1], WAIT_S)


async def _asks_until(herd: Herd, condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await herd.chat()
            await asyncio.sleep(0.1)

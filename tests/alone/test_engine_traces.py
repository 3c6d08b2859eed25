"""Spans of a gateway and of a real vLLM meet at one collector in one trace. The engine is the small Scout, without Ray."""

import asyncio
import contextlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from deployments.policy.routing.types import ReplicaState, ReplicaView
from tests.bench import servers
from tests.otlp_receiver import Got, Receiver, otlp_receiver
from tests.path.herd import STOPPING, herd_of, limits, until

HI = [{"role": "user", "content": "Hi"}]
#: A body for each API that generates.
APIS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": HI, "max_tokens": 2, "stream": True},
    "/v1/completions": {"prompt": "Hi", "max_tokens": 2},
    "/v1/messages": {"messages": HI, "max_tokens": 2},
    "/v1/responses": {"input": "Hi", "max_output_tokens": 2},
}


def own(receiver: Receiver) -> list[Got]:
    """The spans that vLLM has sent."""
    return [span for span in receiver.spans if span.resource["service.name"] == "llama-herd-engine"]


async def test_vllms_span_of_a_request_is_below_the_attempt_of_its_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    with otlp_receiver() as receiver, contextlib.ExitStack() as stack:
        served = servers.model(otlp_traces_endpoint=receiver.url)
        url = await asyncio.to_thread(stack.enter_context, servers.bare(tmp_path, print, served))
        try:
            tracing = {"endpoint": receiver.url, "sample_ratio": 1}
            async with herd_of([], limits(first_byte_s=120, total_s=120), models=[served], tracing=tracing) as herd:
                herd.roster.update(served.id, [ReplicaView("r1", served.id, "127.0.0.1", urlsplit(url).port or 0, ReplicaState.READY, 0)])
                for path, body in APIS.items():
                    answer = await herd.http.post(path, json={"model": served.id, **body}, timeout=120)
                    assert answer.status_code == 200, (path, answer.text)
                untraced = {"model": served.id, "prompt": "Hi", "max_tokens": 2}
                assert (await herd.http.post(f"{url}/v1/completions", json=untraced, timeout=120)).status_code == 200
                await until(lambda: len(receiver.spans) >= 3 * len(APIS))
            await STOPPING.pop()
        finally:
            await asyncio.to_thread(stack.close)
    assert len(own(receiver)) == len(APIS), "nothing of the engine's start, and nothing of a request that no gateway traces"
    trees = receiver.trees()
    assert len(trees) == len(APIS)
    for tree in trees:
        whole, attempt, request = tree
        assert (whole.kind, attempt.name, request.name) == ("server", f"attempt {served.id}", "llm_request")
        assert (attempt.parent, request.parent) == (whole.id, attempt.id)
        assert attempt.began_ns <= request.began_ns <= attempt.ended_ns
        assert request.attributes["gen_ai.usage.completion_tokens"] == 2

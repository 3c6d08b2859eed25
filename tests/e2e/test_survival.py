"""What happens when an engine dies: its answers go on elsewhere, it is out of the roster at once, and it comes back by itself."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import psutil
import pytest

from deployments.policy.routing.availability import RETRY_AFTER_S
from tests.e2e.conftest import Herd, wait_for
from tests.victims import core_of, process_of

SMOLLM, SCOUT = "smollm2-135m-instruct", "llama-4-scout-tiny"
#: An engine starts in 15 to 30 s on two idle cores.
BACK_S = 300.0
#: A gateway misses an engine at once, and no process of a busy machine does anything at once.
OUT_S = 20.0
STREAMS, TOKENS = 4, 200


def ask(herd: Herd, model: str) -> httpx.Response:
    return httpx.post(f"{herd.endpoint}/v1/completions", json={"model": model, "prompt": "x", "max_tokens": 2}, timeout=60)


def out(herd: Herd, model: str, replica: dict[str, Any]) -> Callable[[], bool]:
    return lambda: replica["id"] not in [one["id"] for one in herd.replicas(model)]


def whole_again(herd: Herd, model: str, count: int) -> Callable[[], bool]:
    return lambda: len(herd.replicas(model)) == count and ask(herd, model).status_code == 200


def streamed(client: openai.OpenAI, number: int, begun: threading.Semaphore) -> tuple[str, int]:
    """A long greedy answer, told when it is well under way; its text, and its tokens as the usage says."""
    messages: Any = [{"role": "user", "content": f"Count the llamas: {number}."}]
    told = False
    text, tokens = "", 0
    for chunk in client.chat.completions.create(
        model=SMOLLM,
        messages=messages,
        temperature=0,
        max_tokens=TOKENS,
        stream=True,
        stream_options={"include_usage": True},
        extra_body={"ignore_eos": True},
    ):
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        tokens = chunk.usage.completion_tokens if chunk.usage else tokens
        if not told and len(text) > 40:
            begun.release()
            told = True
    return text, tokens


def all_streamed(client: openai.OpenAI, then: Callable[[], None]) -> list[tuple[str, int]]:
    """Several at once; something happens in the middle of them."""
    begun = threading.Semaphore(0)
    with ThreadPoolExecutor(STREAMS) as pool:
        answers = [pool.submit(streamed, client, number, begun) for number in range(STREAMS)]
        for number in range(STREAMS):
            if not begun.acquire(timeout=120):
                pytest.fail(f"{number} of {STREAMS} begun: {[answer.exception() if answer.done() else answer for answer in answers]}")
        then()
        return [answer.result(timeout=240) for answer in answers]


@pytest.fixture(scope="module")
def undisturbed(herd: Herd) -> Iterator[list[tuple[str, int]]]:
    """What the answers are when nothing happens."""
    with openai.OpenAI(base_url=f"{herd.endpoint}/v1", api_key="none", max_retries=0, timeout=120) as client:
        yield all_streamed(client, lambda: None)


def outlived(
    herd: Herd, client: openai.OpenAI, undisturbed: list[tuple[str, int]], part: Callable[[dict[str, Any]], psutil.Process]
) -> None:
    """Streams whose replica loses a part of its own in the middle say what they would have said."""
    assert [tokens for _, tokens in undisturbed] == [TOKENS] * STREAMS
    victim = herd.replica(SMOLLM)
    process = part(victim)  # now: the engine goes on while that is looked for

    def kill() -> None:
        process.kill()
        wait_for("out of the roster", out(herd, SMOLLM, victim), within_s=OUT_S, every_s=0.02)

    assert all_streamed(client, kill) == undisturbed
    assert ask(herd, SMOLLM).status_code == 200, "the other one goes on"


def test_streams_outlive_their_replica(herd: Herd, client: openai.OpenAI, undisturbed: list[tuple[str, int]]) -> None:
    wait_for("both replicas", whole_again(herd, SMOLLM, 2), within_s=BACK_S, every_s=1)
    outlived(herd, client, undisturbed, process_of)


def test_a_model_whose_only_engine_is_dead(herd: Herd, client: openai.OpenAI) -> None:
    """A new request is told when to come again; a stream waits for the next engine, and goes on there."""
    replica, more = herd.replica(SCOUT), {"ignore_eos": True, "stream_options": {"include_usage": True}}
    core = core_of(replica)  # now: the engine goes on while that is looked for
    stream = client.completions.create(model=SCOUT, prompt="x", max_tokens=400, stream=True, extra_body=more)
    next(iter(stream))
    core.kill()
    wait_for("out of the roster", out(herd, SCOUT, replica), within_s=OUT_S, every_s=0.02)
    refused = ask(herd, SCOUT)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_gone")
    assert int(refused.headers["retry-after"]) > RETRY_AFTER_S, "as long as a start takes"
    assert ask(herd, SMOLLM).status_code == 200, "its neighbour goes on"
    wait_for("a new replica that generates", whole_again(herd, SCOUT, 1), within_s=BACK_S, every_s=1)
    *_, last = stream
    assert last.usage is not None
    assert last.usage.completion_tokens == 400


def test_streams_outlive_their_engine_core(herd: Herd, client: openai.OpenAI, undisturbed: list[tuple[str, int]]) -> None:
    """Which Ray Serve does not look at."""
    wait_for("a new replica that generates, for the one that was killed", whole_again(herd, SMOLLM, 2), within_s=BACK_S, every_s=1)
    outlived(herd, client, undisturbed, core_of)
    wait_for("a new replica that generates", whole_again(herd, SMOLLM, 2), within_s=BACK_S, every_s=1)

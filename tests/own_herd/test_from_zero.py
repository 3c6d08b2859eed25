"""A real model with `min_replicas: 0`: the herd is up without an engine, and the first requests wait until one has started."""

import concurrent.futures
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest

from deployments.policy.fleet.model_state import ModelState
from tests.bench.process import free_port
from tests.e2e.conftest import SMALL, Herd, up, wait_for

MODEL = "smollm2-135m-instruct"
#: Ray, its Serve and the gateway come up, and no engine does.
UP_S = 180.0
#: The first engines start both at once.
START_S = 400.0
REQUESTS = 6


def config(port: int) -> dict[str, Any]:
    """One model that has two replicas at most, and none while nobody asks for it."""
    model = {
        "id": MODEL,
        "kind": "smollm2-135m",
        "checkpoint": "small:smollm2-135m-instruct",
        "context_tokens": 1024,
        "scaling": {"min_replicas": 0, "max_replicas": 2, "target_ongoing_requests": 4},
        "canary": {"answer": " 8, 9", "period_s": 30},
        "engine": SMALL | {"max_num_seqs": 8},
    }
    gateway = {"port": port, "limits": {"header_s": 120, "body_read_s": 120, "start_wait_s": START_S}}
    return {"name": "zero", "gateway": gateway, "models": [model]}


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    """A herd of its own, which is up before any engine is."""
    began = time.monotonic()
    with up(tmp_path_factory.mktemp("zero"), config(free_port())) as running:
        took_s = time.monotonic() - began
        print(f"up in {took_s:.1f} s")
        assert not running.replicas(MODEL), "nothing waited for an engine"
        assert took_s < UP_S
        yield running


def asked(herd: Herd, number: int) -> str:
    """Asks once, as a stream or for a whole answer; returns what the model says."""
    prompt = f"Llama {number} counts: 1, 2, 3,"
    with openai.OpenAI(base_url=f"{herd.endpoint}/v1", api_key="none", max_retries=0, timeout=START_S + 60) as client:
        if number % 2:
            return client.completions.create(model=MODEL, prompt=prompt, max_tokens=8).choices[0].text
        pieces = client.completions.create(model=MODEL, prompt=prompt, max_tokens=8, stream=True)
        return "".join(piece.choices[0].text for piece in pieces if piece.choices)


def state(herd: Herd) -> str:
    """The word for the model that `herd status` shows."""
    said = herd.run("status", "--json", within_s=60)
    assert said.returncode == 0, said.stdout + said.stderr
    return str(json.loads(said.stdout)["models"][0]["state"])


def test_first_requests_wait_for_the_start_and_none_fails(herd: Herd) -> None:
    assert state(herd) in (ModelState.AT_ZERO, ModelState.STARTING)
    assert httpx.get(f"{herd.endpoint}/health", timeout=60).status_code == 200
    (card,) = herd.get("/v1/models")["data"]
    assert card["at_zero"] is True
    with concurrent.futures.ThreadPoolExecutor(REQUESTS) as clients:
        began = time.monotonic()
        answers = [clients.submit(asked, herd, number) for number in range(REQUESTS)]
        wait_for("all wait", lambda: herd.get("/-/status")["waiting"][MODEL] == REQUESTS, within_s=60)
        texts = [one.result(timeout=START_S + 60) for one in answers]
    print(f"answered after {time.monotonic() - began:.1f} s")
    assert all(texts)
    (card,) = herd.get("/v1/models")["data"]
    assert card["at_zero"] is False
    assert card["start_s"] > 1
    assert state(herd) == ModelState.RUNNING

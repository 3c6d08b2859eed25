"""A model whose prefill is apart: the same tokens, the KV cache really handed over, and no answer lost with the engine that prefills."""

import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.bench.process import free_port
from tests.e2e.conftest import SMALL, Herd, up, wait_for
from tests.victims import core_of

SCOUT, POOL = "llama-4-scout-tiny", "llama-4-scout-tiny:prefill"
TOKENS = 24
#: About 900 tokens, so over several chunks of the tiny model's attention; no prompt begins like another.
PROMPTS = [f"{subject} are animals, and " + f"{subject} live in herds. " * 150 for subject in ("Llamas", "Alpacas", "Camels")]
#: What has the engine that answers compute the prompt itself, all of it: its log-probabilities cannot be handed over, nor remembered.
ALONE = {"prompt_logprobs": 1}


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    """One engine that prefills, one that goes on."""
    scout = {
        "id": SCOUT,
        "kind": SCOUT,
        "checkpoint": f"small:{SCOUT}",
        "context_tokens": 8192,
        "prefill": {"from_tokens": 256},
        "engine": SMALL | {"skip_mm_profiling": True},
    }
    with up(tmp_path_factory.mktemp("apart"), {"name": "apart", "gateway": {"port": free_port()}, "models": [scout]}) as running:
        yield running


def answer(herd: Herd, prompt: str, **more: Any) -> str:
    """Greedy, and as long in any case."""
    body = {"model": SCOUT, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True, **more}
    said = httpx.post(f"{herd.endpoint}/v1/completions", json=body, timeout=120)
    assert said.status_code == 200, said.text
    text: str = said.json()["choices"][0]["text"]
    return text


def computed_by(herd: Herd, who: str) -> float:
    """Long prompts, by who computed them."""
    group = next(one for one in herd.get("/-/targets") if one["labels"]["job"] == "gateway")
    page = httpx.get(f"http://{group['targets'][0]}/metrics").text
    found = re.search(rf'^herd_prefills_total{{by="{who}",[^}}]*}} (\S+)', page, re.MULTILINE)
    return float(found[1]) if found else 0.0


def taken_over(herd: Herd) -> float:
    """Prompt tokens whose KV cache the engine that answers had from the other."""
    page = httpx.get(f"http://{herd.replica(SCOUT)['address']}/metrics").text
    found = re.search(r'^vllm:prompt_tokens_by_source_total{[^}]*source="external_kv_transfer"[^}]*} (\S+)', page, re.MULTILINE)
    assert found, "vLLM no longer counts by source"
    return float(found[1])


def test_what_was_handed_over_gives_the_same_tokens(herd: Herd) -> None:
    for prompt in PROMPTS:
        before = taken_over(herd)
        apart = answer(herd, prompt)
        assert taken_over(herd) - before > 500, "nearly all of the prompt"
        assert answer(herd, prompt, **ALONE) == apart
    assert (computed_by(herd, "prefill"), computed_by(herd, "decode")) == (len(PROMPTS), 0)


def test_without_the_engine_that_prefills_the_other_one_does_it(herd: Herd) -> None:
    """Until it is back, which is Ray Serve's part as for any engine."""
    prompt = "Vicuñas, " * 400
    core_of(herd.replica(POOL)).kill()
    assert answer(herd, prompt) == answer(herd, prompt, **ALONE)
    assert computed_by(herd, "decode") >= 1
    wait_for("no prefill engine", lambda: not herd.replicas(POOL), within_s=60)
    assert httpx.get(f"{herd.endpoint}/health", timeout=60).status_code == 200

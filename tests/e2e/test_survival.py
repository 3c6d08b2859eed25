"""What happens when an engine dies: it is out of the roster at once, clients are told, and it comes back by itself."""

import time
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.e2e.conftest import Herd, wait_for

SMOLLM, SCOUT = "smollm2-135m-instruct", "llama-4-scout-tiny"
#: An engine starts in 15 to 30 s on two idle cores.
BACK_S = 240.0


def ask(herd: Herd, model: str) -> httpx.Response:
    return httpx.post(f"{herd.endpoint}/v1/completions", json={"model": model, "prompt": "x", "max_tokens": 2}, timeout=60)


def process_of(herd: Herd, model: str) -> psutil.Process:
    """The replica's own process: it holds the socket that the roster names."""
    replica = herd.replica(model)
    assert replica is not None
    port = int(replica["address"].rpartition(":")[2])
    listening = [one for one in psutil.net_connections("tcp") if one.status == psutil.CONN_LISTEN and one.laddr[1:] == (port,)]
    return psutil.Process(listening[0].pid)


def back(herd: Herd, model: str, gone: str) -> dict[str, Any] | None:
    replica = herd.replica(model)
    return replica if replica is not None and replica["id"] != gone and ask(herd, model).status_code == 200 else None


def test_a_killed_replica_comes_back(herd: Herd, client: openai.OpenAI) -> None:
    before = herd.replica(SMOLLM)
    assert before is not None
    stream = client.completions.create(model=SMOLLM, prompt="x", max_tokens=1500, stream=True, extra_body={"ignore_eos": True})
    next(iter(stream))
    process_of(herd, SMOLLM).kill()
    with pytest.raises(openai.APIError, match="went away"):
        for _ in stream:
            pass
    wait_for("out of the roster", lambda: herd.replica(SMOLLM) is None, within_s=2, every_s=0.02)
    refused = ask(herd, SMOLLM)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "engine_gone")
    assert int(refused.headers["retry-after"]) > 0
    assert ask(herd, SCOUT).status_code == 200, "its neighbour goes on"
    wait_for("a new replica that generates", lambda: back(herd, SMOLLM, before["id"]), within_s=BACK_S, every_s=1)


def test_a_dead_engine_core_is_out_within_two_seconds_and_restarted(herd: Herd) -> None:
    before = herd.replica(SCOUT)
    assert before is not None
    core = next(one for one in process_of(herd, SCOUT).children(recursive=True) if "EngineCore" in one.name())
    killed = time.monotonic()
    core.kill()
    wait_for("out of the roster", lambda: herd.replica(SCOUT) is None, within_s=2, every_s=0.02)
    assert time.monotonic() - killed < 2
    assert ask(herd, SCOUT).status_code == 503
    wait_for("a new replica that generates", lambda: back(herd, SCOUT, before["id"]), within_s=BACK_S, every_s=1)

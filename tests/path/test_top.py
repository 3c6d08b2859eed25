"""`herd top` asks real gateways."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from deployments.commands.looking.top.asking import WITHIN_S, Gateways, together
from deployments.commands.looking.top.command import print_once
from deployments.commands.looking.top.figures import Look
from deployments.commands.looking.top.watching import Memory
from deployments.commands.using.endpoint import Endpoint
from deployments.lifecycle.known import OperationError
from deployments.policy.request.pages import Pages
from tests.path.fake_engine import FakeEngine, answers, streams
from tests.path.herd import LLAMA, SCOUT, Herd, herd_of, limits
from tests.unit.deployments.commands.fake_gateway import serving
from tests.wire_format import DONE, event

pytestmark = pytest.mark.asyncio(loop_scope="session")
ROOT = Path(__file__).parents[2]
SAID = {"object": "chat.completion", "usage": {"prompt_tokens": 5, "completion_tokens": 200, "total_tokens": 205}}


def known(herd: Herd) -> None:
    """The gateway's metrics are found as in production."""
    herd.gateways.append({"host": "127.0.0.1", "port": herd.metrics_port, "node": "n1"})


async def looked(endpoint: Endpoint, within_s: float = WITHIN_S) -> Look:
    """One look at a herd."""
    with closing(Gateways(endpoint, within_s)) as gateways:
        return await asyncio.to_thread(gateways.look)


async def test_two_looks_at_real_gateways_are_models_with_rates(herd: Herd, engine: FakeEngine) -> None:
    known(herd)
    memory = Memory()
    memory.take(await looked(Endpoint(herd.url)))
    assert [row.model for row in memory.figures.rows] == [LLAMA, SCOUT]
    assert memory.figures.rows[0].tokens_s is None
    engine.queue = [answers(200, SAID), streams([event(), event(), DONE], pace_s=0.02)]
    await herd.chat()
    await herd.chat(stream=True)
    memory.take(await looked(Endpoint(herd.url)))
    (llama, scout), window = memory.figures.rows, memory.figures.window_s
    assert llama.requests_s == pytest.approx(2 / window)
    assert llama.tokens_s == pytest.approx(200 / window)
    assert (llama.failed_s, llama.ready, llama.waiting) == (0, 1, 0)
    assert llama.ttft.most
    assert llama.itl.half
    assert (scout.requests_s, scout.ttft.half) == (0, None)
    assert (memory.figures.asked, memory.figures.answered, memory.figures.problems) == (1, 1, ())


async def test_gateway_that_is_away_or_silent_is_told_and_holds_nothing_up(herd: Herd) -> None:
    known(herd)
    herd.gateways.append({"host": "127.0.0.1", "port": 9, "node": "n2"})
    began = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system takes the connection, and nobody reads it
        herd.gateways.append({"host": "127.0.0.1", "port": silent.getsockname()[1], "node": "n3"})
        look = await looked(Endpoint(herd.url), within_s=1.0)
    assert time.monotonic() - began < 60
    assert (look.asked, len(look.pages)) == (3, 1)
    assert sorted(one.partition(": ")[2][:14] for one in look.problems) == ["it does not an", "no answer with"]
    assert set(look.facts) == {LLAMA, SCOUT}


async def test_pages_are_opened_with_their_key_which_no_other_address_is_shown(engine: FakeEngine) -> None:
    async with herd_of([engine], limits(), shown=Pages("right")) as herd:
        with serving() as other:
            host, port = other.url.removeprefix("http://").split(":")
            herd.gateways.append({"host": host, "port": port, "node": "n1"})
            wrong = await looked(Endpoint(herd.url, key_from="HERD_SECRET"))
            assert "asks for the key to operators' pages, which is made of HERD_SECRET" in wrong.problems[0]
            assert not wrong.facts
            right = await looked(Endpoint(herd.url, key=SecretStr("right")))
            assert set(right.facts) == {LLAMA, SCOUT}
            assert [(path, key) for path, _, key in other.asked] == [("/metrics", None)]


async def test_page_that_never_ends_is_left_alone() -> None:
    left = threading.Event()

    def forever() -> str:
        left.wait(60)
        return "late"

    found = together({"late": forever, "there": lambda: "said"}, 0.3)
    left.set()
    assert (found["there"], str(found["late"])) == ("said", "no answer within 0 s")


async def test_one_frame_of_a_herd_without_answer_is_a_failure() -> None:
    with (
        closing(Gateways(Endpoint("http://127.0.0.1:9"))) as gateways,
        pytest.raises(OperationError, match="/-/status: it does not answer"),
    ):
        print_once(gateways, "http://127.0.0.1:9", as_json=False)


async def test_one_frame_in_a_pipe_and_as_json(herd: Herd, capsys: pytest.CaptureFixture[str]) -> None:
    known(herd)
    with closing(Gateways(Endpoint(herd.url))) as gateways:
        await asyncio.to_thread(print_once, gateways, herd.url, True, 0.1)
    said = json.loads(capsys.readouterr().out)
    assert said["gateways"] == {"asked": 1, "answered": 1}
    assert [(one["model"], one["state"], one["requests_s"]) for one in said["models"]] == [(LLAMA, "running", 0), (SCOUT, "starting", 0)]
    done = await asyncio.to_thread(herd_top, "--url", herd.url)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[2].split()[:3] == [LLAMA, "running", "1/1"]
    assert "\x1b" not in done.stdout


def herd_top(*words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    given = {**os.environ, "COLUMNS": "80", "HERD_SECRET": "", **env}
    command = [sys.executable, "-m", "deployments", "top", *words]
    return subprocess.run(command, env=given, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60, check=False)

"""One real herd for all end-to-end tests: real Ray, real vLLM on the CPU, brought up and down by the `herd` command."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
import yaml

from configs.keys import derived
from tests.bench.process import free_port
from tests.processes import environment, words

HERD = str(Path(sys.executable).parent / "herd")
UP_S = 600.0
BATCHED_TOKENS = 2048
FOLDER, LAST = Path(__file__).parent, "test_alerts"

SMALL: dict[str, Any] = {
    "enforce_eager": True,
    "dtype": "float32",  # in bfloat16 a token depends on who else is in the batch
    "kv_cache_memory_bytes": 1 << 28,
    "max_num_seqs": 32,
    "max_num_batched_tokens": BATCHED_TOKENS,  # what vLLM takes on its own here; the planner's arithmetic is held to it
}


def config(port: int) -> dict[str, Any]:
    """The herd under test."""
    return {
        "name": "e2e",
        "gateway": {
            "port": port,
            "auto": ["smollm2-135m-instruct", "llama-4-scout-tiny"],
            "limits": {"header_s": 120, "body_read_s": 120},  # engines that start leave a test's own threads no CPU for half a minute
        },
        "models": [
            {
                "id": "smollm2-135m-instruct",
                "aliases": ["smollm2"],
                "kind": "smollm2-135m",
                "checkpoint": "small:smollm2-135m-instruct",
                "context_tokens": 2048,
                "replicas": 2,  # one outlives the other
                "canary": {"answer": " 8, 9", "period_s": 10},
                "engine": SMALL,
            },
            {
                "id": "llama-4-scout-tiny",
                "aliases": ["scout"],
                "kind": "llama-4-scout-tiny",
                "checkpoint": "small:llama-4-scout-tiny",
                "context_tokens": 8192,
                # Random weights like spaces as much as anything, and JSON allows any number of them.
                "engine": SMALL
                | {"skip_mm_profiling": True, "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True}},
            },
        ],
    }


@dataclass(frozen=True)
class Herd:
    """A running herd, and the command that controls it."""

    endpoint: str
    folder: Path

    def run(self, *words: str, within_s: float = UP_S, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        """Runs `herd …` as a user does."""
        env = os.environ | {"HERD_STATE": str(self.folder / "state")}
        return subprocess.run([HERD, *words], env=env, capture_output=True, text=True, timeout=within_s, input=stdin, check=False)

    @property
    def config(self) -> Path:
        """Its YAML file."""
        return self.folder / "herd.yaml"

    def changed(self, change: Callable[[dict[str, Any]], None]) -> Path:
        """Its config with a change, in a file of its own."""
        config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        change(config)
        path = self.folder / f"changed-{time.monotonic_ns()}.yaml"
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return path

    def get(self, path: str) -> Any:
        """A page of the gateway's, as JSON."""
        return httpx.get(f"{self.endpoint}{path}", timeout=60).json()

    def events(self) -> list[dict[str, Any]]:
        """All that `herd events` tells, oldest first."""
        said = self.run("events", "--json", within_s=120)
        assert said.returncode == 0, said.stdout + said.stderr
        return [json.loads(line) for line in said.stdout.splitlines()]

    def replicas(self, model: str) -> list[dict[str, Any]]:
        """The replicas of a model that take requests."""
        return [one for one in self.get("/-/status")["models"][model] if one["state"] == "ready"]

    def replica(self, model: str) -> dict[str, Any]:
        """One of them."""
        return self.replicas(model)[0]

    @property
    def secret(self) -> str:
        """The one that the herd's keys are made of."""
        return (self.folder / "state" / "e2e" / "secret").read_text(encoding="utf-8").strip()

    @property
    def door_key(self) -> str:
        """The key to an engine's own door."""
        return derived(self.secret, "door")


def wait_for(what: str, happened: Callable[[], Any], within_s: float, every_s: float = 0.1) -> Any:
    """The first true value; fails where there is none in time. It is looked once more at the end: the test itself may have stood still."""
    deadline, over = time.monotonic() + within_s, False
    while not over:
        over = time.monotonic() >= deadline
        if value := happened():
            return value
        time.sleep(every_s)
    pytest.fail(f"{what}: not within {within_s:g} s")


def metrics(address: str) -> str:
    """The metrics of a gateway or an engine. By itself httpx waits for 5 s, which a busy machine may stand still for."""
    return httpx.get(f"http://{address}/metrics", timeout=60).text


@contextlib.contextmanager
def up(folder: Path, config: dict[str, Any]) -> Iterator[Herd]:
    """A herd, up; and down again with nothing left of it."""
    running = Herd(f"http://127.0.0.1:{config['gateway']['port']}", folder)
    running.config.write_text(yaml.safe_dump(config), encoding="utf-8")
    try:
        came = running.run("up", str(running.config))
        assert came.returncode == 0, came.stdout + came.stderr
        yield running
    finally:
        down = running.run("down")
    assert down.returncode == 0 or "No herd is up." in down.stderr, down.stdout + down.stderr  # a test may have taken it down itself
    assert not processes(running), "processes of the herd are left"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves the module that takes the herd's engine away for the end."""
    ours = [number for number, item in enumerate(items) if FOLDER in item.path.parents]
    in_order = sorted((items[number] for number in ours), key=lambda item: item.path.stem == LAST)
    for number, item in zip(ours, in_order, strict=True):
        items[number] = item


@pytest.fixture(scope="package")  # and not the session: the tests over hosts need the memory
def herd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    """The herd of most tests."""
    with up(tmp_path_factory.mktemp("herd"), config(free_port())) as running:
        yield running


def processes(herd: Herd) -> list[str]:
    """What runs for it, by what each process calls itself."""
    return list(filter(None, map(words, processes_of(herd))))


def processes_of(herd: Herd) -> list[psutil.Process]:
    """What runs for it."""
    return [one for one in psutil.process_iter() if environment(one).get("HERD_STATE", "") == str(herd.folder / "state")]


@pytest.fixture
def client(herd: Herd) -> Iterator[openai.OpenAI]:
    """The official client, as a product team uses it; errors are told at once."""
    with openai.OpenAI(base_url=f"{herd.endpoint}/v1", api_key="none", max_retries=0, timeout=120) as one:
        yield one

"""What an upgrade that cannot work costs, and a replica that lives and answers wrong: nobody's request."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Herd, metrics, wait_for

SMOLLM = "smollm2-135m-instruct"
#: A canary each 10 s, two wrong ones in a row; and what tells of it.
NOTICED_S = 120.0
BACK_S = 300.0


class Asking:
    """A client that asks all the time, and what it got."""

    def __init__(self, herd: Herd) -> None:
        self.statuses: list[int] = []
        self._herd = herd
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        body = {"model": SMOLLM, "prompt": "Llamas", "max_tokens": 2}
        with httpx.Client(timeout=120) as client:
            while not self._over.wait(0.2):
                self.statuses.append(client.post(f"{self._herd.endpoint}/v1/completions", json=body).status_code)

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def replicas(herd: Herd) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in herd.get("/-/status")["models"][SMOLLM]}


def ready(herd: Herd) -> set[str]:
    return {one["id"] for one in herd.replicas(SMOLLM)}


def test_an_upgrade_that_cannot_start_is_rolled_back_and_nobody_notices(herd: Herd) -> None:
    wait_for("both replicas", lambda: len(ready(herd)) == 2, within_s=BACK_S, every_s=1)
    before, models = ready(herd), herd.get("/v1/models")

    def break_it(config: dict[str, Any]) -> None:
        config["models"][0]["engine"] |= {"tokenizer": "/no/such/tokenizer"}
        config["models"][0]["aliases"] = ["smollm3"]

    with Asking(herd) as client:
        up = herd.run("up", str(herd.changed(break_it)))
    assert up.returncode == 1
    assert f"The engine of '{SMOLLM}' could not start." in up.stderr
    assert "/no/such/tokenizer" in up.stderr
    assert "Rolled back: the herd is what it was before." in up.stderr
    assert client.statuses
    assert set(client.statuses) == {200}
    assert ready(herd) == before, "the same replicas, all the while"
    assert herd.get("/v1/models") == models
    kept = json.loads((herd.folder / "state" / "e2e" / "config.json").read_text())
    assert kept["models"][0]["aliases"] == ["smollm2"], "what is remembered is what runs"


@pytest.fixture
def spoilt(herd: Herd, tmp_path: Path) -> Iterator[Path]:
    """The model's checkpoint with noise for one of its layers."""
    import torch
    from safetensors.torch import load_file, save_file

    from configs.load import environment
    from deployments.small_models import ensure

    folder = tmp_path / "spoilt"
    shutil.copytree(ensure(SMOLLM, environment().models), folder)
    for path in folder.glob("*.safetensors"):
        noise = {name: torch.randn_like(one) if ".5." in name else one for name, one in load_file(path).items()}
        save_file(noise, path, metadata={"format": "pt"})
    yield folder
    shutil.rmtree(folder)


def test_a_replica_whose_answers_turn_wrong_is_out_and_replaced(herd: Herd, spoilt: Path) -> None:
    wait_for("both replicas", lambda: len(ready(herd)) == 2, within_s=BACK_S, every_s=1)
    before = ready(herd)
    assert {one["canary"] for one in replicas(herd).values()} == {""}
    env = os.environ | {"HERD_STATE": str(herd.folder / "state")}
    command = [sys.executable, "-m", "tests.e2e.spoil", SMOLLM, str(spoilt)]
    with Asking(herd) as client:
        subprocess.run(command, env=env, check=True, timeout=180, cwd=Path(__file__).parents[2])
        # Its page shows a sick replica for a second or two, until Ray Serve stops it. What it says of itself stays.
        (sick,) = wait_for("a sick replica", lambda: put_out(herd) & before, within_s=NOTICED_S, every_s=1)
        now = ready(herd)
        assert sick not in now, "out of the roster at once"
        assert before - {sick} <= now
        wait_for("a new replica", lambda: len(ready(herd)) == 2, within_s=BACK_S, every_s=1)
    assert set(client.statuses) == {200}
    assert sick not in ready(herd)
    gateway = next(group["targets"][0] for group in herd.get("/-/targets") if group["labels"]["job"] == "gateway")
    assert f'herd_replicas_sick_total{{model="{SMOLLM}",reason="wrong"}} 1.0' in metrics(gateway)
    wait_for("a right canary of each", lambda: all(map(was_right, replicas(herd).values())), within_s=BACK_S, every_s=1)


def put_out(herd: Herd) -> set[str]:
    """The replicas that have said that their canary is wrong, and that they end for it."""
    return {event["subject"] for event in herd.events() if event["kind"] == "sick" and event["words"].startswith("its canary is wrong: ")}


def was_right(replica: dict[str, Any]) -> bool:
    """A canary of its, after the gate's, was right: one comes every ten seconds."""
    return f'herd_canary_total{{model="{SMOLLM}",verdict="right"}}' in metrics(replica["address"])

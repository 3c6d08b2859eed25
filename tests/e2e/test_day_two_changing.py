"""The commands that change a herd on a real one: dry runs, scaling, restarts, stop and start, roll back, a lost terminal, down."""

import json
import os
import pty
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.bench.process import free_port
from tests.e2e.conftest import HERD, SMALL, Herd, processes, up, wait_for

SMOLLM = "smollm2-135m-instruct"
ENDS_S = 300.0


@pytest.fixture(scope="module")
def herd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Herd]:
    """A herd of one small model of its own: its replicas come and go all the time."""
    model = {
        "id": SMOLLM,
        "aliases": ["smollm2"],
        "kind": "smollm2-135m",
        "checkpoint": "small:smollm2-135m-instruct",
        "context_tokens": 2048,
        "engine": SMALL,
    }
    with up(tmp_path_factory.mktemp("changing"), {"name": "changing", "gateway": {"port": free_port()}, "models": [model]}) as running:
        yield running


def ready(herd: Herd) -> set[str]:
    return {one["id"] for one in herd.replicas(SMOLLM)}


def asked(herd: Herd) -> httpx.Response:
    return httpx.post(f"{herd.endpoint}/v1/completions", json={"model": SMOLLM, "prompt": "x", "max_tokens": 2}, timeout=60)


def well(done: "subprocess.CompletedProcess[str]") -> str:
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def longer(config: dict[str, Any]) -> None:
    """A change that makes the engine anew."""
    config["models"][0]["context_tokens"] = 1024


class Stream:
    """A client that reads a long answer."""

    def __init__(self, herd: Herd, tokens: int) -> None:
        self.begun = threading.Event()
        self.events: list[str] = []
        self._herd, self._tokens = herd, tokens
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        body = {"model": SMOLLM, "prompt": "Llamas", "max_tokens": self._tokens, "stream": True, "ignore_eos": True, "temperature": 0}
        with httpx.stream("POST", f"{self._herd.endpoint}/v1/completions", json=body, timeout=300) as answer:
            for line in answer.iter_lines():
                if line.startswith("data: "):
                    self.events.append(line.removeprefix("data: "))
                    self.begun.set()

    def __enter__(self) -> "Stream":
        self._thread.start()
        assert self.begun.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()

    @property
    def is_whole(self) -> bool:
        return self.events[-1] == "[DONE]" and not [event for event in self.events if '"error"' in event]


def test_dry_run_tells_by_its_exit_code_what_a_file_would_change(herd: Herd) -> None:
    before = ready(herd)
    same = herd.run("up", str(herd.config), "--dry-run")
    assert (same.returncode, same.stdout) == (0, "Nothing changes.\n"), same.stderr
    changed = herd.run("diff", str(herd.changed(longer)))
    assert changed.returncode == 2, changed.stderr
    assert f"models.{SMOLLM}.context_tokens: 2048 → 1024" in changed.stdout
    assert f"1. {SMOLLM}: 1 replica made anew (context_tokens): away 0 s, new replicas first" in changed.stdout
    crowded = herd.changed(lambda config: config["models"][0].update(context_tokens=1024, surge=False))
    plain = json.loads(herd.run("diff", str(crowded), "--json", "--only", "smollm2").stdout)
    assert plain["result"] == "change"
    (move,) = plain["moves"]
    assert move["away_s"] > 1, "as long as the engine took to start"
    assert "so the old one stops first: away for about" in move["sentence"]
    assert herd.run("diff", str(herd.changed(lambda config: config.update(name="Wrong Name")))).returncode == 3
    assert herd.run("up", str(herd.config), "--dry-run", "--only", "gone").returncode == 1
    assert ready(herd) == before


def test_dry_run_of_a_herd_that_is_not_up_says_that_everything_is_new(herd: Herd) -> None:
    new = herd.run("diff", str(herd.changed(lambda config: config.update(name="new"))), "--json")
    assert new.returncode == 2, new.stderr
    plain = json.loads(new.stdout)
    assert (plain["new"], [move["what"] for move in plain["moves"]]) == (True, ["starts", "starts"])
    hungry = {"hardware": {"node": "dgx-h100", "nodes": 1}, "name": "new"}
    model = {"kind": "llama-4-maverick", "checkpoint": "/none", "accelerator": "H100", "parallel": {"tensor": 8}, "quantization": "fp8"}

    def large(config: dict[str, Any]) -> None:
        config |= hungry
        config["models"][0] |= model | {"engine": {}, "replicas": 2}

    refused = herd.run("diff", str(herd.changed(large)))
    assert refused.returncode == 1, refused.stdout + refused.stderr
    assert "The planner refuses it: the herd takes 16 GPUs on 2 nodes of 8; there are 1" in refused.stdout


def test_model_is_scaled_by_hand_and_a_file_takes_it_back(herd: Herd) -> None:
    assert herd.run("scale", "smollm2", "2", "--dry-run").returncode == 2
    assert "1 → 2 replicas, and no other is touched" in well(herd.run("scale", "smollm2", "2"))
    first = ready(herd)
    assert len(first) == 2
    would = herd.run("diff", str(herd.config))
    assert would.returncode == 2
    assert f"! {SMOLLM} was scaled by hand to 2 by " in would.stdout
    assert "Nothing changes." in well(herd.run("scale", "smollm2", "2"))
    well(herd.run("scale", "smollm2", "1", "--max", "2"))
    assert [entry["replicas"] for entry in json.loads(herd.run("status", "--json").stdout)["models"]] != []
    assert "the file takes it back" in well(herd.run("up", str(herd.config)))
    wait_for("one replica", lambda: len(ready(herd)) == 1, within_s=60)
    greedy = herd.run("scale", "smollm2", "100")
    assert greedy.returncode == 1
    assert "The planner refuses it: Too little memory: 99 engines need about" in greedy.stdout
    refused = herd.run("scale", "smollm2", "0")
    assert refused.returncode == 1
    assert f"`herd stop {SMOLLM}` takes its engines away" in refused.stderr


def test_restart_makes_an_engine_anew_while_a_stream_goes_on(herd: Herd) -> None:
    before = ready(herd)
    with Stream(herd, 1500) as stream:  # longer than a new engine takes to start
        assert "away 0 s, new replicas first" in well(herd.run("restart", "smollm2"))
        assert asked(herd).status_code == 200
    assert stream.is_whole
    wait_for("only a new replica", lambda: len(ready(herd)) == 1 and not ready(herd) & before, within_s=60)
    assert herd.run("up", str(herd.config), "--dry-run").returncode == 0, "a restart is no change of the herd"


def test_one_replica_is_replaced_and_its_stream_goes_on(herd: Herd) -> None:
    (before,) = ready(herd)
    unknown = herd.run("restart", "smollm2", "--replica", "nobody")
    assert unknown.returncode == 1
    assert f"Its replicas: {before}" in unknown.stderr
    with Stream(herd, 400) as stream:
        well(herd.run("restart", "smollm2", "--replica", before[:6]))
    assert stream.is_whole
    assert before not in ready(herd)
    assert herd.run("restart", "smollm2", "--replica", "x", "--detach").returncode == 2


def test_model_is_stopped_and_started_again(herd: Herd) -> None:
    assert "its replicas go (1)" in well(herd.run("stop", "smollm2"))
    refused = wait_for("a refusal", lambda: (answer := asked(herd)).status_code == 503 and answer, within_s=60)
    error = refused.json()["error"]
    assert (error["code"], error["param"]) == ("model_stopped", "model")
    assert error["message"].startswith(f"The model '{SMOLLM}' is stopped: its operator has taken its engines away.")
    assert herd.get("/health")["status"] == "ok"
    (entry,) = json.loads(herd.run("status", "--json").stdout)["models"]
    assert (entry["id"], entry["state"]) == (SMOLLM, "stopped")
    again = herd.run("stop", "smollm2")
    assert again.returncode == 1
    assert f"`herd start {SMOLLM}` starts it" in again.stderr
    assert "1 replica start" in well(herd.run("start", "smollm2", "--within-s", "300", "--force"))
    assert asked(herd).status_code == 200


def test_upgrade_is_rolled_back_by_hand_and_a_broken_one_by_itself(herd: Herd) -> None:
    well(herd.run("up", str(herd.changed(longer)), "--only", "smollm2"))
    (card,) = herd.get("/v1/models")["data"][:1]
    assert card["max_model_len"] == 1024
    broken = herd.run("up", str(herd.changed(lambda config: config["models"][0]["engine"].update(tokenizer="/no/such"))))
    assert broken.returncode == 1
    assert "Rolled back: the herd is what it was before." in broken.stderr
    said = well(herd.run("rollback"))
    assert f"models.{SMOLLM}.context_tokens: 1024 → 2048" in said
    assert herd.get("/v1/models")["data"][0]["max_model_len"] == 2048


def test_change_goes_on_when_its_terminal_is_lost_and_is_followed_again(herd: Herd) -> None:
    path = herd.changed(longer)
    env = os.environ | {"HERD_STATE": str(herd.folder / "state")}
    leader, follower = pty.openpty()
    lost = subprocess.Popen([HERD, "up", str(path)], env=env, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    os.close(follower)
    record = herd.folder / "state" / "changing" / "roll.json"

    def under_way() -> dict[str, Any] | None:
        roll: dict[str, Any] = json.loads(record.read_text(encoding="utf-8"))
        return roll if roll["ended"] is None and any("Replacing" in step for _, step in roll["steps"]) else None

    roll = wait_for("a change under way", under_way, within_s=60)
    os.close(leader)  # the terminal goes, and its programs are told so
    lost.send_signal(signal.SIGHUP)
    lost.wait(timeout=30)
    other = herd.run("scale", "smollm2", "2")
    assert other.returncode == 1
    assert "`herd up` by " in other.stderr
    assert f"is under way since {roll['order']['at']}" in other.stderr
    attached = well(herd.run("up", "--attach", within_s=ENDS_S))
    assert "Replacing" in attached
    assert herd.get("/v1/models")["data"][0]["max_model_len"] == 1024
    nothing = herd.run("up", "--attach")
    assert nothing.returncode == 1
    assert "No change of the herd is under way." in nothing.stderr


def test_change_in_the_background_is_followed_by_the_same_command(herd: Herd) -> None:
    assert "Under way as process" in well(herd.run("up", str(herd.config), "--detach"))
    assert "following it" in well(herd.run("up", str(herd.config), within_s=ENDS_S))
    assert herd.get("/v1/models")["data"][0]["max_model_len"] == 2048


def test_ctrl_c_undoes_the_change(herd: Herd) -> None:
    before = herd.get("/v1/models")["data"][0]["max_model_len"]
    env = os.environ | {"HERD_STATE": str(herd.folder / "state")}
    words = [HERD, "up", str(herd.changed(lambda config: config["models"][0].update(context_tokens=before // 2)))]
    with subprocess.Popen(words, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as begun:
        assert begun.stderr is not None
        for line in begun.stderr:
            if "Replacing" in line:
                break
        begun.send_signal(signal.SIGINT)
        rest = begun.stderr.read()
        assert begun.wait(timeout=120) == 130, rest
    assert "Rolling back to the herd that last was up" in rest
    assert herd.get("/v1/models")["data"][0]["max_model_len"] == before


def answered(herd: Herd, word: str) -> tuple[int, str]:
    """Runs `herd down` at a terminal, and answers its question."""
    leader, follower = pty.openpty()
    env = os.environ | {"HERD_STATE": str(herd.folder / "state")}
    process = subprocess.Popen([HERD, "down"], env=env, stdin=follower, stdout=follower, stderr=follower)
    os.close(follower)
    said, told = b"", False
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # its other end is closed
            break
        if not piece:
            break
        said += piece
        if b"Take it down?" in said and not told:
            os.write(leader, f"{word}\n".encode())
            told = True
    os.close(leader)
    return process.wait(timeout=120), said.decode()


def test_down_says_what_goes_and_asks_at_a_terminal(herd: Herd, tmp_path: Path) -> None:
    code, said = answered(herd, "n")
    assert code == 1
    assert f"The herd 'changing' ({SMOLLM}) at {herd.endpoint} on " in said
    assert "0 requests are under way." in said
    assert asked(herd).status_code == 200
    env = os.environ | {"HERD_STATE": str(tmp_path)}
    other = subprocess.run([HERD, "down"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (other.returncode, "No herd" in other.stderr) == (1, True), other.stderr
    assert "0 requests are under way." in well(herd.run("down", "--yes", "--name", "changing"))
    assert not processes(herd)

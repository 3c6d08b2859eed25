"""A real herd used from the terminal: a chat on a terminal and in a pipe, any gateway by its address, a benchmark, a support bundle."""

import json
import os
import re
import signal
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import HERD, Herd, metrics, wait_for
from tests.e2e.terminal import Terminal
from tests.unit.pictures import saved

SMOLLM, SCOUT = "smollm2-135m-instruct", "llama-4-scout-tiny"


@pytest.fixture
def chat(herd: Herd) -> Iterator[Terminal]:
    terminal = Terminal(herd, "chat", "scout", "--temperature", "0", "--max-tokens", "1500")  # SmolLM2 has room for 2,048
    try:
        terminal.shows("you ›")
        yield terminal
    finally:
        terminal.close()


def anywhere(herd: Herd, tmp_path: Path, *words: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    """Runs a command as on a machine that has only the gateway's address."""
    env = os.environ | {"HERD_STATE": str(tmp_path / "nothing"), "HERD_CACHE": str(tmp_path / "nothing")}
    command = [HERD, *words, "--url", f"{herd.endpoint}/v1"]
    return subprocess.run(command, env=env, capture_output=True, text=True, input=stdin, timeout=300, check=False)


def running(herd: Herd) -> float:
    text = metrics(herd.replica(SCOUT)["address"])
    return sum(map(float, re.findall(r"^vllm:num_requests_running\S* (\S+)$", text, re.MULTILINE)))


def test_answer_that_is_stopped_is_stopped_in_the_engine_and_the_chat_goes_on(herd: Herd, chat: Terminal, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(saved("PNG"))
    chat.types(f"/image {tmp_path}/red.png")
    chat.shows("red.png goes with the next message")
    chat.types("What is this?")
    wait_for("the engine runs it", lambda: running(herd), within_s=60)
    chat.goes_on(letters=60)
    chat.process.send_signal(signal.SIGINT)
    chat.shows("(stopped: ")
    wait_for("the engine has stopped it", lambda: not running(herd), within_s=20)
    chat.types("/model smollm2")
    chat.shows("more images than smollm2 takes")
    chat.types("/clear")
    chat.types("/model smollm2")
    chat.shows(f"{SMOLLM} answers from here on")
    chat.types("/system Answer in three words.")
    chat.types('"""What is')
    chat.types('a llama?"""')
    chat.shows("tokens/s", within_s=120)
    chat.types("/exit")
    assert chat.process.wait(60) == 0


def test_pipe_gets_the_answer_alone(herd: Herd) -> None:
    done = herd.run("chat", "smollm2", "--temperature", "0", "--max-tokens", "24", stdin="What is a llama?\n/clear\n/exit\n")
    assert done.returncode == 0, done.stderr
    assert "llama" in done.stdout.lower()
    assert "tokens/s" not in done.stdout
    assert "24 tokens, the first after" in done.stderr
    refused = herd.run("chat", "gpt-9")
    assert refused.returncode == 1
    assert "Served: auto, llama-4-scout-tiny, scout, smollm2" in refused.stderr


def test_address_is_enough_on_any_machine(herd: Herd, tmp_path: Path) -> None:
    listed = anywhere(herd, tmp_path, "models", "--json")
    assert [one["id"] for one in json.loads(listed.stdout)] == [SMOLLM, SCOUT, "auto"]
    said = anywhere(herd, tmp_path, "chat", "smollm2", "--max-tokens", "4", "--quiet", stdin="Hi\n")
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.strip()


def test_benchmark_has_the_clients_figures_and_says_that_there_is_no_plan(herd: Herd, tmp_path: Path) -> None:
    load = ["--requests", "8", "--input-tokens", "32", "--output-tokens", "8"]
    done = herd.run("bench", "smollm2", *load, "--concurrency", "4", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["measured"]["completed"], said["measured"]["total_output_tokens"]) == (8, 64)
    assert said["measured"]["total_input_tokens"] == pytest.approx(8 * 32, rel=0.1), "prompts are by the model's own tokenizer"
    assert said["no_plan"].startswith("No plan for CPU")
    shown = anywhere(herd, tmp_path, "bench", "smollm2", *load, "--rate", "8")
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"8 out on average", shown.stdout), shown.stdout
    assert "to the first token" in shown.stdout
    words = int(re.search(r"(\d+) tokens in and", shown.stdout)[1])  # type: ignore[index]
    assert words == pytest.approx(32, abs=8), "prompts are as long as the endpoint counts"


def test_support_bundle_has_all_of_a_running_herd_and_no_secret(herd: Herd, tmp_path: Path) -> None:
    path = tmp_path / "bundle.tar.gz"
    done = herd.run("support-bundle", "--output", str(path), "--logs-mib", "2")
    assert done.returncode == 0, done.stderr
    assert "Not in it" not in done.stderr
    with tarfile.open(path) as bundle:
        files = {one.name.partition("/")[2]: bundle.extractfile(one).read().decode() for one in bundle}  # type: ignore[union-attr]
    assert {"manifest.json", "config.yaml", "plan.json", "doctor.json", "serve-status.json", "ray-start.log"} <= files.keys()
    assert SCOUT in json.loads(files["gateway/status.json"])["models"]
    assert "RUNNING" in files["serve-status.json"]
    logs = {name: text for name, text in files.items() if name.startswith("logs/")}
    assert any("serve" in name for name in logs)
    assert 0 < sum(map(len, logs.values())) <= 2 << 20
    token = (herd.folder / "state" / "e2e" / "ray-token").read_text(encoding="utf-8").strip()
    for secret in (herd.secret, herd.door_key, token):
        assert not [name for name, text in files.items() if secret in text]

"""What an operator looks at on day two: status, why, logs and events of a real herd, at 80 columns and in a pipe."""

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.e2e.conftest import HERD, Herd, wait_for
from tests.e2e.terminal import Terminal

SMOLLM, SCOUT = "smollm2-135m-instruct", "llama-4-scout-tiny"
BACK_S = 300.0


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the terminal is that the tests run in."""
    monkeypatch.setenv("COLUMNS", "80")


def said(herd: Herd, *words: str) -> str:
    """What a command prints in a pipe."""
    done = herd.run(*words, within_s=120)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    return done.stdout


def lines(herd: Herd, *words: str) -> list[dict[str, Any]]:
    """The lines of JSON that a command prints."""
    return [json.loads(line) for line in said(herd, *words, "--json").splitlines()]


def kinds(herd: Herd, replica: str) -> list[str]:
    return [event["kind"] for event in lines(herd, "events") if event["subject"] == replica]


@pytest.fixture(scope="module")
def killed(herd: Herd) -> str:
    """The id of a replica whose process was killed, and in whose place another one serves."""
    _both(herd)
    victim: str = herd.replicas(SMOLLM)[0]["id"]
    os.kill(_process_of(herd, victim), signal.SIGKILL)
    wait_for("the roster without it", lambda: victim not in {one["id"] for one in herd.replicas(SMOLLM)}, within_s=60)
    _both(herd)
    return victim


def _both(herd: Herd) -> None:
    wait_for("both replicas", lambda: len(herd.replicas(SMOLLM)) == 2, within_s=BACK_S, every_s=1)


def _process_of(herd: Herd, replica: str) -> int:
    """The process that writes the log of a replica."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(file.path.endswith(f"_engine_{replica}.log") for file in process.open_files()):
                return process.pid
    pytest.fail(f"no process of {replica}")


def test_status_says_where_each_replica_is(herd: Herd) -> None:
    _both(herd)
    (smollm, scout) = json.loads(said(herd, "status", "--json"))["models"]
    assert len(smollm["each"]) >= 2
    for one in (*smollm["each"], *scout["each"]):
        assert (one["node"], one["gpus"], one["release"]) == ("127.0.0.1", 0, "0.1.0")
    wide = said(herd, "status", "--wide")
    ids = [one["id"] for one in smollm["each"] if one["state"] == "ready"]
    assert all(one in wide for one in ids)
    assert max(map(len, said(herd, "status").splitlines())) <= 80


def test_status_and_why_by_http_alone(herd: Herd) -> None:
    by_http = json.loads(said(herd, "status", "--json", "--url", herd.endpoint))["models"]
    assert [one["id"] for one in by_http] == [SMOLLM, SCOUT]
    assert "By HTTP alone" in said(herd, "status", "--wide", "--url", f"{herd.endpoint}/v1")
    assert "It runs" in said(herd, "why", SCOUT, "--url", herd.endpoint)
    (why,) = lines(herd, "why", SCOUT, "--url", herd.endpoint)
    assert why["state"] == "running"
    wrong = herd.run("status", "--url", "http://127.0.0.1:9", within_s=60)
    assert (wrong.returncode, "http://127.0.0.1:9/-/status does not answer" in " ".join(wrong.stderr.split())) == (1, True)
    other = herd.run("why", "gpt-9", "--url", herd.endpoint, within_s=60)
    assert f"There are: {SMOLLM}, {SCOUT}." in " ".join(other.stderr.split())


def test_watched_status_ends_with_ctrl_c(herd: Herd) -> None:
    watching = Terminal(herd, "status", "--watch")
    try:
        watching.shows(SCOUT)
        for _ in range(2):
            watching.shows("\x1b[1A")  # drawn again, over the frame before
            watching.shows(SCOUT)
        assert watching.process.poll() is None, "it has ended by itself"
        watching.process.send_signal(signal.SIGINT)
        assert watching.process.wait(timeout=60) == 0
    finally:
        watching.close()


def test_why_of_a_model_that_runs_by_id_and_alias(herd: Herd) -> None:
    (why,) = lines(herd, "why", "scout")
    assert (why["model"], why["state"], why["replicas"]) == (SCOUT, "running", {"running": 1, "target": 1})
    assert why["findings"][0]["what"].startswith("It runs, its oldest replica for ")
    assert max(map(len, said(herd, "why", "scout").splitlines())) <= 80
    refused = herd.run("why", "gpt-9", within_s=60)
    assert refused.returncode == 1
    assert "No model is called 'gpt-9' here." in refused.stderr


def test_vllms_own_lines_are_in_the_logs_of_every_replica(herd: Herd) -> None:
    found = lines(herd, "logs", "smollm2", "--grep", "KV cache size|Loading weights took")
    for replica in {one["id"] for one in herd.replicas(SMOLLM)}:
        own = [one["line"] for one in found if one["replica"] == replica]
        assert any("KV cache size" in line for line in own), replica
        assert any("Loading weights took" in line for line in own), replica
    assert [one["time"] for one in found] == sorted(one["time"] for one in found)


def test_logs_of_gateways_of_ray_of_one_node_and_of_some_lines(herd: Herd) -> None:
    assert "roster_changed" in said(herd, "logs", "gateway")
    assert {one["replica"] for one in lines(herd, "logs", "ray", "-n", "2")} >= {"raylet", "gcs_server", "controller"}
    few = lines(herd, "logs", SCOUT, "-n", "2", "--node", "127.0.0.1")
    assert 2 <= len(few) <= 8, "two of each of its files"
    assert all(one["node"] == "127.0.0.1" for one in few)
    replica = herd.replica(SCOUT)["id"]
    assert {one["replica"] for one in lines(herd, "logs", SCOUT, "--replica", replica)} == {replica}
    none = herd.run("logs", SCOUT, "--since", "1s", "--grep", "no such words", within_s=60)
    assert (none.returncode, none.stdout, "No such line." in none.stderr) == (0, "", True)
    for words in (("--since", "soon"), ("--grep", "("), ("--lines", "0")):
        assert herd.run("logs", SCOUT, *words, within_s=60).returncode == 2, words
    nowhere = herd.run("logs", SCOUT, "--node", "10.9.9.9", within_s=60)
    assert (nowhere.returncode, "No node is called '10.9.9.9'" in nowhere.stderr) == (1, True)


def test_logs_show_no_prompt(herd: Herd) -> None:
    prompt = "The unmistakable llama of Cuzco"
    body = {"model": SMOLLM, "prompt": prompt, "max_tokens": 4}
    assert httpx.post(f"{herd.endpoint}/v1/completions", json=body, timeout=60).status_code == 200
    for whose in (SMOLLM, "gateway", "ray"):
        assert "unmistakable" not in said(herd, "logs", whose)


@pytest.fixture
def followed(herd: Herd, tmp_path: Path) -> Iterator[Path]:
    """What `herd logs -f` has written so far."""
    out = tmp_path / "followed"
    env = os.environ | {"HERD_STATE": str(herd.folder / "state")}
    with out.open("wb") as file:
        command = [HERD, "logs", SMOLLM, "-f", "--json"]
        following = subprocess.Popen(command, env=env, stdout=file, stderr=subprocess.PIPE, start_new_session=True)
    wait_for("the first lines", lambda: out.stat().st_size, within_s=60)
    yield out
    following.send_signal(signal.SIGINT)
    _, errors = following.communicate(timeout=60)
    assert following.returncode == 0, errors


def whole(path: Path) -> list[str]:
    return [line for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line]


def test_logs_of_a_replica_that_was_killed_stay_readable(herd: Herd, killed: str) -> None:
    found = lines(herd, "logs", SMOLLM, "--replica", killed)
    assert any("KV cache size" in one["line"] for one in found)
    assert {one["replica"] for one in found} == {killed}


def test_events_tell_of_the_change_the_start_and_the_death_each_once(herd: Herd, killed: str) -> None:
    happened = lines(herd, "events")
    whole_herd = [event["kind"] for event in happened if not event["subject"]]
    assert [kind for kind in whole_herd if kind in ("change", "up")][:2] == ["change", "up"]
    assert next(event for event in happened if event["kind"] == "change")["who"].count("@") == 1
    wait_for("the death", lambda: "death" in kinds(herd, killed), within_s=60, every_s=2)
    assert kinds(herd, killed) == ["start", "ready", "death"]
    table = said(herd, "events", "--since", "1h")
    assert max(map(len, table.splitlines())) <= 80
    assert killed in table
    none = herd.run("events", "--since", "0s", within_s=60)
    assert "Nothing has happened in this time." in none.stderr


def test_start_is_told_while_it_goes_on_and_its_lines_are_followed(herd: Herd, killed: str, followed: Path) -> None:
    _both(herd)
    before = {one["id"] for one in herd.replicas(SMOLLM)}
    os.kill(_process_of(herd, sorted(before)[0]), signal.SIGKILL)

    def starting() -> str | None:
        (why,) = lines(herd, "why", SMOLLM)
        return next((one["what"] for one in why["findings"] if " of about " in one["what"]), None)

    told = wait_for("a start beside earlier ones", starting, within_s=120, every_s=1)
    assert told.startswith("Replica ")
    assert "a start takes about" in told
    _both(herd)
    (new,) = {one["id"] for one in herd.replicas(SMOLLM)} - before
    wait_for("its lines", lambda: any(json.loads(line)["replica"] == new for line in whole(followed)), within_s=60)
    wait_for("its events", lambda: kinds(herd, new) == ["start", "ready"], within_s=60, every_s=2)


def test_why_tells_of_replicas_that_die_again_and_again_though_the_model_runs(herd: Herd, killed: str) -> None:
    def deaths() -> int:
        return sum(event["kind"] == "death" and event["model"] == SMOLLM for event in lines(herd, "events"))

    if deaths() < 2:
        os.kill(_process_of(herd, herd.replicas(SMOLLM)[0]["id"]), signal.SIGKILL)
        wait_for("a second death", lambda: deaths() >= 2, within_s=60, every_s=2)
    _both(herd)
    (why,) = lines(herd, "why", SMOLLM)
    dying = next(one for one in why["findings"] if " of its replicas have died, the last one " in one["what"])
    assert killed not in dying["todo"], "the last one's lines"
    assert "`dmesg -T" in dying["todo"]


def test_why_tells_the_true_cause_of_a_start_that_failed(herd: Herd) -> None:
    def break_it(config: dict[str, Any]) -> None:
        config["models"][1]["engine"] |= {"tokenizer": "/no/such/tokenizer"}

    wait_for("the model", lambda: herd.replicas(SCOUT), within_s=BACK_S, every_s=1)
    with subprocess.Popen(
        [HERD, "up", str(herd.changed(break_it))],
        env=os.environ | {"HERD_STATE": str(herd.folder / "state")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as changing:
        failed = wait_for("a failed start", lambda: [one for one in lines(herd, "events") if _failed(one)], within_s=180, every_s=2)
        (why,) = lines(herd, "why", SCOUT)
        changing.wait(timeout=BACK_S)
    assert "/no/such/tokenizer" in failed[0]["words"]
    (finding,) = [one for one in why["findings"] if "/no/such/tokenizer" in one["what"]][:1]
    assert "Put the tokenizer's files (tokenizer.json, tokenizer_config.json) beside the checkpoint" in finding["todo"]
    assert {event["kind"] for event in lines(herd, "events")} >= {"rollback", "step"}


def _failed(event: dict[str, Any]) -> bool:
    return bool(event["kind"] == "failed" and event["model"] == SCOUT)

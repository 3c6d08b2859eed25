"""`herd bench`: vLLM's own client against a server on a real socket, its figures beside a plan, and how it ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from configs.load import Environment, environment, parse
from deployments.commands.using.benchmark import client, prompts, tables, times, tokenizers
from deployments.commands.using.benchmark.beside_plan import Planned, planned
from deployments.commands.using.benchmark.load import Load
from deployments.commands.using.endpoint import Endpoint, at
from deployments.lifecycle.herd import Herd, OperationError
from tests.unit.command_line import invoke
from tests.unit.deployments.commands.fake_gateway import Gateway, serving

LOAD = Load(64, 8, None, 1000, 128)
FIGURES: dict[str, Any] = {
    "completed": 64,
    "failed": 0,
    "duration": 12.3,
    "total_input_tokens": 64_000,
    "total_output_tokens": 8_192,
    "request_throughput": 5.2,
    "output_throughput": 666.0,
    "total_token_throughput": 5900.0,
    **{
        f"{point}_{name}_ms": value
        for name, value in (("ttft", 45.67), ("itl", 11.0), ("e2el", 1_500.0))
        for point in ("mean", "median", "p99")
    },
}


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serving() as one:
        yield one


def endpoint(url: str = "http://host:8000", **env: str) -> Endpoint:
    return at(url, None, environment(env))


def herd(folder: Path, text: str) -> Herd:
    return Herd(folder, parse(text, "test"))


ON_GPUS = """
hardware: {node: dgx-h100, nodes: 1}
models: [{id: scout, kind: llama-4-scout, checkpoint: RedHatAI/Llama-4-Scout-17B-16E-Instruct-FP8-dynamic, context_tokens: 131072,
          replicas: 2, parallel: {tensor: 4}, accelerator: H100}]
"""
ON_CPU = "models: [{id: small, kind: smollm2-135m, checkpoint: 'small:smollm2-135m-instruct', context_tokens: 2048, accelerator: cpu}]"


def test_speed_of_the_plan_is_that_of_all_replicas_under_the_same_load(tmp_path: Path) -> None:
    found = planned(herd(tmp_path, ON_GPUS), "scout", LOAD, FIGURES)
    assert isinstance(found, Planned)
    assert found.on == "2 × 4 H100"
    assert 1 < found.itl_ms < 50
    assert found.output_tokens_s == pytest.approx(8 * 1000 / found.itl_ms)
    at_a_rate = planned(herd(tmp_path, ON_GPUS), "scout", replace(LOAD, concurrency=None, rate=5.2), FIGURES)
    assert isinstance(at_a_rate, Planned)
    assert at_a_rate == found, "5.2 a second, each for 1.5 s, are eight at once"


def test_missing_plan_is_told_with_its_reason(tmp_path: Path) -> None:
    assert planned(None, "scout", LOAD, FIGURES) == "No plan: only the gateway's address is known here, and not the herd's config."
    assert planned(herd(tmp_path, ON_CPU), "small", LOAD, FIGURES) == "No plan for CPU: the planner knows the speed of GPUs only."
    trace = replace(LOAD, trace=Path("x.jsonl"))
    assert planned(herd(tmp_path, ON_GPUS), "scout", trace, FIGURES) == "No plan: the requests of a trace differ in length."


def test_figures_stand_beside_the_plans_at_80_columns() -> None:
    console = Console(width=80, no_color=True)
    with console.capture() as captured:
        console.print(tables.table(FIGURES, Planned("2 × 4 H100", 80.0, 9.87, 812.0)))
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in captured.get().splitlines() if line.startswith("│")]
    assert rows == [
        ["to the first token", "45.7 ms", "45.7 ms", "80.0 ms"],
        ["between tokens", "11.0 ms", "11.0 ms", "9.9 ms"],
        ["a whole request", "1,500 ms", "1,500 ms", "–"],
        ["output tokens/s", "666", "", "812"],
        ["requests/s", "5.20", "", "–"],
    ]
    assert len(tables.table(FIGURES, "No plan").columns) == 3
    assert tables.sentence("scout", LOAD, FIGURES | {"failed": 2}) == (
        "scout: 66 requests, 8 at once, 1,000 tokens in, 128 out, in 12.3 s; 1,000 tokens in and 128 out on average; 2 failed."
    )
    assert Load(5, None, 0.5, 1, 1).words == "0.5 a second, 1 tokens in, 1 out"


def test_times_are_summed_up_where_the_client_does_not() -> None:
    detailed = {"output_lens": [3, 0, 2], "ttfts": [0.1, 0.0, 0.3], "itls": [[0.01, 0.03], [], [0.02]], "mean_e2el_ms": 9}
    found = times.with_times(detailed)
    assert (found["median_ttft_ms"], found["median_itl_ms"]) == (pytest.approx(200), pytest.approx(20))
    assert found["p99_ttft_ms"] == pytest.approx(298)
    assert times.with_times(detailed | {"median_itl_ms": 5})["median_itl_ms"] == 5, "the client's own goes first"
    assert times.percentile([7.0], 99) == 7


def test_arguments_are_those_of_vllms_client(tmp_path: Path) -> None:
    words = client.arguments(endpoint(), "scout", LOAD, Path("/tokenizer"), tmp_path)
    assert "--max-concurrency 8" in " ".join(words)
    assert "--dataset-name random --input-len 1000 --output-len 128" in " ".join(words)
    assert "--request-rate 4.0" in " ".join(client.arguments(endpoint(), "m", replace(LOAD, rate=4.0), Path("/t"), tmp_path))
    trace = " ".join(client.arguments(endpoint(), "m", Load(9, None, None, 1, 1, Path("t.jsonl")), Path("/t"), tmp_path))
    assert "--dataset-name timed_trace --dataset-path t.jsonl --timed-trace-chunk-hash-size 512" in trace
    assert "--max-concurrency" not in trace
    without = client.arguments(endpoint(), "m", LOAD, None, tmp_path)
    assert json.loads(without[without.index("--extra-body") + 1]) == {"max_tokens": 128, "ignore_eos": True}
    assert "--insecure" not in client.arguments(endpoint("https://host"), "m", LOAD, None, tmp_path)


def test_key_reaches_the_client_only_if_the_gateway_asks_for_one(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    one = endpoint(gateway.url, OPENAI_API_KEY="sk-mine")
    assert "OPENAI_API_KEY" not in client._environment(one)
    gateway.key = "sk-mine"
    assert client._environment(one)["OPENAI_API_KEY"] == "sk-mine"
    assert client._environment(replace(one, ca=Path("/ca.pem")))["SSL_CERT_FILE"] == "/ca.pem"


def test_prompts_without_a_tokenizer_are_as_long_as_the_endpoint_counts(gateway: Gateway, tmp_path: Path) -> None:
    with endpoint(gateway.url).client() as http:
        assert prompts.tokens_per_word(http, "m") == 2, "this server counts two for each word"
    with endpoint("http://127.0.0.1:9").client() as http:
        assert prompts.tokens_per_word(http, "m") == 1
    prompts.write(tmp_path / "prompts.jsonl", 3, 50)
    lines = [json.loads(line)["prompt"] for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    assert [len(line.split()) for line in lines] == [50, 50, 50]
    assert len(set(lines)) == 3


def test_tokenizer_is_found_on_this_machine_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "with").mkdir()
    (tmp_path / "with" / "tokenizer.json").touch()
    given = Environment(tmp_path, tmp_path, None)

    def found(checkpoint: str, **engine: Any) -> Path | None:
        text = json.dumps({"id": "m", "kind": "llama-3-8b", "checkpoint": checkpoint, "context_tokens": 512, "engine": engine})
        return tokenizers.tokenizer_of(parse(f"models: [{text}]", "test").models[0], given)

    assert found(str(tmp_path / "with")) == tmp_path / "with"
    assert found(str(tmp_path)) is None
    assert found("small:smollm2-135m-instruct") is None
    cache = tmp_path / "hub" / "models--meta-llama--Llama-3.1-8B"
    (cache / "snapshots" / "abc").mkdir(parents=True)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("abc")
    (cache / "snapshots" / "abc" / "tokenizer.json").touch()
    assert found("meta-llama/Llama-3.1-8B", download_dir=str(tmp_path / "hub")) == cache / "snapshots" / "abc"
    assert found("meta-llama/Other", download_dir=str(tmp_path / "hub")) is None


def run(gateway: Gateway, *words: str) -> Any:
    return invoke(["bench", *words, "--url", gateway.url], env={"OPENAI_API_KEY": None})


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["gpt-9"], "'gpt-9' is not served here"),
        (["auto"], "'auto' stands for several models: name one of smollm2-135m-instruct"),
        (["smollm2", "--input-tokens", "2000"], "has room for 2,048 tokens"),
        (["smollm2", "--trace", "/nowhere"], "--trace /nowhere is not a file"),
        (["smollm2", "--trace", __file__], "A trace needs the model's tokenizer"),
    ],
)
def test_load_that_cannot_be_put_on_is_refused_before_it_starts(gateway: Gateway, words: list[str], why: str) -> None:
    gateway.models = [*gateway.models, {"id": "auto", "chooses_from": ["smollm2-135m-instruct"]}]
    done = run(gateway, *words)
    assert done.exit_code == 1
    assert why in done.stderr
    assert gateway.bodies == []


def test_endpoint_without_models_is_told(gateway: Gateway) -> None:
    gateway.models = []
    assert "serves no model" in run(gateway).stderr


FAKE = "tests.unit.deployments.commands.fake_client"


def test_figures_of_the_client_are_shown_and_its_prompts_are_gone(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MODULE", FAKE)
    done = run(gateway, "--requests", "6")
    assert done.exit_code == 0, done.stderr
    assert "llama-4-scout: 6 requests, 8 at once, 256 tokens in, 128 out" in done.stdout
    assert "to the first token" in done.stdout
    assert "No plan: only the gateway's address" in done.stdout
    said = json.loads(run(gateway, "smollm2", "--rate", "3", "--json").stdout)
    assert (said["measured"]["completed"], said["load"]["rate"], said["planned"]) == (64, 3, None)
    assert not Path(said["measured"].get("folder", "/nowhere")).exists()


@pytest.mark.parametrize(
    ("output_tokens", "why"), [("1", "Initial test run failed: No."), ("2", "No request was answered: refused"), ("3", "last words")]
)
def test_failure_of_the_client_is_told_in_its_words(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, output_tokens: str, why: str
) -> None:
    monkeypatch.setattr(client, "MODULE", FAKE)
    done = run(gateway, "smollm2", "--output-tokens", output_tokens)
    assert done.exit_code == 1
    assert why in done.stderr


def test_machine_without_vllm_is_told_where_to_run_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "find_spec", lambda _: None)
    assert "vLLM's benchmark client is not installed here" in run(gateway, "smollm2").stderr


def test_load_that_takes_too_long_is_ended(gateway: Gateway, tmp_path: Path) -> None:
    with pytest.raises(OperationError, match="longer than 0 s and was ended"):
        client._run(["--help"], os.environ, tmp_path / "log", 0.2)


def test_interrupted_load_ends_its_client(gateway: Gateway) -> None:
    command = [sys.executable, "-m", "deployments", "bench", "smollm2", "--url", gateway.url, "--requests", "1"]
    with subprocess.Popen(command, cwd=Path(__file__).parents[4], stderr=subprocess.PIPE, start_new_session=True) as child:
        children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        while not (below := children.read_text().split()):
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        assert child.stderr is not None
        said = child.stderr.read().decode()
    assert child.returncode == 130
    assert "The load is ended." in said
    deadline = time.monotonic() + 60
    while running(below) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not running(below), "the client ends with its standard input, even where it was not told to"


def running(pids: list[str]) -> list[Path]:
    """Those that run; one that has ended may still have to be waited for by somebody."""
    found = []
    for path in (Path(f"/proc/{pid}/stat") for pid in pids):
        with contextlib.suppress(OSError):  # it may end between two looks
            if path.read_text().rpartition(")")[2].split()[0] != "Z":
                found.append(path)
    return found

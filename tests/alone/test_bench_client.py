"""vLLM's benchmark client as `herd bench` runs it: its words, its files and its figures are those of the vLLM that is installed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployments.commands.main import app
from deployments.commands.using.benchmark.client import TRACE_BLOCK_TOKENS
from tests.unit.deployments.commands.fake_gateway import serving


def test_load_is_put_on_and_its_figures_come_back() -> None:
    with serving() as gateway:
        words = ["smollm2", "--requests", "6", "--concurrency", "2", "--output-tokens", "3", "--json"]
        done = CliRunner().invoke(app, ["bench", *words, "--url", gateway.url], env={"OPENAI_API_KEY": None})
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["measured"]["completed"] == 6
    assert said["measured"]["total_output_tokens"] == 18
    assert said["measured"]["median_ttft_ms"] > 0
    assert {body["max_tokens"] for path, body, _ in gateway.asked if body and path == "/v1/completions"} == {3}


def test_trace_is_replayed_in_its_own_time(tmp_path: Path) -> None:
    from configs.load import environment
    from deployments.small_models import ensure

    tokenizer = ensure("llama-4-scout-tiny", environment().models)
    trace = tmp_path / "trace.jsonl"
    blocks = [{"timestamp": 500 * index, "input_length": 600, "output_length": 2, "hash_ids": [1, index + 2]} for index in range(3)]
    trace.write_text("".join(json.dumps(one) + "\n" for one in blocks), encoding="utf-8")
    with serving() as gateway:
        words = ["scout", "--trace", str(trace), "--requests", "3", "--tokenizer", str(tokenizer), "--json"]
        done = CliRunner().invoke(app, ["bench", *words, "--url", gateway.url], env={"OPENAI_API_KEY": None})
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["measured"]["duration"] == pytest.approx(1.0, abs=0.8)
    prompts = [body["prompt"] for path, body, _ in gateway.asked if body and path == "/v1/completions"][-3:]
    assert [len(one) for one in prompts] == [600, 600, 600]
    assert prompts[0][:TRACE_BLOCK_TOKENS] == prompts[2][:TRACE_BLOCK_TOKENS]

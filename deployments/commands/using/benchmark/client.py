"""Runs vLLM's own benchmark client against an endpoint, in a process of its own, for a bounded time.

Decides the client's arguments. The client shows a key to whomever it asks, so its process gets one only for an endpoint that wants one.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deployments.commands.using.benchmark import prompts
from deployments.commands.using.benchmark.load import Load
from deployments.commands.using.benchmark.times import with_times
from deployments.commands.using.endpoint import Endpoint
from deployments.lifecycle.herd import OperationError

MODULE = "deployments.engine.vllm.benchmark_client"
#: Longest wait for the first answer, which the client asks for before it measures.
FIRST_S = 60
END_S = 10.0
#: Mooncake's traces count in milliseconds, and in blocks of so many tokens.
TRACE_BLOCK_TOKENS, TRACE_UNIT_S = 512, 0.001
SHOWN_LINES = 8


def measured(endpoint: Endpoint, model: str, load: Load, tokenizer: Path | None, within_s: float) -> dict[str, Any]:
    """Puts the load on the endpoint, and returns the client's own figures, by its names for them.

    Raises:
        OperationError: vLLM is not installed here, the load took longer than `within_s`, or no request was answered.
    """
    if find_spec("vllm") is None:
        raise OperationError("vLLM's benchmark client is not installed here: run this where the herd's environment is (`make env`).")
    with tempfile.TemporaryDirectory(prefix="herd-bench-") as name:
        folder = Path(name)
        if tokenizer is None:
            with endpoint.client() as client:
                words = max(1, round(load.input_tokens / prompts.tokens_per_word(client, model)))
            prompts.write(folder / "prompts.jsonl", load.requests, words)
        ended = _run([*arguments(endpoint, model, load, tokenizer, folder)], _environment(endpoint), folder / "log", within_s)
        result = folder / "result.json"
        if ended != 0 or not result.exists():
            raise OperationError(f"The benchmark client failed: {_why(folder / 'log')}")
        figures: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
    if not figures.get("completed"):
        raise OperationError(f"No request was answered: {next(filter(None, figures.get('errors', ())), 'the client does not say why')}")
    return with_times(figures)


def arguments(endpoint: Endpoint, model: str, load: Load, tokenizer: Path | None, folder: Path) -> list[str]:
    """Returns the words of `vllm bench serve` for a load; the client's files are in `folder`."""
    words = ["--backend", "openai", "--base-url", endpoint.url, "--model", model, "--num-prompts", str(load.requests), "--disable-tqdm"]
    words += ["--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,99", "--temperature", "0"]
    words += ["--ready-check-timeout-sec", str(FIRST_S)]
    words += ["--save-result", "--save-detailed", "--result-dir", str(folder), "--result-filename", "result.json"]
    if load.trace is None:
        words += ["--max-concurrency", str(load.concurrency)] if load.rate is None else ["--request-rate", str(load.rate)]
    if endpoint.herd is not None and endpoint.url.startswith("https://"):
        words.append("--insecure")  # the herd's own certificate, whose name is not this machine's; the prompts are random
    return [*words, *_data_set(load, tokenizer, folder)]


def _data_set(load: Load, tokenizer: Path | None, folder: Path) -> list[str]:
    if tokenizer is None:
        more = {"max_tokens": load.output_tokens, "ignore_eos": True}
        data = ["--dataset-name", "custom", "--dataset-path", str(folder / "prompts.jsonl"), "--skip-chat-template"]
        return ["--skip-tokenizer-init", *data, "--extra-body", json.dumps(more)]
    words = ["--tokenizer", str(tokenizer)]
    if load.trace is not None:
        unit = ["--timed-trace-chunk-hash-size", str(TRACE_BLOCK_TOKENS), "--timed-trace-sec-multiplier", str(TRACE_UNIT_S)]
        return [*words, "--dataset-name", "timed_trace", "--dataset-path", str(load.trace), *unit]
    return [*words, "--dataset-name", "random", "--input-len", str(load.input_tokens), "--output-len", str(load.output_tokens)]


def _environment(endpoint: Endpoint) -> dict[str, str]:
    own = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    if endpoint.key is not None and endpoint.asks_for_key():
        own["OPENAI_API_KEY"] = endpoint.key.get_secret_value()
    if endpoint.ca is not None:
        own["SSL_CERT_FILE"] = str(endpoint.ca)
    return {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"} | own


def _run(words: list[str], environment: Mapping[str, str], log: Path, within_s: float) -> int:
    """Runs the client; ends it when the time is over, and when this process is interrupted."""
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", MODULE, *words],
            env=environment,
            stdin=subprocess.PIPE,  # the client ends with it, also where this process is killed
            stdout=output,
            stderr=output,
            start_new_session=True,  # Ctrl-C is for the command, which ends the client itself
        )
    try:
        return child.wait(within_s)
    except subprocess.TimeoutExpired as error:
        raise OperationError(
            f"The load took longer than {within_s:.0f} s and was ended. Ask for fewer --requests, or give it longer with --within-s."
        ) from error
    finally:
        child.terminate()
        try:
            child.communicate(timeout=END_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()


def _why(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if line.startswith(("ValueError", "RuntimeError", "Error", "OSError", "AssertionError"))]
    return said[-1] if said else "\n".join(lines[-SHOWN_LINES:])

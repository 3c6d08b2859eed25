"""The planner beside running engines: the pools that it computes are those that vLLM reports."""

import json
import re

import pytest

from cluster.planner.kv_cache import CPU_BLOCK_TOKENS, kv_cache
from configs.load import environment
from configs.schema import Parallelism
from deployments import small_models
from deployments.lifecycle.fit import stored_in
from tests.e2e.conftest import BATCHED_TOKENS, SMALL, Herd, metrics

FLOAT32_BYTES = 4


@pytest.mark.parametrize(
    ("name", "context_tokens"),
    [("smollm2-135m-instruct", 2048), ("llama-4-scout-tiny", 8192)],
    ids=["full layers", "chunked layers beside full ones"],
)
def test_an_engine_reports_the_pool_that_was_planned(herd: Herd, name: str, context_tokens: int) -> None:
    stored = stored_in(small_models.ensure(name, environment().models))
    assert stored is not None
    # On CPUs vLLM schedules no step ahead, so one step's tokens are in flight.
    cache = kv_cache(
        stored.architecture,
        Parallelism(),
        FLOAT32_BYTES,
        hybrid=True,
        in_flight_tokens=BATCHED_TOKENS,
        block_tokens=CPU_BLOCK_TOKENS,
    )
    blocks = cache.pool_blocks((SMALL["kv_cache_memory_bytes"],))
    pool = cache.pool_tokens(blocks, context_tokens)
    said = reported(herd, name)
    print(f"\n{name}: vLLM {said['kv_cache_size_tokens']:,} tokens in {said['num_gpu_blocks']:,} blocks, planner {pool:,} in {blocks:,}")
    assert said["block_size"] == CPU_BLOCK_TOKENS
    assert pool == pytest.approx(said["kv_cache_size_tokens"], rel=0.01)
    assert blocks == pytest.approx(said["num_gpu_blocks"], rel=0.01)


def reported(herd: Herd, model: str) -> dict[str, int]:
    """What a running engine tells of its KV cache."""
    page = metrics(herd.replica(model)["address"])
    line = next(line for line in page.splitlines() if line.startswith("vllm:cache_config_info{"))
    labels = dict(re.findall(r'(\w+)="([^"]*)"', line))
    return {name: int(labels[name]) for name in ("block_size", "num_gpu_blocks", "kv_cache_size_tokens")}


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "llama-4-scout-tiny"])
def test_status_and_metrics_have_an_engines_own_figures_beside_the_plan(herd: Herd, name: str) -> None:
    models = json.loads(herd.run("status", "--json").stdout)["models"]
    engine = next(one for one in models if one["id"] == name)["engines"][0]
    print(f"\n{name}: {engine}")
    assert engine["device"] == "cpu"
    assert engine["no_plan"].startswith("no plan for the size of the KV cache: this engine has no GPU")
    # Whole blocks of what the config says.
    assert engine["told"]["kv_bytes"] == pytest.approx(SMALL["kv_cache_memory_bytes"], rel=0.02)
    assert engine["told"]["kv_tokens"] == pytest.approx(engine["planned"]["kv_tokens"], rel=0.01)
    assert engine["told"]["start_s"] > 1
    assert engine["planned"]["weights_bytes"] > 0
    assert "weights_bytes" not in engine["told"], "vLLM measures them on GPUs only"
    assert engine["differences"] == []
    page = metrics(herd.replica(name)["address"])
    assert f'herd_engine_kv_tokens{{by="engine",model="{name}"}} {engine["told"]["kv_tokens"]}' in page
    shown = " ".join(herd.run("status").stdout.split())
    assert f"{engine['told']['kv_tokens']:,.0f}" in shown
    assert "this engine has no GPU" in shown

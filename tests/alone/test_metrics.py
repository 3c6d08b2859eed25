"""vLLM still counts what a replica's load is read from; its source is read, not imported."""

import importlib.util
from pathlib import Path

import pytest

from deployments.engine.load import GENERATED, HIT, KV_USAGE, QUERIED, RUNNING, STEPS, WAITING


@pytest.mark.parametrize("name", [RUNNING, WAITING, KV_USAGE, QUERIED, HIT, STEPS, GENERATED])
def test_vllm_has_each_metric(name: str) -> None:
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    counters = ("_total", "_count")  # what Prometheus' client adds to a counter's and a histogram's name
    bare = next((name.removesuffix(ending) for ending in counters if name.endswith(ending)), name)
    assert f'name="{bare}"' in (Path(spec.origin).parent / "v1/metrics/loggers.py").read_text(encoding="utf-8")

"""vLLM still says the words that `make gpu-check` reads in its log; its source is read, not imported."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.bench.gpu_check.said import WORDS

FILES = (
    "v1/worker/gpu_model_runner.py",
    "v1/worker/gpu_worker.py",
    "v1/core/kv_cache_utils.py",
    "v1/engine/core.py",
    "compilation/monitor.py",
)
#: What Python puts numbers in place of.
PLACES = {"%s": "1", "%.2f": "1.00", "%.6f": "1.000000", "%.0f": "1"}


@pytest.fixture(scope="module")
def source() -> str:
    """vLLM's source with a number in each place for one, and strings that go on behind the end of a line joined."""
    spec = importlib.util.find_spec("vllm")
    assert spec is not None
    assert spec.origin is not None
    text = "\n".join((Path(spec.origin).parent / name).read_text(encoding="utf-8") for name in FILES)
    for place, number in PLACES.items():
        text = text.replace(place, number)
    return re.sub(r'"\s*\n\s*f?"', "", text)


@pytest.mark.parametrize("name", WORDS)
def test_vllm_says_each_figure(name: str, source: str) -> None:
    assert re.search(WORDS[name], source)

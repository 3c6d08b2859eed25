"""A processor of images has the tokenizer that vLLM has read already, and says the same as with one of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from configs.load import environment
from deployments.small_models import ensure

ROOT = Path(__file__).parents[2]
#: As every process of an engine begins.
STORY = """
import json, sys
from types import SimpleNamespace
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, Llama4Processor
from vllm.plugins import load_general_plugins
from vllm.renderers import base
from vllm.renderers.hf import HfRenderer
from vllm.tokenizers.hf import ThreadSafeHFTokenizerMixin
from vllm.tokenizers import detokenizer_utils, get_tokenizer
from vllm.transformers_utils import processor
vllms = detokenizer_utils._get_leading_space_marker
load_general_plugins()
reads, read = [], AutoTokenizer.from_pretrained
AutoTokenizer.from_pretrained = lambda *args, **more: reads.append(args) or read(*args, **more)
tokenizer = get_tokenizer(sys.argv[1])

def processor_of(**more):
    return processor.cached_get_processor_without_dynamic_kwargs(sys.argv[1], processor_cls=Llama4Processor, **more)

def loaded(**more):
    count = len(reads)
    one = processor_of(use_fast=True, **more)
    said = one(text="A <|image|> of 12345 llamas", images=[Image.new("RGB", (672, 672), "red")], return_tensors="pt")
    return len(reads) - count, one.tokenizer is tokenizer, said["input_ids"].tolist(), float(said["pixel_values"].float().sum())

class Registry:
    supports_multimodal_inputs = staticmethod(lambda model: True)
    processor_cache_from_config = processor_only_cache_from_config = staticmethod(lambda config: None)
    create_processor = staticmethod(lambda model, tokenizer, cache: processor_of(tokenizer=tokenizer))

def serving():
    base.mm_registry = Registry
    model = SimpleNamespace(renderer_num_workers=1, multimodal_config=None, hf_config=None)
    config = SimpleNamespace(model_config=model, parallel_config=SimpleNamespace(_api_process_rank=0), observability_config=None)
    renderer = HfRenderer(config, tokenizer)
    return renderer.mm_processor.tokenizer is renderer.tokenizer, isinstance(renderer.tokenizer, ThreadSafeHFTokenizerMixin)

def markers(shape):
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = shape
    return [marker(SimpleNamespace(backend_tokenizer=backend)) for marker in (vllms, detokenizer_utils._get_leading_space_marker)]

space, bytes_ = pre_tokenizers.Metaspace(replacement="_"), pre_tokenizers.ByteLevel()
shapes = [space, bytes_, None, pre_tokenizers.Sequence([bytes_, space]), pre_tokenizers.Sequence([bytes_])]
bare = [marker(SimpleNamespace()) for marker in (vllms, detokenizer_utils._get_leading_space_marker)]
found = {"handed": loaded(tokenizer=tokenizer), "own": loaded(), "kept": processor_of().tokenizer is tokenizer, "serving": serving()}
print(json.dumps({**found, "markers": [*map(markers, shapes), bare]}))
"""


@pytest.fixture(scope="module")
def said() -> dict[str, Any]:
    variables = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"), "VLLM_CONFIGURE_LOGGING": "0"}
    checkpoint = str(ensure("llama-4-scout-tiny", environment().models))
    done = subprocess.run(
        [sys.executable, "-c", STORY, checkpoint], env=variables, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_processor_that_is_handed_a_tokenizer_reads_none(said: dict[str, Any]) -> None:
    reads, is_handed, *_ = said["handed"]
    assert (reads, is_handed) == (0, True)


def test_processor_that_is_handed_none_reads_its_own_and_both_say_the_same(said: dict[str, Any]) -> None:
    reads, is_handed, *answer = said["own"]
    assert (reads, is_handed) == (1, False)
    assert answer == said["handed"][2:]


def test_processor_that_vllm_has_kept_comes_with_the_tokenizer_that_it_has(said: dict[str, Any]) -> None:
    assert said["kept"]


def test_processor_of_the_process_that_serves_has_the_pool_of_which_each_thread_borrows_its_own(said: dict[str, Any]) -> None:
    """Two threads that used one tokenizer at a time would fail each other's requests."""
    assert said["serving"] == [True, True]


def test_marker_of_a_space_is_the_one_that_vllm_would_find(said: dict[str, Any]) -> None:
    vllms, ours = zip(*said["markers"], strict=True)
    assert ours == vllms
    assert set(ours) == {"_", None}

"""`cluster.catalogue.hub_names`: what people call their repositories."""

import pytest

from cluster.catalogue.hub_names import named, stored_layout
from cluster.catalogue.models import CATALOGUE
from configs.names import Kind, Quantization


@pytest.mark.parametrize(
    ("repository", "kind", "word"),
    [
        ("hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4", "llama-3.1-70b", "int4"),
        ("hugging-quants/Meta-Llama-3.1-405B-Instruct-GPTQ-INT4", "llama-3.1-405b", "int4"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "llama-3.1-8b", "bf16"),
        ("nvidia/Llama-3.1-Nemotron-70B-Instruct-HF", "llama-3.1-70b", "bf16"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "llama-3.3-70b", "bf16"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama-3.1-8b", "bf16"),
        ("bartowski/Llama-3.3-70B-Instruct-GGUF:Q4_K_M", "llama-3.3-70b", "int4"),
        ("unsloth/Llama-3.2-3B-Instruct-bnb-4bit", "llama-3.2-3b", "int4"),
        ("unsloth/Llama-3.2-1B-Instruct-FP8", "llama-3.2-1b", "fp8"),
        ("RedHatAI/Llama-3.3-70B-Instruct-FP8-block", "llama-3.3-70b", "fp8"),
        ("RedHatAI/Llama-Guard-4-12B-quantized.w8a8", "llama-guard-4-12b", "int8"),
        ("org/Llama-3-8B-Instruct-GPTQ-8bit", "llama-3-8b", "int8"),
        ("org/Llama-4-Scout-17B-16E-Instruct-AWQ", "llama-4-scout", "int4"),
        ("org/llama_4_maverick_nvfp4", "llama-4-maverick", "nvfp4"),
        ("meta-llama/Llama-3-70B-Instruct", "llama-3-70b", "bf16"),
    ],
)
def test_repository_says_its_base_and_how_it_is_stored(repository: str, kind: Kind, word: Quantization) -> None:
    found = named(repository)
    architecture = CATALOGUE[kind].decoder
    assert found is not None
    assert architecture is not None
    assert (found.kind, stored_layout(found.stored, architecture).quantization) == (kind, word)


@pytest.mark.parametrize("repository", ["Qwen/Qwen2.5-7B", "llama-3-80b", "", "org/llama-3.14-8b"])
def test_name_that_says_nothing_is_none(repository: str) -> None:
    assert named(repository) is None

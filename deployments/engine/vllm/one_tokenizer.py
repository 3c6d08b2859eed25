"""A vLLM plugin for every process of an engine: the model's tokenizer is read once in each.

vLLM 0.29 hands the tokenizer that it has read to whoever loads the model's processor of images. transformers takes no notice: it reads the
tokenizer anew, twice, and copies the one it was handed twice, as it would copy any other setting. With Llama 4's 200,000 tokens that was
half of the CPU time of an engine's start. Decides nothing else: a processor that is loaded without a tokenizer reads its own, unless vLLM
has kept one of the same model. The process that serves makes the tokenizer a pool afterwards, of which each thread borrows its own: no two
of them use one at a time.
"""

import json
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

Load = Callable[..., Any]

_handed: ContextVar[Any] = ContextVar("tokenizer of the processor that is being loaded", default=None)
#: Where vLLM keeps a tokenizer's marker.
_MARKER = "_vllm_space_marker_cache"


def mend() -> None:
    """vLLM calls this in each of its processes before it builds an engine."""
    from transformers.processing_utils import ProcessorMixin
    from vllm.tokenizers import detokenizer_utils
    from vllm.transformers_utils import processor

    processor.cached_get_processor_without_dynamic_kwargs = handing(processor.cached_get_processor_without_dynamic_kwargs)
    ProcessorMixin._load_tokenizer_from_pretrained = classmethod(taking(ProcessorMixin._load_tokenizer_from_pretrained.__func__))  # noqa: SLF001 (where it is read)
    detokenizer_utils._get_leading_space_marker = marker_of  # noqa: SLF001 (where it is written out whole)


def handing(load: Load) -> Load:
    """Loads a processor as before, and lets `taking` see the tokenizer that was handed over."""

    def cached(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (vLLM's own)
        before = _handed.set(kwargs.get("tokenizer"))
        try:
            return load(*args, **kwargs)
        finally:
            _handed.reset(before)

    return cached


def taking(read: Load) -> Load:
    """Takes the tokenizer that was handed over for a processor's own, and reads all others."""

    def tokenizer_of(cls: type, kind: str, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 (transformers' own)
        handed = _handed.get()
        return read(cls, kind, *args, **kwargs) if handed is None or kind != "tokenizer" else handed

    return tokenizer_of


def marker_of(tokenizer: Any) -> str | None:  # noqa: ANN401 (a tokenizer of transformers)
    """Returns what stands for a space at the beginning of a token, if decoding strips it.

    vLLM has the whole tokenizer written out for it, which takes seconds, while the first answer with log probabilities waits.
    """
    if not hasattr(tokenizer, _MARKER):
        setattr(tokenizer, _MARKER, _marker(getattr(tokenizer, "backend_tokenizer", None)))
    return getattr(tokenizer, _MARKER)  # type: ignore[no-any-return]


def _marker(backend: Any) -> str | None:  # noqa: ANN401 (a tokenizer of `tokenizers`)
    before = getattr(backend, "pre_tokenizer", None)
    if before is None:
        return None
    shape = json.loads(before.__getstate__())
    parts = shape["pretokenizers"] if shape["type"] == "Sequence" else [shape]
    return next((one["replacement"] for one in parts if one["type"] == "Metaspace"), None)

"""Reads a repository's name: which model of the catalogue it is built on, and how it is stored. Fine-tunes and quants are many.

Decides by the habits of those who publish: the base model's name is in the name (Hermes-3-Llama-3.1-8B), and the quantisation at its end
(…-AWQ, …-quantized.w4a16, …-FP8-dynamic, …-Q4_K_M). The weights' own `config.json`, where it can be read, is believed before it.
"""

import re
from dataclasses import dataclass

from cluster.catalogue.architecture import Architecture
from cluster.catalogue.checkpoints import (
    AWQ,
    BF16,
    INT4_ZERO_BYTES,
    LINEAR,
    LINEAR_INT4,
    LINEAR_INT8,
    MLP_INT4,
    Layout,
    layout,
    usual_layout,
)
from cluster.catalogue.config_quantization import gguf_layout
from configs.names import Kind

_WORDS = r"(?:[a-z][a-z0-9]*[-_ ])*?"
#: The first that is found in a name decides: what is more special stands first.
_BASES: tuple[tuple[str, Kind], ...] = (
    (r"llama[-_ ]?4[-_ ]scout", "llama-4-scout"),
    (r"llama[-_ ]?4[-_ ]maverick", "llama-4-maverick"),
    (r"llama[-_ ]?guard[-_ ]?4[-_ ]12b", "llama-guard-4-12b"),
    (r"llama[-_ ]?guard[-_ ]?3[-_ ]8b", "llama-guard-3-8b"),
    (rf"llama[-_ ]?3[._]3[-_ ]{_WORDS}70b", "llama-3.3-70b"),
    (rf"llama[-_ ]?3[._]2[-_ ]{_WORDS}11b", "llama-3.2-11b-vision"),
    (rf"llama[-_ ]?3[._]2[-_ ]{_WORDS}90b", "llama-3.2-90b-vision"),
    (rf"llama[-_ ]?3[._]2[-_ ]{_WORDS}1b", "llama-3.2-1b"),
    (rf"llama[-_ ]?3[._]2[-_ ]{_WORDS}3b", "llama-3.2-3b"),
    (rf"llama[-_ ]?3[._]1[-_ ]{_WORDS}405b", "llama-3.1-405b"),
    (rf"llama[-_ ]?3[._]1[-_ ]{_WORDS}70b", "llama-3.1-70b"),
    (rf"llama[-_ ]?3[._]1[-_ ]{_WORDS}8b", "llama-3.1-8b"),
    (r"distill[-_ ]llama[-_ ]70b", "llama-3.3-70b"),
    (r"distill[-_ ]llama[-_ ]8b", "llama-3.1-8b"),
    (rf"llama[-_ ]?3[-_ ]{_WORDS}70b", "llama-3-70b"),
    (rf"llama[-_ ]?3[-_ ]{_WORDS}8b", "llama-3-8b"),
)
_GPTQ_8 = layout("gptq (all linear layers, 8 bits)", "int8", LINEAR, 1.0 + 3 / 128, "GPTQ, groups of 128 with zero points")
_GPTQ_4 = layout("gptq (all linear layers)", "int4", LINEAR, INT4_ZERO_BYTES, "GPTQ, groups of 128 with zero points")
_BNB_4 = layout("bitsandbytes (nf4)", "int4", LINEAR, 0.5 + 4 / 64, "bitsandbytes, a float32 scale for 64 weights")


@dataclass(frozen=True, slots=True)
class Named:
    """The model and the form that a repository's name tells."""

    kind: Kind
    stored: str
    """How it is stored, in the name's own words, lower case; empty: as the base is."""


def named(repository: str) -> Named | None:
    """Which model of the catalogue a repository is built on, by its name; none where the name says nothing."""
    text = repository.lower()
    found = next(((kind, match) for pattern, kind in _BASES if (match := re.search(rf"(?<![a-z]){pattern}(?![0-9.])", text))), None)
    return Named(found[0], text[found[1].end() :]) if found else None


def stored_layout(words: str, architecture: Architecture) -> Layout:
    """The layout that the end of a repository's name speaks of; bf16 where it says nothing."""
    by_file = gguf_layout(words)
    if by_file:
        return by_file
    for pattern, found in _layouts(architecture):
        if re.search(rf"(?<![a-z0-9]){pattern}(?![a-z0-9])", words):
            return found
    return BF16


def _layouts(architecture: Architecture) -> tuple[tuple[str, Layout], ...]:
    int4 = MLP_INT4 if architecture.experts else LINEAR_INT4
    return (
        (r"(nvfp4|fp4)", usual_layout("nvfp4", architecture)),
        (r"awq", MLP_INT4 if architecture.experts else AWQ),
        (r"gptq[-_.]?(int8|8bit|w8a16)", _GPTQ_8),
        (r"gptq", int4 if architecture.experts else _GPTQ_4),
        (r"(bnb|bitsandbytes|nf4)", _BNB_4),
        (r"(w8a8|int8)", LINEAR_INT8),
        (r"(fp8|w8a8[-_.]fp8|f8)", usual_layout("fp8", architecture)),
        (r"(w4a16|int4|4bit|w4)", int4),
    )

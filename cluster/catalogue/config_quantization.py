"""How the weights of a checkpoint are stored, as its decoded `config.json` says it, or a GGUF file's name.

Decides a layout from the words of the tools that people use: AutoAWQ, GPTQ, llm-compressor (compressed-tensors), ModelOpt, fbgemm, plain
fp8 (one scale a tensor, dynamic, or in blocks), bitsandbytes, MXFP4 and GGUF.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from cluster.catalogue.architecture import Architecture, Component
from cluster.catalogue.checkpoints import (
    AWQ,
    BF16,
    EXPERTS,
    LINEAR,
    LINEAR_FP8,
    LINEAR_INT4,
    LINEAR_INT8,
    LINEAR_NVFP4,
    META_405B_FP8,
    META_FP8,
    MLP_FP8,
    MLP_INT4,
    MLPS,
    Layout,
    layout,
)
from cluster.catalogue.config_shape import NotRead
from configs.names import Quantization

#: Layouts that have a name, so that what a file says is told by it.
_NAMED = (LINEAR_FP8, MLP_FP8, LINEAR_INT4, MLP_INT4, LINEAR_INT8, LINEAR_NVFP4, AWQ)
#: Bits of a weight of llama.cpp's formats, scales included (its `tools/quantize`, over the weights of Llama 3.1 8B).
GGUF_BITS: Mapping[str, float] = {
    "Q2_K": 3.16, "Q3_K_S": 3.64, "Q3_K_M": 4.00, "Q3_K_L": 4.30, "IQ4_XS": 4.46, "IQ4_NL": 4.66, "Q4_0": 4.66, "Q4_K_S": 4.67,
    "Q4_K_M": 4.89, "Q4_1": 5.1, "Q5_0": 5.59, "Q5_K_S": 5.57, "Q5_K_M": 5.70, "Q6_K": 6.56, "Q8_0": 8.50, "F16": 16.0, "BF16": 16.0,
}  # fmt: skip


def layout_from(config: Mapping[str, Any], architecture: Architecture) -> Layout:
    """How the weights beside a decoded `config.json` are stored.

    Raises:
        NotRead: they are quantised in a way that the planner has no layout for.
    """
    stored = config.get("quantization_config")
    if not isinstance(stored, Mapping) or not stored:
        return BF16
    method = str(stored.get("quant_method", "")).lower().replace("_", "-")
    read = next((reader for names, reader in _READERS.items() if method.startswith(names)), None)
    if read is None:
        raise NotRead(f"quantization_config names {stored.get('quant_method')!r}, which the planner has no layout for; say --quantization")
    return read(stored, architecture)


def gguf_layout(name: str) -> Layout | None:
    """How the weights of a GGUF file are stored, by the format in its name; none where there is none."""
    found = re.search(r"(?<![A-Za-z0-9])(I?Q\d(?:_[0-9A-Z]+)*|BF16|F16)(?![A-Za-z0-9])", name.upper())
    bits = GGUF_BITS.get(found[1]) if found else None
    if bits is None or found is None:
        return None
    word: Quantization = "int4" if bits < 5 else "int8" if bits < 16 else "bf16"
    return _built(word, bits / 8, (*LINEAR, "embedding", "head"), tool=f"GGUF {found[1]}")


@lru_cache(maxsize=64)
def _built(
    word: Quantization, width: float, components: tuple[Component, ...], tool: str = "", *, int8_activations: bool = False
) -> Layout:
    """A layout of these bytes: the named one where there is one, else a new one, the same each time."""
    wanted = dict.fromkeys(components, width)
    for named in _NAMED:
        if (
            named.quantization == word
            and dict(named.bytes_per_parameter) == wanted
            and named.int8_activations == int8_activations
            and not tool
        ):
            return named
    what = "all linear layers" if "attention_qo" in components else "MLPs" if "dense_mlp" in components else "routed experts only"
    found = layout(f"{tool or word} ({what}, {8 * width:.2f} bits)", word, components, width, "the checkpoint's own config.json")
    return Layout(found.name, word, found.source, found.bytes_per_parameter, int8_activations=True) if int8_activations else found


def _number(config: Mapping[str, Any], name: str, default: int) -> int:
    value = config.get(name, default)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1 << 20 else default


def _bits_of(config: Mapping[str, Any], name: str, default: int) -> int:
    bits = _number(config, name, default)
    if bits not in (2, 3, 4, 8):
        raise NotRead(f"{name} is {bits}: weights of so many bits are not known to the planner")
    return bits


def _fbgemm(_: Mapping[str, Any], architecture: Architecture) -> Layout:
    return META_FP8 if architecture.experts else META_405B_FP8


def _fp8(stored: Mapping[str, Any], architecture: Architecture) -> Layout:
    """One scale a tensor or a row, or for blocks of 128 x 128: all below a thousandth of the weights."""
    return _built("fp8", 1.0, _components(stored, architecture, attention=not _ignores(stored, architecture, "self_attn")))


def _mxfp4(_: Mapping[str, Any], architecture: Architecture) -> Layout:
    return _built("int4", 0.5 + 1 / 32, EXPERTS if architecture.experts else LINEAR, tool="MXFP4")


def _grouped(stored: Mapping[str, Any], architecture: Architecture) -> Layout:
    """Bits of a weight, and for each group a bf16 scale and, where there is one, a zero point of as many bits."""
    bits, group = _bits_of(stored, "bits", 4), _number(stored, "group_size", 128)
    symmetric = stored.get("sym") is True or stored.get("zero_point") is False
    width = bits / 8 + 2 / group + (0 if symmetric else bits / 8 / group)
    attention = not _ignores(stored, architecture, "self_attn")
    return _built("int4" if bits <= 4 else "int8", width, LINEAR if attention else MLPS)


def _compressed_tensors(stored: Mapping[str, Any], architecture: Architecture) -> Layout:
    groups = stored.get("config_groups")
    first = next((group for group in groups.values() if isinstance(group, Mapping)), {}) if isinstance(groups, Mapping) else {}
    weights, inputs = first.get("weights"), first.get("input_activations")
    said = str(stored.get("format", "")).lower()
    if not isinstance(weights, Mapping):
        weights = _weights_of(said)
    attention = _quantises_attention(stored, architecture, described=bool(first))
    parts = LINEAR if attention else MLPS
    bits, group = _bits_of(weights, "num_bits", 8), _number(weights, "group_size", 128)
    if bits == 4 and (weights.get("type") == "float" or "nvfp4" in said):
        return _built("nvfp4", 0.5 + 1 / 16, LINEAR if not first else parts)
    if bits == 4:
        return _built("int4", 0.5 + 2 / group + (0 if weights.get("symmetric", True) else 0.5 / group), parts)
    if weights.get("type") == "float":
        return _built("fp8", 1.0, parts)
    if bits == 8:
        return _built("int8", 1.0, parts, int8_activations=isinstance(inputs, Mapping) or not first)
    raise NotRead(f"num_bits is {bits}: weights of so many bits are not known to the planner")


def _weights_of(said: str) -> Mapping[str, Any]:
    """Returns the weights that a format means where no group describes them."""
    for mark, weights in (
        ("nvfp4", {"num_bits": 4, "type": "float"}),
        ("float-quantized", {"num_bits": 8, "type": "float"}),
        ("pack-quantized", {"num_bits": 4, "type": "int"}),
        ("int-quantized", {"num_bits": 8, "type": "int"}),
    ):
        if mark in said:
            return weights
    raise NotRead(f"quantization_config has the format {said!r}, which the planner has no layout for; say --quantization")


def _quantises_attention(stored: Mapping[str, Any], architecture: Architecture, *, described: bool) -> bool:
    """As the list of what is left alone says; where there is none, attention of models with experts is left alone."""
    if described and isinstance(stored.get("ignore"), list):
        return not _ignores(stored, architecture, "self_attn")
    return not architecture.experts


def _modelopt(stored: Mapping[str, Any], architecture: Architecture) -> Layout:
    said = str({**stored, "ignore": None, "exclude_modules": None}).lower()
    parts = MLPS if _ignores(stored, architecture, "self_attn") else LINEAR
    if "nvfp4" in said:
        return _built("nvfp4", 0.5 + 1 / 16, parts)
    if "fp8" in said:
        return _built("fp8", 1.0, parts)
    raise NotRead(
        f"quantization_config names {stored.get('quant_algo')!r} of ModelOpt, which the planner has no layout for; say --quantization"
    )


def _bitsandbytes(stored: Mapping[str, Any], _: Architecture) -> Layout:
    """NF4 keeps a float32 scale for each 64 weights, or with double quantisation an eighth of it; int8 a byte a weight."""
    if stored.get("load_in_8bit") is True or stored.get("_load_in_8bit") is True:
        return _built("int8", 1.0, LINEAR, tool="bitsandbytes")
    width = 0.5 + (1 / 64 if stored.get("bnb_4bit_use_double_quant") else 4 / 64)
    return _built("int4", width, LINEAR, tool="bitsandbytes")


def _components(stored: Mapping[str, Any], architecture: Architecture, *, attention: bool) -> tuple[Component, ...]:
    """All linear layers; of a model with experts, attention only where the file names what is left alone and attention is not in it."""
    named = any(isinstance(stored.get(key), list) for key in _LEFT_ALONE)
    return LINEAR if attention and (named or not architecture.experts) else MLPS


_LEFT_ALONE = ("ignore", "modules_to_not_convert", "exclude_modules", "ignored_layers")


def _left_alone(stored: Mapping[str, Any]) -> Iterator[str]:
    for key in _LEFT_ALONE:
        value = stored.get(key)
        if isinstance(value, list | tuple):
            yield from (one for one in value if isinstance(one, str))


def _ignores(stored: Mapping[str, Any], architecture: Architecture, part: str) -> bool:
    """Whether a part of the layers is left alone: by a pattern, or by name in at least half of them."""
    named = [one for one in _left_alone(stored) if part in one or "attn" in one]
    patterns = [one for one in named if not re.search(r"\.\d+\.", one) and "vision" not in one]
    layers = {found[0] for one in named if "vision" not in one and (found := re.search(r"\.\d+\.", one))}
    return bool(patterns) or 2 * len(layers) >= architecture.layers


#: By how `quant_method` begins.
_READERS: Mapping[tuple[str, ...], Callable[[Mapping[str, Any], Architecture], Layout]] = {
    ("awq", "gptq", "auto-round"): _grouped,
    ("compressed-tensors",): _compressed_tensors,
    ("fbgemm-fp8",): _fbgemm,
    ("fp8",): _fp8,
    ("bitsandbytes",): _bitsandbytes,
    ("mxfp4",): _mxfp4,
    ("modelopt",): _modelopt,
}

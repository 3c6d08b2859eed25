"""The shape of a model as its decoded `config.json` says it: Llama's own kinds, and others that are built like them.

Decides what the planner can read; the file itself is read by `configs.load`. Biases, norms of single heads and the like are left out: they
are below a thousandth. Of layers with a sliding window every token is counted, and so are the towers of other models' images not.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.catalogue.architecture import Architecture, VisionTower, every

#: No model has more of anything; what does is a mistake in the file.
MOST = 1 << 40
MOST_LAYERS = 4096


class NotRead(ValueError):
    """A `config.json` that the planner cannot turn into an architecture; the message says why."""


@dataclass(frozen=True, slots=True)
class Family:
    """How a kind of model differs from Llama."""

    tied: bool = False
    """Whether embedding and head are one where the file says nothing."""
    mlp_matrices: int = 3
    rotary_share: float = 1.0


#: Decoders with grouped-query attention and one MLP a layer, by `model_type` (transformers; vLLM's `models/registry.py` serves each).
FAMILIES: Mapping[str, Family] = {
    **dict.fromkeys(
        ("llama", "mistral", "mixtral", "qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "phi3", "granite", "olmo2", "smollm3", "aya", "yi"),
        Family(),
    ),
    **dict.fromkeys(("gemma", "gemma2", "gemma3_text"), Family(tied=True)),
    "phi": Family(mlp_matrices=2, rotary_share=0.5),
    "starcoder2": Family(tied=True, mlp_matrices=2),
}
#: What a model that also sees is built around, where its own file does not say it.
TEXT_OF = {
    "gemma3": "gemma3_text",
    "mistral3": "mistral",
    "qwen2_vl": "qwen2",
    "qwen2_5_vl": "qwen2",
    "qwen3_vl": "qwen3",
    "llava": "llama",
}
READ = f"llama, llama4, llama4_text, {', '.join(sorted(FAMILIES.keys() - {'llama'}))} and {', '.join(sorted(TEXT_OF))}"


def architecture_from(config: Mapping[str, Any]) -> Architecture:
    """The architecture in a decoded `config.json`.

    Raises:
        NotRead: it is of another kind, or a field is missing or no number.
    """
    kind = config.get("model_type")
    try:
        if kind in ("llama4", "llama4_text"):
            text = config.get("text_config") if kind == "llama4" else config
            if not isinstance(text, Mapping):
                raise NotRead("text_config is missing")
            return _llama_4(text, config.get("vision_config"))
        return _decoder(*_text_of(config))
    except KeyError as error:
        raise NotRead(f"{error.args[0]} is missing") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise error if isinstance(error, NotRead) else NotRead(f"a field is not what it should be ({error})") from error


def _text_of(config: Mapping[str, Any]) -> tuple[Family, Mapping[str, Any]]:
    kind = config.get("model_type")
    text = config.get("text_config")
    if isinstance(kind, str) and kind in TEXT_OF and isinstance(text, Mapping):
        inner = text.get("model_type", TEXT_OF[kind])
        family = FAMILIES.get(inner) if isinstance(inner, str) else None
        # Files of older versions of transformers have the fields of the text beside those of the whole.
        return family or FAMILIES[TEXT_OF[kind]], {**config, **text}
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise NotRead(f"model_type is {kind!r}; the planner reads {READ}")
    return FAMILIES[kind], config


def count(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """A whole number of at least 1; a field that is null is one that is not there.

    Raises:
        KeyError: it is not there, and there is no default.
        TypeError: it is no such number.
    """
    value = config.get(name)
    value = default if value is None else value
    if value is None:
        raise KeyError(name)
    most = MOST_LAYERS if name == "num_hidden_layers" else MOST
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise TypeError(f"{name} is {value!r}")
    return value


def _first_count(config: Mapping[str, Any], *names: str) -> int:
    """The first of some fields that is there and no 0; else 0."""
    return next((count(config, name) for name in names if config.get(name) not in (None, 0)), 0)


def _layers(config: Mapping[str, Any], name: str, layers: int) -> tuple[int, ...]:
    value = config.get(name) or ()
    if not isinstance(value, list | tuple) or not all(isinstance(one, int) and 0 <= one < layers for one in value):
        raise TypeError(f"{name} is {value!r}")
    return tuple(value)


def _share(config: Mapping[str, Any], default: float) -> float:
    value = config.get("partial_rotary_factor")
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise TypeError(f"partial_rotary_factor is {value!r}")
    return float(value)


def _decoder(family: Family, config: Mapping[str, Any]) -> Architecture:
    heads, hidden, layers = (count(config, name) for name in ("num_attention_heads", "hidden_size", "num_hidden_layers"))
    tied = config.get("tie_word_embeddings")
    experts = _first_count(config, "num_local_experts", "num_experts", "n_routed_experts")
    wide = _first_count(config, "moe_intermediate_size", "intermediate_size") if experts else 0
    return Architecture(
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=count(config, "num_key_value_heads", heads),
        head_dim=count(config, "head_dim", max(1, hidden // heads)),
        vocab=count(config, "vocab_size"),
        intermediate=count(config, "intermediate_size"),
        max_positions=count(config, "max_position_embeddings"),
        experts=experts,
        experts_per_token=_chosen(config, experts),
        expert_intermediate=wide,
        moe_layers=_with_experts(config, layers) if experts else (),
        tied_embeddings=family.tied if not isinstance(tied, bool) else tied,
        shared_intermediate=_shared(config, wide) if experts else None,
        mlp_matrices=family.mlp_matrices,
        rotary_share=_share(config, family.rotary_share),
    )


def _chosen(config: Mapping[str, Any], experts: int) -> int:
    chosen = count(config, "num_experts_per_tok", 1)
    if experts and chosen > experts:
        raise TypeError(f"num_experts_per_tok is {chosen}, of {experts} experts")
    return chosen


def _shared(config: Mapping[str, Any], wide: int) -> int:
    return _first_count(config, "shared_expert_intermediate_size") or wide * _first_count(config, "n_shared_experts")


def _with_experts(config: Mapping[str, Any], layers: int) -> tuple[int, ...]:
    """Every n-th layer, less those that are named and the first dense ones (Qwen's and DeepSeek's words)."""
    dense = set(_layers(config, "mlp_only_layers", layers)) | set(range(min(layers, _first_count(config, "first_k_dense_replace"))))
    return tuple(layer for layer in every(layers, count(config, "decoder_sparse_step", 1)) if layer not in dense)


def _llama_4(config: Mapping[str, Any], vision: object) -> Architecture:
    layers = count(config, "num_hidden_layers")
    moe = (
        every(layers, count(config, "interleave_moe_layer_step"))
        if config.get("moe_layers") is None
        else _layers(config, "moe_layers", layers)
    )
    nope = config.get("no_rope_layers") or []
    if not isinstance(nope, list | tuple):
        raise TypeError(f"no_rope_layers is {nope!r}")
    interval = count(config, "no_rope_layer_interval", 4)
    experts = count(config, "num_local_experts") if moe else 0
    return Architecture(
        layers=layers,
        hidden=count(config, "hidden_size"),
        heads=count(config, "num_attention_heads"),
        kv_heads=count(config, "num_key_value_heads", count(config, "num_attention_heads")),
        head_dim=count(config, "head_dim"),
        vocab=count(config, "vocab_size"),
        intermediate=count(config, "intermediate_size_mlp"),
        max_positions=count(config, "max_position_embeddings"),
        experts=experts,
        experts_per_token=_chosen(config, experts),
        expert_intermediate=count(config, "intermediate_size"),
        moe_layers=moe,
        chunk_tokens=None if config.get("attention_chunk_size") is None else count(config, "attention_chunk_size"),
        global_layers=tuple(layer for layer, rope in enumerate(nope[:layers]) if not rope) if nope else every(layers, interval),
        tied_embeddings=config.get("tie_word_embeddings") is True,
        vision=None if vision is None else _vision(vision),
    )


def _vision(config: object) -> VisionTower:
    if not isinstance(config, Mapping):
        raise TypeError(f"vision_config is {config!r}")
    shuffle = config.get("pixel_shuffle_ratio", 0.5)
    if isinstance(shuffle, bool) or not isinstance(shuffle, int | float) or not 0 < shuffle <= 1:
        raise TypeError(f"pixel_shuffle_ratio is {shuffle!r}")
    return VisionTower(
        layers=count(config, "num_hidden_layers"),
        hidden=count(config, "hidden_size"),
        heads=count(config, "num_attention_heads"),
        intermediate=count(config, "intermediate_size"),
        image_pixels=count(config, "image_size"),
        patch_pixels=count(config, "patch_size"),
        shuffle=float(shuffle),
        projector=count(config, "projector_output_dim"),
    )

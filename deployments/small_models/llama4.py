"""Llama 4 Scout and Maverick in miniature: the real architecture, tokenizer and processor around random weights.

Decides the shapes. Everything that selects a code path in an engine is as in the real models: experts in every layer or in every second
one, top-1 routing, a global layer without rotary embedding after every three chunked ones, query and key norms, rope scaling, tile and
patch sizes, the grouping of heads (`configuration_llama4.py` and `convert_llama4_weights_to_hf.py` in transformers; `args.py` in
llama-models' `llama4`). Only sizes are smaller. What such a model says means nothing, and is the same on every machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from transformers import GenerationConfig, Llama4Config, Llama4ForConditionalGeneration, Llama4ImageProcessor, Llama4Processor
from transformers.models.llama4.processing_llama4 import chat_template

from deployments.small_models import tokenizer
from deployments.small_models.checkpoint import quietly, write_weights

#: What rope scaling by 16 makes of 8,192. The real 10,485,760 would cost 1.3 GB of rotary table in every engine.
MOST_TOKENS = 131_072
#: Real: 8,192. Engines want whole blocks of KV cache in a chunk: 128 tokens on CPUs, at most 64 on GPUs. Two of the largest,
#: so that a conversation of a few hundred tokens goes over several chunks.
ATTENTION_CHUNK = 256
#: Real: 0.02. Large enough that attention and experts outweigh a token's own embedding, so that greedy output goes on varying:
#: 100 tokens after an image of one colour have 9 different ones with 0.02, 14 with 0.1 and 100 with this (Maverick's shape).
INITIALIZER_RANGE = 0.2
SEED = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """In what Scout and Maverick differ."""

    experts: int
    moe_layer_step: int
    use_qk_norm: bool
    rope: Mapping[str, Any]


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "llama-4-scout-tiny": Shape(
            experts=16,
            moe_layer_step=1,
            use_qk_norm=True,
            rope={
                "rope_type": "llama3",
                "rope_theta": 500_000.0,
                "factor": 16.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 1.0,
                "original_max_position_embeddings": 8192,
            },
        ),
        "llama-4-maverick-tiny": Shape(
            experts=128, moe_layer_step=2, use_qk_norm=False, rope={"rope_type": "default", "rope_theta": 500_000.0}
        ),
    }
)


def build(name: str, directory: Path) -> None:
    """Writes the checkpoint into `directory`."""
    with quietly():
        llama4_tokenizer = tokenizer.llama4_tokenizer(MOST_TOKENS, chat_template)
        processor = Llama4Processor(_image_processor(), llama4_tokenizer, patch_size=14, pixel_shuffle_ratio=0.5)
        processor.save_pretrained(directory)
        model = _random(Llama4Config(text_config=_text(SHAPES[name]), vision_config=_vision()))
        model.generation_config = _generation()
        write_weights(model, directory)


def _random(config: Llama4Config) -> Llama4ForConditionalGeneration:
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they were
        torch.manual_seed(SEED)
        model = Llama4ForConditionalGeneration(config)
    for parameter in model.parameters():  # and not the buffers: the vision tower's rotary table is complex
        parameter.data = parameter.data.to(torch.bfloat16)
    return model


def _text(shape: Shape) -> dict[str, Any]:
    return {
        "vocab_size": tokenizer.VOCABULARY_SIZE,
        "bos_token_id": tokenizer.BEGIN_OF_TEXT,
        "eos_token_id": list(tokenizer.STOP_IDS),
        "pad_token_id": tokenizer.FINETUNE_RIGHT_PAD,
        "hidden_size": 128,
        "intermediate_size": 128,
        "intermediate_size_mlp": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 32,  # the smallest that vLLM's attention on CPUs takes
        "num_local_experts": shape.experts,
        "num_experts_per_tok": 1,
        "interleave_moe_layer_step": shape.moe_layer_step,
        "use_qk_norm": shape.use_qk_norm,
        "rope_parameters": dict(shape.rope),
        "no_rope_layer_interval": 4,
        "attention_chunk_size": ATTENTION_CHUNK,
        "attn_temperature_tuning": True,
        "floor_scale": 8192,
        "attn_scale": 0.1,
        "max_position_embeddings": MOST_TOKENS,
        "initializer_range": INITIALIZER_RANGE,
        "tie_word_embeddings": False,
    }


def _vision() -> dict[str, Any]:
    return {
        "hidden_size": 128,
        "intermediate_size": 512,  # four times the above: pixel shuffle lays four patches side by side
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "image_size": 336,
        "patch_size": 14,
        "pixel_shuffle_ratio": 0.5,
        "projector_input_dim": 128,
        "projector_output_dim": 128,
        "vision_output_dim": 128,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "initializer_range": INITIALIZER_RANGE,
    }


def _image_processor() -> Llama4ImageProcessor:
    return Llama4ImageProcessor(size={"height": 336, "width": 336}, max_patches=16, resize_to_max_canvas=False)


def _generation() -> GenerationConfig:
    return GenerationConfig(
        do_sample=True,
        temperature=0.6,
        top_p=0.9,
        bos_token_id=tokenizer.BEGIN_OF_TEXT,
        eos_token_id=list(tokenizer.STOP_IDS),
        pad_token_id=tokenizer.FINETUNE_RIGHT_PAD,
    )

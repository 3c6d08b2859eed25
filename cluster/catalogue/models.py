"""The herd as facts: for each model of the catalogue its shape, its checkpoints, its licence, and how its engine should run.

Decides nothing about memory or speed. Facts are from Meta's model cards
(llama-models: `models/llama4/MODEL_CARD.md`; the cards of Llama 3, 3.1, 3.3, Llama Guard and Prompt Guard); tool parsers are vLLM's names,
repositories those that vLLM's recipes and the vendors' own pages name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from cluster.catalogue import sizes as shapes
from cluster.catalogue.architecture import Architecture, Encoder
from cluster.catalogue.checkpoints import (
    LINEAR_FP8,
    LINEAR_INT4,
    LINEAR_NVFP4,
    META_405B_FP8,
    META_FP8,
    MLP_FP8,
    MLP_INT4,
    Checkpoint,
)
from cluster.catalogue.entry import (
    APACHE,
    ITS_OWN,
    LLAMA_3_1_LICENCE,
    LLAMA_3_2_LICENCE,
    LLAMA_3_2_VISION_LICENCE,
    LLAMA_3_3_LICENCE,
    LLAMA_3_LICENCE,
    LLAMA_4_LICENCE,
    LLAMA_4_TEXT_LICENCE,
    TEXT_AND_IMAGES,
    TINY_LICENCE,
    Advice,
    Entry,
    Licence,
)
from configs.names import Kind

if TYPE_CHECKING:  # it takes long to import, and plans of one model do without
    from configs.schema import Model

LLAMA_4_LANGUAGES = ("ar", "en", "fr", "de", "hi", "id", "it", "pt", "es", "tl", "th", "vi")
LLAMA_3_1_LANGUAGES = ("en", "de", "fr", "it", "pt", "hi", "es", "th")
#: Llama Guard 4 was measured in English and these (its model card).
GUARD_4_LANGUAGES = ("en", "fr", "de", "hi", "it", "pt", "es", "th")

#: The base models of Llama 4 are trained for 256K (transformers, `convert_llama4_weights_to_hf.py`).
BASE_CONTEXT = 262_144


def _tools(parser: str) -> tuple[Advice, ...]:
    return (
        Advice("enable_auto_tool_choice", True, "tool calls are read out of the answer"),
        Advice("tool_call_parser", parser, "the form in which the model writes calls"),
    )


LLAMA_4_TOOLS = _tools("llama4_pythonic")
LLAMA_3_TOOLS = _tools("llama3_json")

SCOUT = "Llama-4-Scout-17B-16E"
MAVERICK = "Llama-4-Maverick-17B-128E"
SCOUT_CHECKPOINTS = (
    Checkpoint(f"meta-llama/{SCOUT}-Instruct"),
    Checkpoint(f"meta-llama/{SCOUT}", instruct=False, context_tokens=BASE_CONTEXT),
    Checkpoint(f"RedHatAI/{SCOUT}-Instruct-FP8-dynamic", MLP_FP8),
    Checkpoint(f"nvidia/{SCOUT}-Instruct-FP8", LINEAR_FP8),
    Checkpoint(f"RedHatAI/{SCOUT}-Instruct-quantized.w4a16", MLP_INT4),
    Checkpoint(f"nvidia/{SCOUT}-Instruct-NVFP4", LINEAR_NVFP4),
)
MAVERICK_CHECKPOINTS = (
    Checkpoint(f"meta-llama/{MAVERICK}-Instruct"),
    Checkpoint(f"meta-llama/{MAVERICK}", instruct=False, context_tokens=BASE_CONTEXT),
    Checkpoint(f"meta-llama/{MAVERICK}-Instruct-FP8", META_FP8),
    Checkpoint(f"nvidia/{MAVERICK}-Instruct-FP8", LINEAR_FP8),
    Checkpoint(f"RedHatAI/{MAVERICK}-Instruct-quantized.w4a16", MLP_INT4),
    Checkpoint(f"nvidia/{MAVERICK}-Instruct-NVFP4", LINEAR_NVFP4),
)


def _instruct(name: str, *quantised: Checkpoint) -> tuple[Checkpoint, ...]:
    return (Checkpoint(f"meta-llama/{name}-Instruct"), Checkpoint(f"meta-llama/{name}", instruct=False), *quantised)


LLAMA_3_3_CHECKPOINTS = (
    Checkpoint("meta-llama/Llama-3.3-70B-Instruct"),
    Checkpoint("RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic", LINEAR_FP8),
    Checkpoint("nvidia/Llama-3.3-70B-Instruct-FP8", LINEAR_FP8),
    Checkpoint("RedHatAI/Llama-3.3-70B-Instruct-quantized.w4a16", LINEAR_INT4),
    Checkpoint("nvidia/Llama-3.3-70B-Instruct-NVFP4", LINEAR_NVFP4),
)
LLAMA_405B_CHECKPOINTS = _instruct(
    "Llama-3.1-405B",
    Checkpoint("meta-llama/Llama-3.1-405B-Instruct-FP8", META_405B_FP8, first_kv_heads=16),
    Checkpoint("nvidia/Llama-3.1-405B-Instruct-FP8", LINEAR_FP8),
    Checkpoint("nvidia/Llama-3.1-405B-Instruct-FP4", LINEAR_NVFP4),
)


def _llama_4(title: str, context_tokens: int, architecture: Architecture, checkpoints: tuple[Checkpoint, ...]) -> Entry:
    return Entry(
        title=title,
        context_tokens=context_tokens,
        licence=LLAMA_4_LICENCE,
        architecture=architecture,
        checkpoints=checkpoints,
        modalities=TEXT_AND_IMAGES,
        images_per_prompt=5,
        languages=LLAMA_4_LANGUAGES,
        knowledge_cutoff="2024-08",
        advice=LLAMA_4_TOOLS,
        chat_template="llama4_pythonic",
    )


def _tiny(title: str, architecture: Architecture, name: str) -> Entry:
    entry = _llama_4(f"{title}, tiny (random weights)", 131_072, architecture, (Checkpoint(f"small:{name}"),))
    return replace(entry, licence=TINY_LICENCE, knowledge_cutoff=None)


def _llama_3(
    title: str,
    architecture: Architecture,
    licence: Licence,
    checkpoints: tuple[Checkpoint, ...],
    cutoff: str = "2023-12",
    languages: tuple[str, ...] = LLAMA_3_1_LANGUAGES,
) -> Entry:
    context = architecture.max_positions
    return Entry(title, context, licence, architecture, checkpoints, languages=languages, knowledge_cutoff=cutoff, advice=LLAMA_3_TOOLS)


def _llama_3_2_vision(size: str, text_kind: Kind) -> Entry:
    return Entry(
        f"Llama 3.2 {size} Vision",
        131_072,
        LLAMA_3_2_VISION_LICENCE,
        checkpoints=_instruct(f"Llama-3.2-{size}-Vision"),
        modalities=TEXT_AND_IMAGES,
        images_per_prompt=1,
        languages=LLAMA_3_1_LANGUAGES,
        knowledge_cutoff="2023-12",
        not_deployable=f"is served by vLLM no more (its cross-attention went with V0, after 0.10): "
        f"name llama-4-scout for images, or {text_kind}, whose text layers it has",
    )


def _prompt_guard(size: str, architecture: Encoder, languages: tuple[str, ...]) -> Entry:
    return Entry(
        f"Llama Prompt Guard 2 {size}",
        512,
        LLAMA_4_TEXT_LICENCE,
        architecture,
        (Checkpoint(f"meta-llama/Llama-Prompt-Guard-2-{size}"),),
        languages=languages,
        not_deployable="is a DeBERTa classifier, which vLLM does not serve: it has no engine; name a Llama Guard as a model instead",
    )


CATALOGUE: Mapping[Kind, Entry] = MappingProxyType(
    {
        "llama-4-scout": _llama_4("Llama 4 Scout (17B active, 16 experts)", 10_485_760, shapes.SCOUT, SCOUT_CHECKPOINTS),
        "llama-4-maverick": _llama_4("Llama 4 Maverick (17B active, 128 experts)", 1_048_576, shapes.MAVERICK, MAVERICK_CHECKPOINTS),
        "llama-4-behemoth": Entry(
            "Llama 4 Behemoth (288B active, announced)",
            10_485_760,
            LLAMA_4_LICENCE,
            modalities=TEXT_AND_IMAGES,
            images_per_prompt=5,
            languages=LLAMA_4_LANGUAGES,
            not_deployable="has not been released: there is no checkpoint to deploy. To plan for a guess, give a folder with a config.json",
        ),
        "llama-3-8b": _llama_3(
            "Llama 3 8B", shapes.LLAMA_3_8B, LLAMA_3_LICENCE, _instruct("Meta-Llama-3-8B"), cutoff="2023-03", languages=("en",)
        ),
        "llama-3-70b": _llama_3("Llama 3 70B", shapes.LLAMA_3_70B, LLAMA_3_LICENCE, _instruct("Meta-Llama-3-70B"), languages=("en",)),
        "llama-3.1-8b": _llama_3("Llama 3.1 8B", shapes.LLAMA_8B, LLAMA_3_1_LICENCE, _instruct("Llama-3.1-8B")),
        "llama-3.1-70b": _llama_3("Llama 3.1 70B", shapes.LLAMA_70B, LLAMA_3_1_LICENCE, _instruct("Llama-3.1-70B")),
        "llama-3.1-405b": _llama_3("Llama 3.1 405B", shapes.LLAMA_405B, LLAMA_3_1_LICENCE, LLAMA_405B_CHECKPOINTS),
        "llama-3.2-1b": _llama_3("Llama 3.2 1B", shapes.LLAMA_3_2_1B, LLAMA_3_2_LICENCE, _instruct("Llama-3.2-1B")),
        "llama-3.2-3b": _llama_3("Llama 3.2 3B", shapes.LLAMA_3_2_3B, LLAMA_3_2_LICENCE, _instruct("Llama-3.2-3B")),
        "llama-3.2-11b-vision": _llama_3_2_vision("11B", "llama-3.1-8b"),
        "llama-3.2-90b-vision": _llama_3_2_vision("90B", "llama-3.1-70b"),
        "llama-3.3-70b": _llama_3("Llama 3.3 70B", shapes.LLAMA_70B, LLAMA_3_3_LICENCE, LLAMA_3_3_CHECKPOINTS),
        "llama-guard-3-8b": Entry(
            "Llama Guard 3 8B",
            131_072,
            LLAMA_3_1_LICENCE,
            shapes.LLAMA_8B,
            (Checkpoint("meta-llama/Llama-Guard-3-8B"),),
            languages=LLAMA_3_1_LANGUAGES,
        ),
        "llama-guard-4-12b": Entry(
            "Llama Guard 4 12B",
            8192,
            LLAMA_4_LICENCE,
            shapes.GUARD_4,
            (Checkpoint("meta-llama/Llama-Guard-4-12B"),),
            modalities=TEXT_AND_IMAGES,
            images_per_prompt=5,
            languages=GUARD_4_LANGUAGES,
        ),
        "prompt-guard-2-86m": _prompt_guard("86M", shapes.PROMPT_GUARD_86M, GUARD_4_LANGUAGES),
        "prompt-guard-2-22m": _prompt_guard("22M", shapes.PROMPT_GUARD_22M, ("en",)),
        "smollm2-135m": Entry("SmolLM2 135M Instruct", 8192, APACHE, shapes.SMOLLM2, (Checkpoint("small:smollm2-135m-instruct"),)),
        "llama-4-scout-tiny": _tiny("Llama 4 Scout", shapes.SCOUT_TINY, "llama-4-scout-tiny"),
        "llama-4-maverick-tiny": _tiny("Llama 4 Maverick", shapes.MAVERICK_TINY, "llama-4-maverick-tiny"),
        "generic": Entry("Another model", 10_485_760, ITS_OWN),
    }
)


def images_per_prompt(model: Model) -> int:
    """Images that one prompt may carry: what the config says, else what the model was tested with."""
    return CATALOGUE[model.kind].images_per_prompt if model.images_per_prompt is None else model.images_per_prompt

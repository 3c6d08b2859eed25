"""The herd as facts: for each model of the catalogue what it takes in, how long, under which licence, how its engine should run.

Decides nothing about memory or speed. Facts are from Meta's model cards and licences (llama-models: `models/llama4/MODEL_CARD.md`,
`LICENSE`; the cards of Llama 3, 3.1, 3.3 and Llama Guard 4); tool parsers are vLLM's names.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from configs.schema import Kind, Model

Modality = Literal["text", "image"]
TEXT: tuple[Modality, ...] = ("text",)
TEXT_AND_IMAGES: tuple[Modality, ...] = ("text", "image")

#: Legal tensor parallel sizes of Llama 4: vLLM (`llama4.py`) asserts that 40 attention, 8 KV and 16 vision heads divide.
LLAMA_4_TENSOR_PARALLEL = (1, 2, 4, 8)

LLAMA_4_LANGUAGES = ("ar", "en", "fr", "de", "hi", "id", "it", "pt", "es", "tl", "th", "vi")
LLAMA_3_1_LANGUAGES = ("en", "de", "fr", "it", "pt", "hi", "es", "th")


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence and the words that it wants shown where users look."""

    name: str
    attribution: str | None


LLAMA_4_LICENCE = Licence("Llama 4 Community License", "Built with Llama")
LLAMA_3_LICENCE = Licence("Meta Llama 3 Community License", "Built with Meta Llama 3")
LLAMA_3_1_LICENCE = Licence("Llama 3.1 Community License", "Built with Llama")
LLAMA_3_3_LICENCE = Licence("Llama 3.3 Community License", "Built with Llama")
APACHE = Licence("Apache-2.0", None)
#: Random weights of the project's own; the tokenizer inside is Meta's, and so the duty stays.
TINY_LICENCE = Licence("Apache-2.0 (weights); Llama 4 Community License (tokenizer)", "Built with Llama")

LLAMA_4_TOOLS: Mapping[str, Any] = MappingProxyType({"enable_auto_tool_choice": True, "tool_call_parser": "llama4_pythonic"})
LLAMA_3_TOOLS: Mapping[str, Any] = MappingProxyType({"enable_auto_tool_choice": True, "tool_call_parser": "llama3_json"})
NO_ARGUMENTS: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue."""

    title: str
    context_tokens: int
    licence: Licence
    modalities: tuple[Modality, ...] = TEXT
    images_per_prompt: int = 0
    languages: tuple[str, ...] = ("en",)
    engine: Mapping[str, Any] = field(default_factory=lambda: NO_ARGUMENTS)
    chat_template: str | None = None
    """A template of the herd's own, by name, where the checkpoint's does not ask for calls that the tool parser reads."""
    tensor_parallel: tuple[int, ...] | None = None
    experts: int = 0
    released: bool = True


def _llama_4(title: str, context_tokens: int, experts: int, licence: Licence = LLAMA_4_LICENCE) -> Entry:
    return Entry(
        title=title,
        context_tokens=context_tokens,
        licence=licence,
        modalities=TEXT_AND_IMAGES,
        images_per_prompt=5,
        languages=LLAMA_4_LANGUAGES,
        engine=LLAMA_4_TOOLS,
        chat_template="llama4_pythonic",
        tensor_parallel=LLAMA_4_TENSOR_PARALLEL,
        experts=experts,
    )


CATALOGUE: Mapping[Kind, Entry] = MappingProxyType(
    {
        "llama-4-scout": _llama_4("Llama 4 Scout (17B active, 16 experts)", 10_485_760, 16),
        "llama-4-maverick": _llama_4("Llama 4 Maverick (17B active, 128 experts)", 1_048_576, 128),
        "llama-4-behemoth": Entry("Llama 4 Behemoth (288B active, announced)", 10_485_760, LLAMA_4_LICENCE, experts=16, released=False),
        "llama-3-8b": Entry("Llama 3 8B", 8192, LLAMA_3_LICENCE, engine=LLAMA_3_TOOLS),
        "llama-3-70b": Entry("Llama 3 70B", 8192, LLAMA_3_LICENCE, engine=LLAMA_3_TOOLS),
        "llama-3.1-8b": Entry("Llama 3.1 8B", 131_072, LLAMA_3_1_LICENCE, languages=LLAMA_3_1_LANGUAGES, engine=LLAMA_3_TOOLS),
        "llama-3.1-70b": Entry("Llama 3.1 70B", 131_072, LLAMA_3_1_LICENCE, languages=LLAMA_3_1_LANGUAGES, engine=LLAMA_3_TOOLS),
        "llama-3.1-405b": Entry("Llama 3.1 405B", 131_072, LLAMA_3_1_LICENCE, languages=LLAMA_3_1_LANGUAGES, engine=LLAMA_3_TOOLS),
        "llama-3.3-70b": Entry("Llama 3.3 70B", 131_072, LLAMA_3_3_LICENCE, languages=LLAMA_3_1_LANGUAGES, engine=LLAMA_3_TOOLS),
        "llama-guard-4-12b": Entry(
            "Llama Guard 4 12B",
            8192,
            LLAMA_4_LICENCE,
            modalities=TEXT_AND_IMAGES,
            images_per_prompt=5,
            tensor_parallel=LLAMA_4_TENSOR_PARALLEL,
        ),
        "smollm2-135m": Entry("SmolLM2 135M Instruct", 8192, APACHE),
        "llama-4-scout-tiny": _llama_4("Llama 4 Scout, tiny (random weights)", 131_072, 16, TINY_LICENCE),
        "llama-4-maverick-tiny": _llama_4("Llama 4 Maverick, tiny (random weights)", 131_072, 128, TINY_LICENCE),
    }
)


def images_per_prompt(model: Model) -> int:
    """Images that one prompt may carry: what the config says, else what the model was tested with."""
    return CATALOGUE[model.kind].images_per_prompt if model.images_per_prompt is None else model.images_per_prompt


def problems(model: Model) -> Iterator[tuple[str, str]]:
    """What a model entry asks for that its kind cannot do: a field's path inside the entry, and why."""
    entry = CATALOGUE[model.kind]
    if not entry.released:
        yield "kind", f"{entry.title} has not been released: there is no checkpoint to deploy"
    if model.context_tokens > entry.context_tokens:
        yield "context_tokens", f"{model.context_tokens} is more than {entry.title} can take ({entry.context_tokens})"
    if model.images_per_prompt and "image" not in entry.modalities:
        yield "images_per_prompt", f"{entry.title} reads text only; leave this out"
    yield from _parallel_problems(model, entry)


def _parallel_problems(model: Model, entry: Entry) -> Iterator[tuple[str, str]]:
    tensor = model.parallel.tensor
    if entry.tensor_parallel and tensor not in entry.tensor_parallel:
        allowed = ", ".join(map(str, entry.tensor_parallel))
        yield "parallel.tensor", f"{tensor} does not divide the attention heads of {entry.title}; allowed: {allowed}"
    if model.parallel.expert and not entry.experts:
        yield "parallel.expert", f"{entry.title} has no experts"

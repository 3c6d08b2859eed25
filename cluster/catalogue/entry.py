"""The catalogue's entry about a model: its licence and duties, its checkpoints, what it reads, how its engine should run.

Decides the form only; the facts are in `cluster.catalogue.models`. Licence duties are from the licences and use policies in llama-models.
"""

from dataclasses import dataclass
from typing import Any, Literal

from cluster.catalogue.architecture import Architecture, Encoder
from cluster.catalogue.checkpoints import BF16, Checkpoint, Layout, usual_layout
from configs.names import Quantization

Modality = Literal["text", "image"]
TEXT: tuple[Modality, ...] = ("text",)
TEXT_AND_IMAGES: tuple[Modality, ...] = ("text", "image")


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence, the words that it wants shown where users look, and what else it asks for."""

    name: str
    attribution: str | None
    duties: tuple[str, ...] = ()


_SHOW = "give a copy of the agreement to whom you give the model or a service with it, and show the attribution"
_NAME = "a model trained with it or its output is named Llama… when it is given away"
_MANY_USERS = "above 700 million monthly users, ask Meta for a licence"
_NO_EU = "multimodal: no licence for individuals who live in the EU or companies with their principal place of business there (use policy)"

LLAMA_4_LICENCE = Licence("Llama 4 Community License", "Built with Llama", (_SHOW, _NAME, _MANY_USERS, _NO_EU))
#: Prompt Guard 2 is under the Llama 4 licence too, but reads text only.
LLAMA_4_TEXT_LICENCE = Licence("Llama 4 Community License", "Built with Llama", (_SHOW, _NAME, _MANY_USERS))
LLAMA_3_LICENCE = Licence("Meta Llama 3 Community License", "Built with Meta Llama 3", (_SHOW, _NAME, _MANY_USERS))
LLAMA_3_1_LICENCE = Licence("Llama 3.1 Community License", "Built with Llama", (_SHOW, _NAME, _MANY_USERS))
LLAMA_3_2_LICENCE = Licence("Llama 3.2 Community License", "Built with Llama", (_SHOW, _NAME, _MANY_USERS))
#: The use policy of 3.2 excepts the EU from its models that see.
LLAMA_3_2_VISION_LICENCE = Licence("Llama 3.2 Community License", "Built with Llama", (_SHOW, _NAME, _MANY_USERS, _NO_EU))
LLAMA_3_3_LICENCE = Licence("Llama 3.3 Community License", "Built with Llama", (_SHOW, _NAME, _MANY_USERS))
APACHE = Licence("Apache-2.0", None)
#: Of a model that the catalogue does not know.
ITS_OWN = Licence("as its publisher says", None)
#: Random weights of the project's own; the tokenizer inside is Meta's, and so the duty stays.
TINY_LICENCE = Licence("Apache-2.0 (weights); Llama 4 Community License (tokenizer)", "Built with Llama", (_SHOW,))


@dataclass(frozen=True, slots=True)
class Advice:
    """An engine argument that a model's engine should have, and why."""

    name: str
    value: Any
    reason: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One model of the catalogue."""

    title: str
    context_tokens: int
    licence: Licence
    architecture: Architecture | Encoder | None = None
    """None: not published."""
    checkpoints: tuple[Checkpoint, ...] = ()
    modalities: tuple[Modality, ...] = TEXT
    images_per_prompt: int = 0
    languages: tuple[str, ...] = ("en",)
    knowledge_cutoff: str | None = None
    advice: tuple[Advice, ...] = ()
    chat_template: str | None = None
    """A template of the herd's own, by name, where the checkpoint's does not ask for calls that the tool parser reads."""
    not_deployable: str | None = None
    """Why no engine can serve it."""

    @property
    def engine(self) -> dict[str, Any]:
        """The advised engine arguments."""
        return {advice.name: advice.value for advice in self.advice}

    @property
    def decoder(self) -> Architecture | None:
        """Its shape, where it is one that vLLM serves."""
        return self.architecture if isinstance(self.architecture, Architecture) else None

    def checkpoint(self, quantization: Quantization) -> Checkpoint | None:
        """The checkpoint that is meant when only a quantisation is said: the first Instruct one."""
        return next((one for one in self.checkpoints if one.layout.quantization == quantization and one.instruct), None)

    def layout(self, quantization: Quantization) -> Layout:
        """How a checkpoint that nobody knows stores its weights: as the usual one of that quantisation does."""
        known = self.checkpoint(quantization)
        if known:
            return known.layout
        return usual_layout(quantization, self.decoder) if self.decoder else BF16

    def known(self, repository: str | None) -> Checkpoint | None:
        """The checkpoint of a repository, at whatever revision (`repository@revision`), where it is one of the model's."""
        name = (repository or "").partition("@")[0]
        return next((one for one in self.checkpoints if one.repository == name), None)

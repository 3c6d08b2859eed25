"""Which model a request means, which may answer in its place, and what the world is told about each.

Decides by the names in the config, and for `auto` and fallbacks by what a request needs: images, and room for its prompt and answer. Who
may ask for which model (a tenant's rights) will narrow the same choices.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf
from types import MappingProxyType
from typing import Any

import msgspec

from cluster.catalogue.models import CATALOGUE, images_per_prompt
from configs.scaling import Slo
from configs.schema import AUTO, Model
from deployments.policy.errors.client_errors import BadRequest, TooManyImages, UnknownModel
from deployments.policy.images import media
from deployments.policy.request.prompt_blocks import tokens_of

#: How the APIs call the longest answer that a request wants.
_ANSWER_TOKENS = ("max_completion_tokens", "max_tokens", "max_output_tokens")


@dataclass(frozen=True, slots=True)
class Needs:
    """The needs of a request that a model must meet."""

    images: int
    tokens: int
    """Prompt and answer together, about: the gateway has no tokenizer."""


def needs_of(body: dict[str, Any]) -> Needs:
    """Returns the needs of a decoded request that a model must meet."""
    wanted = [value for name in _ANSWER_TOKENS if isinstance(value := body.get(name), int)]
    return Needs(media.count(body), tokens_of(body) + max(wanted, default=0))


@dataclass(frozen=True, slots=True)
class Served:
    """A model as the gateway knows it."""

    id: str
    aliases: tuple[str, ...]
    images_per_prompt: int
    card: Mapping[str, Any]
    """The model's entry in `/v1/models`."""
    context_tokens: int = 0
    fallbacks: tuple[str, ...] = ()
    by_priority: bool = True
    """Its engines' scheduler heeds a request's priority."""
    vocabulary: int | None = None
    """Token ids that the model has an embedding for: 0 to one less than this. None: unknown."""
    prefill_from: int | None = None
    """Prompts of so many tokens, about, are computed by engines of their own; None where there are no such engines."""
    image_mpx: float = 20
    """Megapixels that one image may have."""
    ttft_s: float = inf
    """An answer should begin within so many seconds."""
    on_demand: bool = False
    """It may have no replica while nobody asks for it, and starts with its first requests."""

    def fits(self, needs: Needs) -> bool:
        """It takes so many images, and has room for so many tokens."""
        return needs.images <= self.images_per_prompt and needs.tokens <= self.context_tokens


class Chosen(msgspec.Struct, frozen=True):
    """The model that shall answer a request. A struct, because one is made per request."""

    model: Served
    instead_of: str | None = None
    """The one that should have, where this is its fallback."""
    hurried: bool = False
    """Another model may answer, so that this one's start is not waited for."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models of a herd, by every name."""

    models: tuple[Served, ...]
    by_name: Mapping[str, Served]
    auto: tuple[Served, ...]
    """Models that `auto` may mean, the preferred ones first."""
    cards: Mapping[str, Mapping[str, Any]]
    """Entries in `/v1/models`, by each id, and of `auto`."""

    @property
    def listed(self) -> tuple[Mapping[str, Any], ...]:
        """All cards of `/v1/models`: a client that knows a model by an alias looks for that name in the list."""
        named = ((alias, model) for model in self.models for alias in model.aliases)
        aliases = ({**model.card, "id": alias, "root": model.id, "parent": model.id, "aliases": []} for alias, model in named)
        return (*self.cards.values(), *aliases)

    def check_name(self, name: object) -> None:
        """Checks what a request gives as its `model`.

        Raises:
            BadRequest: there is no name, or it is not a string.
            UnknownModel: no model is called so.
        """
        if not isinstance(name, str) or not name:
            raise BadRequest(f"'model' must name one of: {', '.join(self.cards)}.", param="model")
        if name not in self.by_name and not (name == AUTO and self.auto):
            raise UnknownModel(name, self.cards)

    def choose(self, body: dict[str, Any]) -> Served:
        """The model that a request's `model` names, or that suits it where the name is `auto`.

        Args:
            body: the decoded body, whose `model` `check_name` has let through.

        Raises:
            TooManyImages: none of those that `auto` may mean takes so many.
        """
        served = self.by_name.get(body["model"])
        return self._suited(needs_of(body), body) if served is None else served

    def _suited(self, needs: Needs, body: dict[str, Any]) -> Served:
        """The first that fits. Where a prompt seems too long for all, the longest context: its engine counts, and says by how much."""
        seeing = [served for served in self.auto if needs.images <= served.images_per_prompt]
        if not seeing:
            most = max(self.auto, key=lambda served: served.images_per_prompt)
            raise TooManyImages(most.id, needs.images, most.images_per_prompt, media.holder(body))
        return next((served for served in seeing if served.fits(needs)), max(seeing, key=lambda served: served.context_tokens))

    def in_place_of(self, served: Served, body: dict[str, Any]) -> tuple[Chosen, ...]:
        """Its fallbacks that this request fits, in their order."""
        if not served.fallbacks:
            return ()
        needs = needs_of(body)
        return tuple(Chosen(other, served.id, True) for name in served.fallbacks if (other := self.by_name[name]).fits(needs))


def catalog(models: Iterable[Model], created: int, auto: Iterable[str] = ()) -> Catalog:
    """The catalog of a config's models.

    Args:
        models: the config's.
        created: the time to show, in seconds since 1970.
        auto: ids of those that `auto` may mean, in order.
    """
    models = tuple(models)
    served = tuple(_served(model, created) for model in models)
    by_name = {name: model for model in served for name in (model.id, *model.aliases)}
    stopped = {model.id for model in models if model.stopped}
    choices = tuple(by_name[name] for name in sorted(auto, key=lambda name: name in stopped))  # a stopped one is the last choice
    cards = {model.id: model.card for model in served} | ({AUTO: _auto_card(choices, created)} if choices else {})
    return Catalog(served, MappingProxyType(by_name), choices, MappingProxyType(cards))


def _auto_card(choices: tuple[Served, ...], created: int) -> Mapping[str, Any]:
    """With all that the card of a model has, so that who reads cards need not know of it."""
    cards = [model.card for model in choices]
    ids = [model.id for model in choices]
    return {
        "id": AUTO,
        "object": "model",
        "created": created,
        "owned_by": "llama-herd",
        "max_model_len": max(model.context_tokens for model in choices),
        "aliases": [],
        "kind": AUTO,
        "title": f"The first that takes the request: {', '.join(ids)}",
        "modalities": list(dict.fromkeys(one for card in cards for one in card["modalities"])),
        "max_images_per_prompt": max(model.images_per_prompt for model in choices),
        "languages": [one for one in cards[0]["languages"] if all(one in card["languages"] for card in cards)],
        "license": "; ".join(dict.fromkeys(card["license"] for card in cards)),
        "attribution": next((card["attribution"] for card in cards if card["attribution"]), None),
        "chooses_from": ids,
    }


def _served(model: Model, created: int) -> Served:
    entry, images = CATALOGUE[model.kind], images_per_prompt(model)
    card = {
        "id": model.id,
        "object": "model",
        "created": created,
        "owned_by": "llama-herd",
        "max_model_len": model.context_tokens,
        "aliases": list(model.aliases),
        "kind": model.kind,
        "title": entry.title,
        "modalities": list(entry.modalities) if images else ["text"],
        "max_images_per_prompt": images,
        "languages": list(entry.languages),
        "license": entry.licence.name,
        "attribution": entry.licence.attribution,
    }
    by_priority = model.engine.get("scheduling_policy", "priority") == "priority"
    prefill_from = model.prefill.from_tokens if model.prefill else None
    return Served(
        id=model.id,
        aliases=model.aliases,
        images_per_prompt=images,
        card=MappingProxyType(card),
        context_tokens=model.context_tokens,
        fallbacks=model.fallbacks,
        by_priority=by_priority,
        vocabulary=entry.decoder.vocab if entry.decoder else None,
        prefill_from=prefill_from,
        image_mpx=model.image_mpx,
        ttft_s=(model.slo or Slo()).ttft_s,
        on_demand=model.on_demand,
    )

"""Which model a request means, and what the world is told about each.

Decides by the names in the config. Choosing by modality, length or rights (`auto`) is a later function over the same `Served`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from cluster.models import CATALOGUE, images_per_prompt
from configs.schema import Model
from deployments.policy.errors import BadRequest, UnknownModel


@dataclass(frozen=True, slots=True)
class Served:
    """A model as the gateway knows it."""

    id: str
    aliases: tuple[str, ...]
    images_per_prompt: int
    card: Mapping[str, Any]
    """What `/v1/models` says of it."""
    by_priority: bool = True
    """Its engines' scheduler heeds a request's priority."""


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models of a herd, by every name."""

    models: tuple[Served, ...]
    by_name: Mapping[str, Served]

    def choose(self, name: object) -> Served:
        """The model that a request's `model` names.

        Raises:
            BadRequest: there is no name, or it is not a string.
            UnknownModel: no model is called so.
        """
        if not isinstance(name, str) or not name:
            raise BadRequest(f"'model' must name one of: {', '.join(self.ids)}.", param="model")
        served = self.by_name.get(name)
        if served is None:
            raise UnknownModel(name, self.ids)
        return served

    @property
    def ids(self) -> tuple[str, ...]:
        """The models' own names, in the config's order."""
        return tuple(model.id for model in self.models)


def catalog(models: Iterable[Model], created: int) -> Catalog:
    """The catalog of a config's models; `created` is the time to show, in seconds since 1970."""
    served = tuple(_served(model, created) for model in models)
    return Catalog(served, MappingProxyType({name: model for model in served for name in (model.id, *model.aliases)}))


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
    return Served(model.id, model.aliases, images, MappingProxyType(card), by_priority)

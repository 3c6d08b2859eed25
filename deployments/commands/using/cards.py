"""The models that an endpoint serves, as it tells its clients."""

from typing import Any

from deployments.commands.using.endpoint import Endpoint
from deployments.lifecycle.herd import OperationError

Card = dict[str, Any]
"""A model in the list of an endpoint. Those of other servers than a herd's gateway may lack all members but `id`."""


def cards(endpoint: Endpoint) -> list[Card]:
    """Returns the card of each model that is served, once: its aliases stand in its card.

    Raises:
        OperationError: the endpoint does not answer, or with something else.
    """
    found = endpoint.get("/v1/models").get("data")
    if not isinstance(found, list) or not all(isinstance(card, dict) and isinstance(card.get("id"), str) for card in found):
        raise OperationError(f"{endpoint.url}/v1/models is no list of models. {endpoint.way_out}")
    return [card for card in found if not card.get("parent")]


def by_name(found: list[Card]) -> dict[str, Card]:
    """Returns the cards by every name of their models."""
    return {name: card for card in found for name in (card["id"], *card.get("aliases", ()))}


def chosen(found: dict[str, Card], model: str) -> Card:
    """Returns the card of a model, by one of its names.

    Raises:
        OperationError: none has this name.
    """
    if model not in found:
        raise OperationError(f"'{model}' is not served here. Served: {', '.join(sorted(found))}.")
    return found[model]

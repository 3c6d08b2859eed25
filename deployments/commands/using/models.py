"""`herd models`: the models that are served, as clients may name them."""

import json
import sys

from rich.table import Table
from rich.text import Text

from configs.load import environment
from deployments.commands.terminal import AsJson, Ca, Name, Url, out, told
from deployments.commands.using.cards import Card, cards
from deployments.commands.using.endpoint import named
from deployments.lifecycle.herd import OperationError


def models(name: Name = None, url: Url = None, ca: Ca = None, as_json: AsJson = False) -> None:
    """List the models that are served: names, context, images, licence.

    \b
    herd models
    herd models --url https://llm.example.com --json
    """
    with told(OperationError):
        endpoint = named(url, ca, name, environment())
        found = cards(endpoint)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    out.print(Text(endpoint.url), models_table(found), sep="\n")


def models_table(found: list[Card]) -> Table:
    """Returns a table with a row for each model. A model's name is in one line; aliases break between two of them."""
    table = Table()
    table.add_column("model", no_wrap=True, overflow="fold")
    table.add_column("aliases", overflow="fold")
    table.add_column("context", justify="right", no_wrap=True)
    table.add_column("images", justify="right", no_wrap=True)
    table.add_column("licence")
    for card in found:
        attribution = card.get("attribution")
        licence = " · ".join(filter(None, (card.get("license"), attribution)))
        context = card.get("max_model_len")
        table.add_row(
            Text(card["id"]),
            Text(", ".join(card.get("aliases", ()))),
            "–" if context is None else f"{context:,}",
            str(card.get("max_images_per_prompt") or "–"),
            Text(licence or "–"),
        )
    return table

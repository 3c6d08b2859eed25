"""`herd models`: the models that are served, as clients may name them."""

import json
import sys

from rich.table import Table

from configs.load import environment
from deployments.commands.terminal import STAYS, AsJson, Name, out, told
from deployments.commands.using.cards import cards
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import OperationError


def models(name: Name = None, as_json: AsJson = False) -> None:
    """List the models that are served: names, context, images, licence."""
    with told(OperationError, interrupted=STAYS):
        herd = operate.known(environment(), name)
        found = cards(herd)
    if as_json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    table = Table("model", "aliases", "context", "images", "licence", title=herd.endpoint)
    for card in found:
        licence = f"{card['license']}{' · ' + card['attribution'] if card['attribution'] else ''}"
        images = str(card["max_images_per_prompt"] or "–")
        table.add_row(card["id"], ", ".join(card["aliases"]), f"{card['max_model_len']:,}", images, licence)
    out.print(table)

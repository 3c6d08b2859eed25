"""Prompts for a model whose tokenizer is not on this machine: common English words by chance, about as long as they shall be.

The benchmark client then takes the real lengths from the endpoint's own counts.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import httpx

#: Most tokenizers have a token for each of these with the space before it.
WORDS = (  # noqa: SIM905 (one long list reads better as words)
    "time person year way day thing man world life hand part child eye woman place work week case point government company "
    "number group problem fact water room mother area money story month lot right study book job word business issue side "
    "kind head house service friend father power hour game line end member law car city community name president team minute "
    "idea kid body information back parent face others level office door health art war history party result change morning "
    "reason research girl guy moment air teacher force education"
).split()
SAMPLE = 200


def tokens_per_word(client: httpx.Client, model: str) -> float:
    """Asks the endpoint for the tokens of a sample; returns 1 if it does not tell."""
    body = {"model": model, "prompt": _text(random.Random(0), SAMPLE), "add_special_tokens": False}
    try:
        tokens = client.post("/tokenize", json=body).raise_for_status().json()["tokens"]
        return max(len(tokens) / SAMPLE, 0.1)
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return 1.0


def write(path: Path, count: int, words: int) -> None:
    """Writes so many prompts of so many words, no two alike, as the client's `custom` data set: a line of JSON for each."""
    path.write_text("".join(_lines(count, words)), encoding="utf-8")


def _lines(count: int, words: int) -> Iterator[str]:
    dice = random.Random(1)
    for _ in range(count):
        yield json.dumps({"prompt": _text(dice, words)}) + "\n"


def _text(dice: random.Random, words: int) -> str:
    return " ".join(dice.choices(WORDS, k=words))

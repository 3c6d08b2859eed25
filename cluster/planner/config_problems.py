"""Finds what a model entry of a config asks for that its kind cannot do.

Decides over the catalogue's facts and vLLM's legal parallel shapes. How much memory and time a legal entry takes is decided elsewhere.
"""

from collections.abc import Iterator

from cluster.catalogue.entry import Entry
from cluster.catalogue.models import CATALOGUE
from cluster.catalogue.weights import source_of
from cluster.planner.legality import refusals
from configs.schema import Model


def problems(model: Model) -> Iterator[tuple[str, str]]:
    """Yields each demand of a model entry that its kind cannot meet: a field's path inside the entry, and the reason."""
    entry = CATALOGUE[model.kind]
    if entry.not_deployable:
        yield "kind", f"{entry.title} {entry.not_deployable}"
    if model.images_per_prompt and "image" not in entry.modalities:
        yield "images_per_prompt", f"{entry.title} reads text only; leave this out"
    yield from _checkpoint_problems(model, entry)
    if entry.decoder and not model.parallel.auto:
        for field, reason in refusals(entry.decoder, model.parallel):
            yield f"parallel.{field}", f"{entry.title}: {reason}"


def _checkpoint_problems(model: Model, entry: Entry) -> Iterator[tuple[str, str]]:
    known = entry.known(model.checkpoint)
    _, mark, revision = model.checkpoint.partition("@")
    if mark and "://" not in model.checkpoint and not model.checkpoint.startswith("/"):
        if source_of(model.checkpoint) is None:
            yield "checkpoint", f"{model.checkpoint!r} is no repository@revision; a revision is a branch, a tag or a commit"
        elif model.engine.get("revision", revision) != revision:
            yield "checkpoint", f"names the revision {revision!r}, engine.revision another one; leave engine.revision out"
    most = (known and known.context_tokens) or entry.context_tokens
    if model.context_tokens > most:
        yield "context_tokens", f"{model.context_tokens} is more than {entry.title} can take ({most})"
    if known and known.layout.quantization != model.quantization:
        stored = known.layout.quantization
        yield "quantization", f"{known.repository} stores {stored}, not {model.quantization}; write quantization: {stored}"

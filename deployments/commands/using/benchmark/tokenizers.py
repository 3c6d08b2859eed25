"""Finds the tokenizer of a model on this machine. Asks no network."""

from pathlib import Path

from configs.load import Environment
from configs.schema import Model

#: A folder with one of these has a tokenizer.
FILES = ("tokenizer.json", "tokenizer_config.json", "tokenizer.model")
SMALL = "small:"


def tokenizer_of(model: Model, given: Environment) -> Path | None:
    """Returns the folder of a model's tokenizer: of its checkpoint, or the one that its engine's arguments name. None: it is not here."""
    named = str(model.engine.get("tokenizer") or model.checkpoint)
    if named.startswith(SMALL):
        from deployments.small_models import built

        return built(named.removeprefix(SMALL), given.models)
    folder = Path(named).expanduser()
    if folder.is_absolute():
        return folder if has_tokenizer(folder) else None
    return _in_cache(model, named)


def has_tokenizer(folder: Path) -> bool:
    """Tells whether a folder has the files of a tokenizer."""
    return any((folder / name).is_file() for name in FILES)


def _in_cache(model: Model, named: str) -> Path | None:
    """Looks into the Hub's cache, where engines have their checkpoints."""
    from huggingface_hub import try_to_load_from_cache

    repository, _, revision = named.partition("@")
    cache = model.engine.get("download_dir")
    for name in FILES:
        try:
            found = try_to_load_from_cache(repository, name, cache_dir=cache, revision=revision or None)
        except ValueError:  # no name of a repository
            return None
        if isinstance(found, str):
            return Path(found).parent
    return None

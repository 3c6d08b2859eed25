"""Names of models for a shell that completes a command line: those of the herds that this user has up, read from files only."""

import json

from configs.load import environment
from deployments.lifecycle.memory import CONFIG


def known_names(incomplete: str) -> list[str]:
    """Returns the ids and aliases that begin so. Asks no network and no Ray; a file that cannot be read has no names."""
    names: set[str] = set()
    for path in environment().state.glob(f"*/{CONFIG}"):
        try:
            models = json.loads(path.read_text(encoding="utf-8"))["models"]
            names.update(name for model in models for name in (model["id"], *model.get("aliases", ())))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(name for name in names if name.startswith(incomplete))

"""The herd that the files of a command line amount to."""

from collections.abc import Sequence
from pathlib import Path

from cluster.scaling.config_problems import problems
from configs.load import environment, loaded
from deployments.lifecycle import herd as operate
from deployments.lifecycle.herd import Herd


def loaded_herd(paths: Sequence[Path], sets: Sequence[str] | None) -> Herd:
    """Returns the herd of files, each laid over those before it, and of values laid over them all.

    Raises:
        ConfigError: they cannot be used.
    """
    return operate.herd(environment(), loaded(paths, sets or (), problems).config)

"""Asks the planner whether a whole herd fits, with what its checkpoints' folders on this machine say about themselves.

Decides which answers are a reason not to start. Leaves the arithmetic to `cluster`, and the words to the commands.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.catalogue.checkpoints import Stored, usual_layout
from cluster.catalogue.config_quantization import layout_from
from cluster.catalogue.config_shape import NotRead, architecture_from
from cluster.catalogue.hardware import Cluster
from cluster.planner.memory.engine import VLLM, Version
from configs.names import Quantization

if TYPE_CHECKING:  # they take long to import, and plans of one model do without
    from cluster.planner.herd_fit import Assessment
    from configs.schema import Config


class CannotPlan(ValueError):
    """There is nothing to plan; the message says why and what to do."""


def checked(config: Config, hardware: Cluster | None, vllm: Version = VLLM) -> tuple[Config, Assessment]:
    """Returns the herd with every shape chosen, and the planner's assessment.

    Raises:
        CannotPlan: a shape cannot be chosen.
        ConfigError: a checkpoint's `config.json` cannot be read.
    """
    from cluster.planner.herd_fit import NoShape, assess, chosen

    stored = {model.id: one for model in config.models if (one := _local(model.checkpoint))}
    try:
        settled = chosen(config, hardware, stored, vllm)
    except NoShape as error:
        raise CannotPlan(str(error)) from error
    return settled, assess(settled, hardware, stored, vllm)


def _local(checkpoint: str) -> Stored | None:
    """Reads what a folder on this machine says of itself; returns None if the planner cannot read it, and its kind's sizes count."""
    folder = Path(checkpoint)
    try:
        return stored_in(folder) if folder.is_absolute() else None
    except CannotPlan:
        return None


def stored_in(folder: Path, quantization: Quantization | None = None) -> Stored | None:
    """Reads what a checkpoint's folder says of itself; returns None if it has no `config.json`.

    Args:
        folder: the checkpoint's.
        quantization: what somebody says of it, believed where the file names a way that the planner does not know.

    Raises:
        CannotPlan: it says something that the planner does not know.
        ConfigError: it cannot be read.
    """
    from configs.load import checkpoint_config

    config = checkpoint_config(folder)
    if config is None:
        return None
    try:
        architecture = architecture_from(config)
    except NotRead as error:
        raise CannotPlan(f"{folder / 'config.json'} cannot be planned for: {error}") from error
    try:
        return Stored(architecture, layout_from(config, architecture))
    except NotRead as error:
        if quantization:
            return Stored(architecture, usual_layout(quantization, architecture))
        raise CannotPlan(f"{folder / 'config.json'} cannot be planned for: {error}") from error

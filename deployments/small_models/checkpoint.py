"""Steps of every builder with transformers: works without chatter, and saves weights such that a full disk is an `OSError`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging


@contextmanager
def quietly() -> Iterator[None]:
    """Silences transformers' warnings and progress bars, which belong to whoever develops a model, and only for so long."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def write_weights(model: PreTrainedModel, directory: Path) -> None:
    """Saves a model's configuration and weights."""
    try:
        model.save_pretrained(directory)
    except SafetensorError as error:  # how safetensors reports what the file system says
        raise OSError(str(error)) from error
